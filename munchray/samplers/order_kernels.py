"""How alike two orders are: terms of a covariance, each with its hyperparameters and the derivatives by them.

Every term is a scalar product of features, or such a function of one that the matrix of any orders stays positive
semi-definite. Hyperparameters are real numbers by name; ``size.*`` is the logarithm of a standard deviation, in
standard deviations of the scores, ``*.scale`` that of a distance.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from munchray.samplers.order_features import Array, Features

Parameters = Mapping[str, float]
Slopes = dict[str, Array]


@dataclass(frozen=True)
class Prior:
    """What is believed of a hyperparameter before any trial: a normal distribution."""

    mean: float
    deviation: float


def size_prior(typical: float) -> Prior:
    """Of a standard deviation that may well be a few times larger or smaller."""
    return Prior(float(np.log(typical)), 1.0)


def scale_prior(typical: float) -> Prior:
    """Of a distance."""
    return Prior(float(np.log(typical)), 0.7)


class Term(Protocol):
    """One thing about an order that may matter."""

    priors: Mapping[str, Prior]

    def between(self, p: Parameters, a: Features, b: Features) -> Array:
        """Covariances (A, B)."""

    def own(self, p: Parameters) -> Array:
        """Variance of an order of each length (L + 1,)."""

    def with_slopes(self, p: Parameters, a: Features) -> tuple[Array, Slopes]:
        """Covariances (A, A) and their derivatives."""


class Places:
    """Each auxiliary is worth something at each position, alike at near ones; ``recency`` > 0: late ones matter more.

    Places are counted from the end, so that a beginning of an order is compared as the order it was.
    """

    priors: Mapping[str, Prior] = {
        "size.places": size_prior(0.5),
        "recency": Prior(0.3, 0.4),
        "places.scale": scale_prior(2.0),
    }

    def __init__(self, longest: int) -> None:
        self._place = np.arange(longest, dtype=float)
        self._apart = np.subtract.outer(self._place, self._place) ** 2

    def between(self, p: Parameters, a: Features, b: Features) -> Array:
        """Sum over auxiliaries in both orders of the covariance between their two places."""
        return np.asarray(a.places @ _through(b.places, self._profile(p)).T.astype(a.places.dtype))

    def own(self, p: Parameters) -> Array:
        """One auxiliary a position."""
        return np.concatenate([[0.0], np.cumsum(np.diag(self._profile(p)))])

    def with_slopes(self, p: Parameters, a: Features) -> tuple[Array, Slopes]:
        """By size, recency and scale."""
        profile, position = self._profile(p), self._place
        weight = np.exp(-2 * p["recency"] * position)
        by_recency = profile * (2 * (position * weight).sum() / weight.sum() - np.add.outer(position, position))
        by_scale = profile * self._apart * math.exp(-2 * p["places.scale"])
        value, recency, scale = (a.places @ _through(a.places, m).T for m in (profile, by_recency, by_scale))
        return value, {"size.places": 2 * value, "recency": recency, "places.scale": scale}

    def _profile(self, p: Parameters) -> Array:
        """(L, L): covariance of the worth of one auxiliary at two places; the diagonal sums to the variance."""
        weight = np.exp(-p["recency"] * self._place)
        height = math.exp(2 * p["size.places"]) / (weight**2).sum()
        near = np.exp(-self._apart * math.exp(-2 * p["places.scale"]) / 2)
        return np.asarray(height * np.outer(weight, weight) * near)


class Linear:
    """Each feature of one kind is worth something, independently of the others.

    Args:
        name: of the kind.
        of: picks the features (N, F).
        counts: how many of them an order of each length has, 0 to L.
    """

    def __init__(self, name: str, of: Callable[[Features], Array], counts: Array) -> None:
        self._size = f"size.{name}"
        self._of = of
        self._shares = counts / max(counts[-1], 1)
        self._most = float(max(counts[-1], 1))
        self.priors: Mapping[str, Prior] = {self._size: size_prior(0.5)}

    def between(self, p: Parameters, a: Features, b: Features) -> Array:
        """Scalar products; a longest order's own is the variance."""
        return np.asarray(self._of(a) @ (math.exp(2 * p[self._size]) / self._most * self._of(b)).T)

    def own(self, p: Parameters) -> Array:
        """In proportion to the features there are."""
        return np.asarray(math.exp(2 * p[self._size]) * self._shares)

    def with_slopes(self, p: Parameters, a: Features) -> tuple[Array, Slopes]:
        """By size."""
        value = self.between(p, a, a)
        return value, {self._size: 2 * value}


class Mallows:
    """Whatever else there is about orders, alike when few pairs are turned round.

    The Mallows kernel: exponential in Kendall's distance, the share of pairs turned round. A pair of which one order
    has only one auxiliary or none counts a quarter.
    """

    priors: Mapping[str, Prior] = {"size.mallows": size_prior(0.5), "mallows.scale": scale_prior(0.4)}

    def __init__(self, longest: int) -> None:
        self._lengths = longest + 1

    def between(self, p: Parameters, a: Features, b: Features) -> Array:
        """exp(- distance / scale)."""
        logarithm = _turned(a, b, -math.exp(-p["mallows.scale"]))
        logarithm += 2 * p["size.mallows"]
        return np.exp(logarithm, out=logarithm)

    def own(self, p: Parameters) -> Array:
        """The same for every order."""
        return np.full(self._lengths, math.exp(2 * p["size.mallows"]))

    def with_slopes(self, p: Parameters, a: Features) -> tuple[Array, Slopes]:
        """By size and scale."""
        turned = _turned(a, a, math.exp(-p["mallows.scale"]))
        value = np.exp(2 * p["size.mallows"] - turned)
        return value, {"size.mallows": 2 * value, "mallows.scale": value * turned}


def order_terms(longest: int, lengths_vary: bool) -> list[Term]:
    """All that our model of an order knows."""
    count = np.arange(longest + 1.0)
    terms: list[Term] = [
        Places(longest),
        Linear("pairs", lambda a: a.pairs, count * (count - 1) / 2),
        Linear("neighbours", lambda a: a.neighbours, np.maximum(count - 1, 0)),
        Mallows(longest),
    ]
    return [*terms, Linear("presence", lambda a: _present(a, longest), count)] if lengths_vary else terms


def _present(a: Features, longest: int) -> Array:
    """(N, n): 1 where the auxiliary is in the order."""
    return np.asarray(a.places.reshape(len(a), -1, longest).sum(axis=2))


def _turned(a: Features, b: Features, factor: float) -> Array:
    """The share of pairs turned round, times the factor: a quarter of the mean squared difference."""
    factor /= 4 * max(a.pairs.shape[1], 1)
    share = a.pairs @ (-2 * factor * b.pairs).T
    share += factor * (b.pairs**2).sum(axis=1)
    share += factor * (a.pairs**2).sum(axis=1)[:, None]
    return np.asarray(share)


def _through(places: Array, profile: Array) -> Array:
    """(N, n * L) times the same (L, L) for each auxiliary."""
    longest = len(profile)
    return (places.reshape(-1, longest) @ profile).reshape(len(places), -1)
