"""The covariance of two settings: of their orders, the lengths of these, and the other parameters (axes).

    covariance = 1 + lengths + axes_variance * axes_corr + orders * length_corr * (1 - mixing + mixing * axes_corr)

The axes have a main effect, and interact with orders by a learned share (``mixing``). How much orders of different
lengths are correlated is learned too (``length_corr``): that makes a prefix of an order evidence about whole orders,
and takes its weight away when it misleads.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from munchray.samplers.order_features import Array, Features
from munchray.samplers.order_kernels import (
    Gradients,
    Hyperparameters,
    OrderTerm,
    Prior,
    lengthscale_prior,
    output_scale_prior,
)

Lengths = NDArray[np.intp]


class LengthTerm:
    """A smooth main effect of the number of auxiliaries, and the correlation between orders of two lengths.

    A squared-exponential kernel and an exponential one, both tabulated for all pairs of lengths.
    """

    priors: Mapping[str, Prior] = {
        "output_scale.lengths": output_scale_prior(2.0),
        "lengthscale.lengths": lengthscale_prior(3.0),
        "lengthscale.length_corr": Prior(math.log(4.0), 1.0),
    }

    def __init__(self, max_length: int) -> None:
        length = np.arange(max_length + 1.0)
        self._distance = np.abs(np.subtract.outer(length, length))

    def covariance(self, p: Hyperparameters) -> Array:
        """Covariance of the main effect, (L + 1, L + 1)."""
        return np.exp(2 * p["output_scale.lengths"] - self._scaled_squares(p))

    def length_corr(self, p: Hyperparameters) -> Array:
        """Correlation of orders, (L + 1, L + 1), 1 between orders of the same length."""
        return np.asarray(np.exp(-self._distance * math.exp(-p["lengthscale.length_corr"])))

    def covariance_grad(self, p: Hyperparameters, a: Lengths) -> Gradients:
        """Derivatives of `covariance` between orders of these lengths."""
        value = self.covariance(p)[:, a][a]
        by_lengthscale = 2 * value * self._scaled_squares(p)[:, a][a]
        return {"output_scale.lengths": 2 * value, "lengthscale.lengths": by_lengthscale}

    def log_length_corr_grad(self, p: Hyperparameters, a: Lengths) -> Array:
        """Derivative of the logarithm of `length_corr` between orders of these lengths."""
        return np.asarray((self._distance * math.exp(-p["lengthscale.length_corr"]))[:, a][a])

    def _scaled_squares(self, p: Hyperparameters) -> Array:
        return np.asarray(self._distance**2 / 2 * math.exp(-2 * p["lengthscale.lengths"]))


class AxesTerm:
    """Squared-exponential kernel over the other parameters, with a lengthscale per axis (ARD)."""

    def __init__(self, axes: int) -> None:
        self._lengthscales = [f"lengthscale.axis.{axis}" for axis in range(axes)]
        self.priors = {
            "output_scale.axes": output_scale_prior(0.5),
            "mixing": Prior(-2.0, 1.0),
            **{name: lengthscale_prior(0.7) for name in self._lengthscales},
        }

    def corr(self, p: Hyperparameters, a: Array, b: Array) -> Array:
        """Correlations (A, B), 1 between equal parameters."""
        a, b = a * self._weights(p), b * self._weights(p)
        squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
        return np.asarray(np.exp(-np.maximum(squares, 0)))

    def variance(self, p: Hyperparameters) -> float:
        """Variance of the parameters' main effect."""
        return math.exp(2 * p["output_scale.axes"])

    def mixing(self, p: Hyperparameters) -> float:
        """The share of the effect of an order that depends on the other parameters."""
        return 1 / (1 + math.exp(-p["mixing"]))

    def grad(self, p: Hyperparameters, axes: Array, corr: Array, orders: Array) -> Gradients:
        """Derivatives of ``variance * corr + orders * (1 - mixing + mixing * corr)``."""
        variance, mixing = self.variance(p), self.mixing(p)
        weight = 2 * corr * (variance + mixing * orders)
        columns = (axes * self._weights(p)).T
        names = zip(self._lengthscales, columns, strict=True)
        return {
            "output_scale.axes": 2 * variance * corr,
            "mixing": orders * (corr - 1) * mixing * (1 - mixing),
            **{name: weight * np.subtract.outer(x, x) ** 2 for name, x in names},
        }

    def _weights(self, p: Hyperparameters) -> Array:
        """Factors (A,) of the coordinates, whose squared distances then add up to the exponent."""
        return np.array([math.exp(-p[name]) for name in self._lengthscales]) / math.sqrt(2)


class SettingKernel:
    """The covariance above.

    Args:
        terms: the kernels over orders.
        axes: number of other parameters.
        max_length: auxiliaries in the longest order.
        lengths_vary: whether orders of different lengths are compared.
    """

    def __init__(self, terms: Sequence[OrderTerm], axes: int, max_length: int, lengths_vary: bool) -> None:
        self._terms = terms
        self._lengths = LengthTerm(max_length) if lengths_vary else None
        self._axes = AxesTerm(axes) if axes else None
        parts = (*terms, self._lengths, self._axes)
        self.priors = {name: prior for part in parts if part for name, prior in part.priors.items()}

    def covariance(self, p: Hyperparameters, a: Features, b: Features) -> Array:
        """Covariances (A, B)."""
        base, orders = self._base_and_orders(p, a, b)
        return self._combine(p, base, orders, self._axes.corr(p, a.axes, b.axes) if self._axes else None)

    def covariance_over_axes(self, p: Hyperparameters, a: Features, axes: Array, b: Features) -> Iterator[Array]:
        """Covariances (A, B) with the orders of ``a`` at each of S values of the axes (S, axes) in turn."""
        base, orders = self._base_and_orders(p, a, b)
        if self._axes is None:
            yield self._combine(p, base, orders, None)
            return
        for corr in self._axes.corr(p, axes, b.axes).astype(orders.dtype):
            yield self._combine(p, base, orders, corr)

    def diag(self, p: Hyperparameters, a: Features) -> Array:
        """Variances (A,)."""
        constant = 1.0
        constant += math.exp(2 * p["output_scale.lengths"]) if self._lengths else 0.0
        constant += self._axes.variance(p) if self._axes else 0.0
        return np.asarray(constant + np.sum([term.diag(p) for term in self._terms], axis=0)[a.lengths])

    def value_and_grad(self, p: Hyperparameters, a: Features) -> tuple[Array, Gradients]:
        """Covariances (A, A) and their derivatives by every hyperparameter."""
        orders, gradients = self._orders_and_grad(p, a)
        base: Array | float = 1.0
        if self._lengths:
            base = 1.0 + self._lengths.covariance(p)[:, a.lengths][a.lengths]
        corr = self._axes.corr(p, a.axes, a.axes) if self._axes else None
        if self._axes and corr is not None:
            factor = 1 + self._axes.mixing(p) * (corr - 1)
            gradients = {name: gradient * factor for name, gradient in gradients.items()}
            gradients.update(self._axes.grad(p, a.axes, corr, orders))
        if self._lengths:
            gradients.update(self._lengths.covariance_grad(p, a.lengths))
        return self._combine(p, base, orders, corr), gradients

    def _base_and_orders(self, p: Hyperparameters, a: Features, b: Features) -> tuple[Array | float, Array]:
        """The summands that ignore the axes, and the effect of orders, which may interact with them."""
        first, *rest = self._terms
        orders = first.covariance(p, a, b)
        for term in rest:
            orders += term.covariance(p, a, b)
        if self._lengths is None:
            return 1.0, orders
        tables = (self._lengths.length_corr(p), self._lengths.covariance(p))
        length_corr, lengths = (table.astype(orders.dtype) for table in tables)
        orders *= length_corr[:, b.lengths][a.lengths]
        return 1.0 + lengths[:, b.lengths][a.lengths], orders

    def _orders_and_grad(self, p: Hyperparameters, a: Features) -> tuple[Array, Gradients]:
        parts = [term.value_and_grad(p, a) for term in self._terms]
        orders = np.asarray(sum(value for value, _ in parts))
        gradients = {name: gradient for _, found in parts for name, gradient in found.items()}
        if self._lengths:
            length_corr = self._lengths.length_corr(p)[:, a.lengths][a.lengths]
            orders *= length_corr
            gradients = {name: gradient * length_corr for name, gradient in gradients.items()}
            gradients["lengthscale.length_corr"] = orders * self._lengths.log_length_corr_grad(p, a.lengths)
        return orders, gradients

    def _combine(self, p: Hyperparameters, base: Array | float, orders: Array, corr: Array | None) -> Array:
        if self._axes is None or corr is None:
            return base + orders
        mixing = self._axes.mixing(p)
        combined = orders * (1 - mixing + mixing * corr)
        combined += base
        combined += self._axes.variance(p) * corr
        return combined
