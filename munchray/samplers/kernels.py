"""How alike two settings are: orders, their lengths and the other parameters in one covariance.

    covariance = 1 + lengths + main * axes + orders * kin * (1 - mixing + mixing * axes)

The parameters beside the order have an effect of their own, and change the effect of orders by a share that is learned
(``mixing``). Orders of different lengths tell of each other as far as is learned (``kin``): that is what makes the
beginning of an order evidence, and what takes its weight away when it misleads.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from munchray.samplers.order_features import Array, Features
from munchray.samplers.order_kernels import Parameters, Prior, Slopes, Term, scale_prior, size_prior

Lengths = NDArray[np.intp]


class LengthTerm:
    """Any smooth effect of how many auxiliaries there are, and how much orders of two lengths tell of each other."""

    priors: Mapping[str, Prior] = {
        "size.lengths": size_prior(2.0),
        "lengths.scale": scale_prior(3.0),
        "kin.scale": Prior(math.log(4.0), 1.0),
    }

    def __init__(self, longest: int) -> None:
        count = np.arange(longest + 1.0)
        self._apart = np.abs(np.subtract.outer(count, count))

    def effect(self, p: Parameters) -> Array:
        """(L + 1, L + 1)"""
        return np.exp(2 * p["size.lengths"] - self._squares(p))

    def kin(self, p: Parameters) -> Array:
        """(L + 1, L + 1), 1 between orders of the same length."""
        return np.asarray(np.exp(-self._apart * math.exp(-p["kin.scale"])))

    def effect_slopes(self, p: Parameters, a: Lengths) -> Slopes:
        """Derivatives of `effect`."""
        effect = self.effect(p)[:, a][a]
        return {"size.lengths": 2 * effect, "lengths.scale": 2 * effect * self._squares(p)[:, a][a]}

    def kin_slope(self, p: Parameters, a: Lengths) -> Array:
        """Derivative of the logarithm of `kin` by its scale."""
        return np.asarray((self._apart * math.exp(-p["kin.scale"]))[:, a][a])

    def _squares(self, p: Parameters) -> Array:
        return np.asarray(self._apart**2 / 2 * math.exp(-2 * p["lengths.scale"]))


class AxesTerm:
    """Settings are alike when their other parameters are near."""

    def __init__(self, axes: int) -> None:
        self._scales = [f"axis.{axis}" for axis in range(axes)]
        self.priors = {
            "size.axes": size_prior(0.5),
            "mixing": Prior(-2.0, 1.0),
            **{name: scale_prior(0.7) for name in self._scales},
        }

    def alike(self, p: Parameters, a: Array, b: Array) -> Array:
        """(A, B), 1 for equal parameters."""
        a, b = a * self._weights(p), b * self._weights(p)
        squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
        return np.asarray(np.exp(-np.maximum(squares, 0)))

    def main(self, p: Parameters) -> float:
        """Variance of the parameters' own effect."""
        return math.exp(2 * p["size.axes"])

    def share(self, p: Parameters) -> float:
        """How much of the effect of an order depends on the other parameters."""
        return 1 / (1 + math.exp(-p["mixing"]))

    def slopes(self, p: Parameters, axes: Array, alike: Array, orders: Array) -> Slopes:
        """Derivatives of ``main * alike + orders * (1 - share + share * alike)``."""
        main, share = self.main(p), self.share(p)
        weight = 2 * alike * (main + share * orders)
        columns = (axes * self._weights(p)).T
        return {
            "size.axes": 2 * main * alike,
            "mixing": orders * (alike - 1) * share * (1 - share),
            **{name: weight * np.subtract.outer(x, x) ** 2 for name, x in zip(self._scales, columns, strict=True)},
        }

    def _weights(self, p: Parameters) -> Array:
        """(axes,): squared distances of coordinates times these are what the exponent sums."""
        return np.array([math.exp(-p[name]) for name in self._scales]) / math.sqrt(2)


class SettingKernel:
    """The covariance above.

    Args:
        terms: of the orders.
        axes: how many other parameters there are.
        longest: auxiliaries in the longest order.
        lengths_vary: whether orders of different lengths are compared.
    """

    def __init__(self, terms: Sequence[Term], axes: int, longest: int, lengths_vary: bool) -> None:
        self._terms = terms
        self._lengths = LengthTerm(longest) if lengths_vary else None
        self._axes = AxesTerm(axes) if axes else None
        parts = (*terms, self._lengths, self._axes)
        self.priors = {name: prior for part in parts if part for name, prior in part.priors.items()}

    def between(self, p: Parameters, a: Features, b: Features) -> Array:
        """Covariances (A, B)."""
        base, orders = self._of_orders(p, a, b)
        alike = self._axes.alike(p, a.axes, b.axes) if self._axes else None
        return self._joined(p, base, orders, alike)

    def over_axes(self, p: Parameters, a: Features, axes: Array, b: Features) -> Iterator[Array]:
        """Covariances (A, B) with all of ``a`` at each of the other parameters (S, axes) in turn."""
        base, orders = self._of_orders(p, a, b)
        if self._axes is None:
            yield self._joined(p, base, orders, None)
            return
        for alike in self._axes.alike(p, axes, b.axes).astype(orders.dtype):
            yield self._joined(p, base, orders, alike)

    def own(self, p: Parameters, a: Features) -> Array:
        """Variances (A,)."""
        constant = 1.0
        constant += math.exp(2 * p["size.lengths"]) if self._lengths else 0.0
        constant += self._axes.main(p) if self._axes else 0.0
        return np.asarray(constant + np.sum([term.own(p) for term in self._terms], axis=0)[a.lengths])

    def with_slopes(self, p: Parameters, a: Features) -> tuple[Array, Slopes]:
        """Covariances (A, A) and their derivatives by every hyperparameter."""
        orders, slopes = self._orders_with_slopes(p, a)
        base: Array | float = 1.0
        if self._lengths:
            base = 1.0 + self._lengths.effect(p)[:, a.lengths][a.lengths]
        alike = self._axes.alike(p, a.axes, a.axes) if self._axes else None
        if self._axes and alike is not None:
            factor = 1 + self._axes.share(p) * (alike - 1)
            slopes = {name: slope * factor for name, slope in slopes.items()}
            slopes.update(self._axes.slopes(p, a.axes, alike, orders))
        if self._lengths:
            slopes.update(self._lengths.effect_slopes(p, a.lengths))
        return self._joined(p, base, orders, alike), slopes

    def _of_orders(self, p: Parameters, a: Features, b: Features) -> tuple[Array | float, Array]:
        """What is added whatever the other parameters are, and the effect of orders, which may depend on them."""
        first, *rest = self._terms
        orders = first.between(p, a, b)
        for term in rest:
            orders += term.between(p, a, b)
        if self._lengths is None:
            return 1.0, orders
        kin, effect = (table.astype(orders.dtype) for table in (self._lengths.kin(p), self._lengths.effect(p)))
        orders *= kin[:, b.lengths][a.lengths]
        return 1.0 + effect[:, b.lengths][a.lengths], orders

    def _orders_with_slopes(self, p: Parameters, a: Features) -> tuple[Array, Slopes]:
        parts = [term.with_slopes(p, a) for term in self._terms]
        orders = np.asarray(sum(value for value, _ in parts))
        slopes = {name: slope for _, found in parts for name, slope in found.items()}
        if self._lengths:
            kin = self._lengths.kin(p)[:, a.lengths][a.lengths]
            orders *= kin
            slopes = {name: slope * kin for name, slope in slopes.items()}
            slopes["kin.scale"] = orders * self._lengths.kin_slope(p, a.lengths)
        return orders, slopes

    def _joined(self, p: Parameters, base: Array | float, orders: Array, alike: Array | None) -> Array:
        if self._axes is None or alike is None:
            return base + orders
        share = self._axes.share(p)
        joined = orders * (1 - share + share * alike)
        joined += base
        joined += self._axes.main(p) * alike
        return joined
