"""Gaussian process regression: hyperparameters by marginal likelihood, predictions, expected improvement.

After Rasmussen and Williams, *Gaussian Processes for Machine Learning* (2006), chapters 2 and 5.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_solve, solve_triangular
from scipy.optimize import minimize
from scipy.special import erfcx, ndtr

from munchray.samplers.kernels import SettingKernel
from munchray.samplers.order_features import Array, Features
from munchray.samplers.order_kernels import Parameters, Prior

NOISE = "noise"
NOISE_PRIOR = Prior(float(np.log(0.2)), 1.0)
JITTER = 1e-6  # keeps a Cholesky factor finite when two settings are all but equal
FARTHEST = 3.0  # hyperparameters stay within so many deviations of their prior
MOST_STEPS = 50
TOLERANCE = 1e-4  # of the likelihood; finer differences are lost in the choice of the prior


@dataclass(frozen=True)
class Fit:
    """Hyperparameters of a kernel, and the standard deviation of what the same setting scores from seed to seed."""

    parameters: Parameters
    noise: float


def fit(kernel: SettingKernel, x: Features, y: Array) -> Fit:
    """The most probable hyperparameters after N settings scored ``y`` (N,), which should be standardised."""
    priors = {**kernel.priors, NOISE: NOISE_PRIOR}
    means, deviations = (np.array([getattr(prior, of) for prior in priors.values()]) for of in ("mean", "deviation"))

    def loss(steps: Array) -> tuple[float, Array]:
        values = dict(zip(priors, means + deviations * steps, strict=True))
        value, slopes = negative_log_marginal_likelihood(kernel, values, x, y)
        return value + float(steps @ steps) / 2, np.array([slopes[name] for name in priors]) * deviations + steps

    bounds = [(-FARTHEST, FARTHEST)] * len(priors)
    options = {"maxiter": MOST_STEPS, "ftol": TOLERANCE}
    found = minimize(loss, np.zeros(len(priors)), jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    parameters = dict(zip(priors, (means + deviations * found.x).tolist(), strict=True))
    return Fit(parameters, float(np.exp(parameters.pop(NOISE))))


def negative_log_marginal_likelihood(
    kernel: SettingKernel, p: Parameters, x: Features, y: Array
) -> tuple[float, Parameters]:
    """Negative log marginal likelihood up to a constant, and its derivatives."""
    noise = np.exp(2 * p[NOISE])
    covariance, slopes = kernel.with_slopes(p, x)
    factor = _factor(covariance, noise)
    inverse = cho_solve((factor, True), np.eye(len(y)), check_finite=False)
    weights = inverse @ y
    value = y @ weights / 2 + np.log(np.diag(factor)).sum()
    pull = inverse - np.outer(weights, weights)
    by = {name: float(np.vdot(pull, slope)) / 2 for name, slope in slopes.items()}
    return float(value), {**by, NOISE: float(noise * np.trace(pull))}


class Posterior:
    """What N settings that scored ``y`` (N,) tell of all others."""

    def __init__(self, kernel: SettingKernel, found: Fit, x: Features, y: Array) -> None:
        self._kernel = kernel
        self._p = found.parameters
        self._x = x
        self._factor = _factor(kernel.between(self._p, x, x), found.noise**2)
        self._weights = cho_solve((self._factor, True), y, check_finite=False)
        self._single = (x.rows(slice(None), np.float32), self._factor.astype(np.float32))

    def at(self, a: Features) -> tuple[Array, Array]:
        """Mean and standard deviation (A,) of what each setting is worth, without noise."""
        covariance, own = self._kernel.between(self._p, a, self._x), self._kernel.own(self._p, a)
        return covariance @ self._weights, _left(self._factor, covariance, own)

    def over_axes(self, a: Features, axes: Array) -> Iterator[tuple[Array, Array]]:
        """The same with the orders of ``a``, in float32, at each of the other parameters (S, axes) in turn."""
        x, factor = self._single
        own = self._kernel.own(self._p, a)
        for covariance in self._kernel.over_axes(self._p, a, axes, x):
            yield covariance @ self._weights.astype(np.float32), _left(factor, covariance, own)


def log_expected_improvement(mean: Array, deviation: Array, best: float) -> Array:
    """Logarithm of how much a setting is expected to exceed ``best``, exact also where that is next to nothing.

    With z = (mean - best) / deviation it is log deviation + log(z Phi(z) + phi(z)); far below the best the sum cancels,
    and phi(z) (1 - |z| Mills(|z|)) with the scaled complementary error function does not.
    """
    z = (mean - best) / deviation
    low = np.minimum(z, -1.0)
    mills = np.sqrt(np.pi / 2) * erfcx(-low / np.sqrt(2))
    rest = np.where(low > -1e4, 1 + low * mills, low**-2)
    below = np.log(np.maximum(rest, 1e-300)) - low**2 / 2 - np.log(2 * np.pi) / 2
    high = np.maximum(z, -1.0)
    above = np.log(high * ndtr(high) + np.exp(-(high**2) / 2) / np.sqrt(2 * np.pi))
    return np.asarray(np.log(deviation) + np.where(z < -1.0, below, above))


def _left(factor: Array, covariance: Array, own: Array) -> Array:
    """Standard deviation (A,) left of settings with this covariance (A, N) with the known ones."""
    known = solve_triangular(factor, covariance.T, lower=True, check_finite=False)
    return np.asarray(np.sqrt(np.maximum(own - np.einsum("na,na->a", known, known), JITTER)))


def _factor(covariance: Array, noise: float) -> Array:
    """Lower Cholesky factor (N, N) with the noise's variance added; changes the covariance."""
    covariance[np.diag_indices_from(covariance)] += noise + JITTER
    return np.linalg.cholesky(covariance)
