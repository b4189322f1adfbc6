"""Gaussian process regression: MAP hyperparameters, posterior predictions, log expected improvement.

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
from munchray.samplers.order_kernels import Hyperparameters, Prior

NOISE = "noise"
NOISE_PRIOR = Prior(float(np.log(0.2)), 1.0)
JITTER = 1e-6  # keeps a Cholesky factor finite when two settings are almost equal
MAX_Z = 3.0  # hyperparameters stay within this many standard deviations of their prior
MAX_ITERATIONS = 50
TOLERANCE = 1e-4  # of the likelihood; the choice of the prior matters more than finer differences


@dataclass(frozen=True)
class Fit:
    """Fitted hyperparameters of a kernel, and the standard deviation of a setting's score between seeds."""

    hyperparameters: Hyperparameters
    noise: float


def fit(kernel: SettingKernel, x: Features, y: Array) -> Fit:
    """Maximum a posteriori hyperparameters, by L-BFGS, for N settings with standardized scores ``y`` (N,)."""
    priors = {**kernel.priors, NOISE: NOISE_PRIOR}
    means = np.array([prior.mean for prior in priors.values()])
    stds = np.array([prior.std for prior in priors.values()])

    def loss(z: Array) -> tuple[float, Array]:
        p = dict(zip(priors, means + stds * z, strict=True))
        value, gradients = negative_log_marginal_likelihood(kernel, p, x, y)
        return value + float(z @ z) / 2, np.array([gradients[name] for name in priors]) * stds + z

    bounds = [(-MAX_Z, MAX_Z)] * len(priors)
    options = {"maxiter": MAX_ITERATIONS, "ftol": TOLERANCE}
    result = minimize(loss, np.zeros(len(priors)), jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    hyperparameters = dict(zip(priors, (means + stds * result.x).tolist(), strict=True))
    return Fit(hyperparameters, float(np.exp(hyperparameters.pop(NOISE))))


def negative_log_marginal_likelihood(
    kernel: SettingKernel, p: Hyperparameters, x: Features, y: Array
) -> tuple[float, Hyperparameters]:
    """Negative log marginal likelihood up to a constant (equation 5.8), and its derivatives (5.9)."""
    noise = np.exp(2 * p[NOISE])
    covariance, gradients = kernel.value_and_grad(p, x)
    factor = _cholesky(covariance, noise)
    inverse = cho_solve((factor, True), np.eye(len(y)), check_finite=False)
    alpha = inverse @ y
    value = y @ alpha / 2 + np.log(np.diag(factor)).sum()
    by_covariance = inverse - np.outer(alpha, alpha)
    by = {name: float(np.vdot(by_covariance, gradient)) / 2 for name, gradient in gradients.items()}
    return float(value), {**by, NOISE: float(noise * np.trace(by_covariance))}


class Posterior:
    """The Gaussian process conditioned on N settings with scores ``y`` (N,)."""

    def __init__(self, kernel: SettingKernel, fitted: Fit, x: Features, y: Array) -> None:
        self._kernel = kernel
        self._p = fitted.hyperparameters
        self._x = x
        self._factor = _cholesky(kernel.covariance(self._p, x, x), fitted.noise**2)
        self._alpha = cho_solve((self._factor, True), y, check_finite=False)
        self._x32 = x.astype(np.float32)
        self._factor32, self._alpha32 = self._factor.astype(np.float32), self._alpha.astype(np.float32)

    def predict(self, a: Features) -> tuple[Array, Array]:
        """Mean and standard deviation (A,) of each setting's noise-free score."""
        covariance, diag = self._kernel.covariance(self._p, a, self._x), self._kernel.diag(self._p, a)
        return covariance @ self._alpha, _posterior_std(self._factor, covariance, diag)

    def predict_over_axes(self, a: Features, axes: Array) -> Iterator[tuple[Array, Array]]:
        """`predict` in float32 for the orders of ``a`` at each of S values of the axes (S, axes) in turn."""
        diag = self._kernel.diag(self._p, a)
        for covariance in self._kernel.covariance_over_axes(self._p, a, axes, self._x32):
            yield covariance @ self._alpha32, _posterior_std(self._factor32, covariance, diag)


def log_expected_improvement(mean: Array, std: Array, best: float) -> Array:
    """Logarithm of the expected improvement over ``best``, exact also where that is almost zero.

    LogEI of Ament et al. (2023), *Unexpected Improvements to Expected Improvement for Bayesian Optimization*. With
    z = (mean - best) / std it is log std + log(z Phi(z) + phi(z)). Far below the best that sum cancels, but
    phi(z) (1 - |z| Mills(|z|)) with the scaled complementary error function does not.
    """
    z = (mean - best) / std
    low = np.minimum(z, -1.0)
    mills = np.sqrt(np.pi / 2) * erfcx(-low / np.sqrt(2))
    rest = np.where(low > -1e4, 1 + low * mills, low**-2)
    below = np.log(np.maximum(rest, 1e-300)) - low**2 / 2 - np.log(2 * np.pi) / 2
    high = np.maximum(z, -1.0)
    above = np.log(high * ndtr(high) + np.exp(-(high**2) / 2) / np.sqrt(2 * np.pi))
    return np.asarray(np.log(std) + np.where(z < -1.0, below, above))


def _posterior_std(factor: Array, covariance: Array, diag: Array) -> Array:
    """Posterior standard deviation (A,) of settings with this covariance (A, N) with the observed ones."""
    explained = solve_triangular(factor, covariance.T, lower=True, check_finite=False)
    return np.asarray(np.sqrt(np.maximum(diag - np.einsum("na,na->a", explained, explained), JITTER)))


def _cholesky(covariance: Array, noise: float) -> Array:
    """Lower Cholesky factor (N, N) with the noise variance added; modifies the covariance."""
    covariance[np.diag_indices_from(covariance)] += noise + JITTER
    return np.linalg.cholesky(covariance)
