"""Kernels over orders: terms of a covariance, each with its hyperparameters, their priors and derivatives.

Every term is a dot product of features, or a function of one that keeps the matrix of any orders positive
semi-definite. Hyperparameters ``p`` are real numbers by name: ``output_scale.*`` is the logarithm of a standard
deviation, in standard deviations of the scores, and ``lengthscale.*`` the logarithm of a distance.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from munchray.samplers.order_features import Array, Features

Hyperparameters = Mapping[str, float]
Gradients = dict[str, Array]
"""Derivatives of a covariance matrix (A, A) by hyperparameter."""


@dataclass(frozen=True)
class Prior:
    """Normal prior of a hyperparameter."""

    mean: float
    std: float


def output_scale_prior(typical: float) -> Prior:
    """Log-normal prior of a standard deviation that may well be a few times larger or smaller."""
    return Prior(float(np.log(typical)), 1.0)


def lengthscale_prior(typical: float) -> Prior:
    """Log-normal prior of a lengthscale."""
    return Prior(float(np.log(typical)), 0.7)


class OrderTerm(Protocol):
    """A kernel over orders, one summand of the model's covariance."""

    priors: Mapping[str, Prior]

    def covariance(self, p: Hyperparameters, a: Features, b: Features) -> Array:
        """Covariances (A, B)."""

    def diag(self, p: Hyperparameters) -> Array:
        """Variance of an order of each length (L + 1,)."""

    def value_and_grad(self, p: Hyperparameters, a: Features) -> tuple[Array, Gradients]:
        """Covariances (A, A) and their derivatives."""


class PositionTerm:
    """An effect of each auxiliary at each position, similar at near positions; ``recency`` > 0: later ones matter more.

    Per auxiliary a squared-exponential kernel over positions with geometrically decaying weights. Positions are
    counted from the end, so that a prefix is compared as the order it was when it was trained.
    """

    priors: Mapping[str, Prior] = {
        "output_scale.positions": output_scale_prior(0.5),
        "recency": Prior(0.3, 0.4),
        "lengthscale.positions": lengthscale_prior(2.0),
    }

    def __init__(self, max_length: int) -> None:
        self._position = np.arange(max_length, dtype=float)
        self._squares = np.subtract.outer(self._position, self._position) ** 2

    def covariance(self, p: Hyperparameters, a: Features, b: Features) -> Array:
        """Sum over the auxiliaries in both orders of the covariance between their two positions."""
        return np.asarray(a.positions @ _apply(b.positions, self._profile(p)).T.astype(a.positions.dtype))

    def diag(self, p: Hyperparameters) -> Array:
        """Sum of the variances of the last positions; each holds one auxiliary."""
        return np.concatenate([[0.0], np.cumsum(np.diag(self._profile(p)))])

    def value_and_grad(self, p: Hyperparameters, a: Features) -> tuple[Array, Gradients]:
        """Covariances and derivatives by output scale, recency and lengthscale."""
        profile, position = self._profile(p), self._position
        weight = np.exp(-2 * p["recency"] * position)
        by_recency = profile * (2 * (position * weight).sum() / weight.sum() - np.add.outer(position, position))
        by_lengthscale = profile * self._squares * math.exp(-2 * p["lengthscale.positions"])
        profiles = (profile, by_recency, by_lengthscale)
        value, recency, lengthscale = (a.positions @ _apply(a.positions, m).T for m in profiles)
        return value, {"output_scale.positions": 2 * value, "recency": recency, "lengthscale.positions": lengthscale}

    def _profile(self, p: Hyperparameters) -> Array:
        """(L, L): covariance of one auxiliary's effects at two positions; the trace is the squared output scale."""
        weight = np.exp(-p["recency"] * self._position)
        height = math.exp(2 * p["output_scale.positions"]) / (weight**2).sum()
        corr = np.exp(-self._squares * math.exp(-2 * p["lengthscale.positions"]) / 2)
        return np.asarray(height * np.outer(weight, weight) * corr)


class LinearTerm:
    """Linear (dot-product) kernel: independent effects of the features of one kind.

    Args:
        name: of the kind.
        select: picks the features (N, F).
        counts: how many of them are not zero in an order of each length, 0 to L.
    """

    def __init__(self, name: str, select: Callable[[Features], Array], counts: Array) -> None:
        self._output_scale = f"output_scale.{name}"
        self._select = select
        self._max_count = float(max(counts[-1], 1))
        self._shares = counts / self._max_count
        self.priors: Mapping[str, Prior] = {self._output_scale: output_scale_prior(0.5)}

    def covariance(self, p: Hyperparameters, a: Features, b: Features) -> Array:
        """Dot products, scaled so that the longest order's variance is the squared output scale."""
        scale = math.exp(2 * p[self._output_scale]) / self._max_count
        return np.asarray(self._select(a) @ (scale * self._select(b)).T)

    def diag(self, p: Hyperparameters) -> Array:
        """Variances, proportional to the number of features."""
        return np.asarray(math.exp(2 * p[self._output_scale]) * self._shares)

    def value_and_grad(self, p: Hyperparameters, a: Features) -> tuple[Array, Gradients]:
        """Covariances and derivative by output scale."""
        value = self.covariance(p, a, a)
        return value, {self._output_scale: 2 * value}


class MallowsTerm:
    """The Mallows kernel (Jiao and Vert 2015): exponential in Kendall's tau distance, the share of discordant pairs.

    It captures effects that the other terms do not. A pair of which one order lacks one or both auxiliaries counts
    a quarter.
    """

    priors: Mapping[str, Prior] = {
        "output_scale.mallows": output_scale_prior(0.5),
        "lengthscale.mallows": lengthscale_prior(0.4),
    }

    def __init__(self, max_length: int) -> None:
        self._max_length = max_length

    def covariance(self, p: Hyperparameters, a: Features, b: Features) -> Array:
        """Covariances (A, B): variance * exp(-distance / lengthscale)."""
        logarithm = _scaled_distance(a, b, -math.exp(-p["lengthscale.mallows"]))
        logarithm += 2 * p["output_scale.mallows"]
        return np.exp(logarithm, out=logarithm)

    def diag(self, p: Hyperparameters) -> Array:
        """Variances, the same for every order."""
        return np.full(self._max_length + 1, math.exp(2 * p["output_scale.mallows"]))

    def value_and_grad(self, p: Hyperparameters, a: Features) -> tuple[Array, Gradients]:
        """Covariances and derivatives by output scale and lengthscale."""
        distance = _scaled_distance(a, a, math.exp(-p["lengthscale.mallows"]))
        value = np.exp(2 * p["output_scale.mallows"] - distance)
        return value, {"output_scale.mallows": 2 * value, "lengthscale.mallows": value * distance}


def order_terms(max_length: int, lengths_vary: bool) -> list[OrderTerm]:
    """All kernels over orders that the model sums."""
    count = np.arange(max_length + 1.0)
    terms: list[OrderTerm] = [
        PositionTerm(max_length),
        LinearTerm("pairs", lambda a: a.pairs, count * (count - 1) / 2),
        LinearTerm("adjacency", lambda a: a.adjacency, np.maximum(count - 1, 0)),
        MallowsTerm(max_length),
    ]
    return [*terms, LinearTerm("presence", lambda a: _presence(a, max_length), count)] if lengths_vary else terms


def _presence(a: Features, max_length: int) -> Array:
    """(N, n): 1 where the auxiliary is in the order."""
    return np.asarray(a.positions.reshape(len(a), -1, max_length).sum(axis=2))


def _scaled_distance(a: Features, b: Features, factor: float) -> Array:
    """(A, B): the share of discordant pairs times the factor, as a quarter of the mean squared difference."""
    factor /= 4 * max(a.pairs.shape[1], 1)
    distance = a.pairs @ (-2 * factor * b.pairs).T
    distance += factor * (b.pairs**2).sum(axis=1)
    distance += factor * (a.pairs**2).sum(axis=1)[:, None]
    return np.asarray(distance)


def _apply(positions: Array, profile: Array) -> Array:
    """(N, n * L): the same (L, L) matrix applied to the positions of each auxiliary."""
    max_length = len(profile)
    return (positions.reshape(-1, max_length) @ profile).reshape(len(positions), -1)
