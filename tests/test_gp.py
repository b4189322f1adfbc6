"""Gaussian process regression. Judges: the textbook's formulas, numerical integrals, drawn functions."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.integrate import quad

from munchray.samplers.gp import Fit, Posterior, fit, log_expected_improvement
from munchray.samplers.kernels import SettingKernel
from munchray.samplers.order_features import extract_features, pad_orders
from munchray.samplers.order_kernels import order_terms

ORDERS = list(itertools.permutations(range(5)))
KERNEL = SettingKernel(order_terms(5, lengths_vary=False), 1, 5, lengths_vary=False)
MEANS = {name: prior.mean for name, prior in KERNEL.priors.items()}


def settings(count, seed=0):
    rng = np.random.default_rng(seed)
    orders = [ORDERS[index] for index in rng.choice(len(ORDERS), count, replace=False)]
    return extract_features(pad_orders(orders, 5), 5, rng.random((count, 1)).round()).astype(np.float64)


def scores(x, noise, seed=0):
    """A function drawn from the prior, with noise."""
    rng = np.random.default_rng(seed)
    return rng.multivariate_normal(np.zeros(len(x)), KERNEL.covariance(MEANS, x, x)) + noise * rng.normal(size=len(x))


def test_predictions_match_the_textbook():
    known, asked = settings(30), settings(40, seed=1)
    y, noise = scores(known, 0.3), 0.3
    mean, std = Posterior(KERNEL, Fit(MEANS, noise), known, y).predict(asked)
    covariance = KERNEL.covariance(MEANS, known, known) + noise**2 * np.eye(30)
    cross = KERNEL.covariance(MEANS, asked, known)
    left = KERNEL.covariance(MEANS, asked, asked) - cross @ np.linalg.solve(covariance, cross.T)
    assert mean == pytest.approx(cross @ np.linalg.solve(covariance, y), abs=1e-4)
    assert std == pytest.approx(np.sqrt(np.diag(left)), abs=1e-4)


def test_float32_predictions_over_axes_match():
    known = settings(30)
    y = scores(known, 0.1)
    posterior = Posterior(KERNEL, Fit(MEANS, 0.1), known, y)
    values = np.array([[0.0], [1.0]])
    rows = pad_orders(ORDERS, 5)
    orders = extract_features(rows, 5, np.zeros((120, 0))).astype(np.float32)
    for value, found in zip(values, posterior.predict_over_axes(orders, values), strict=True):
        there = extract_features(rows, 5, np.tile(value, (120, 1))).astype(np.float64)
        for single, double in zip(found, posterior.predict(there), strict=True):
            assert single == pytest.approx(double, abs=1e-3)


def test_noise_is_learned():
    known = settings(100)
    quiet, loud = (fit(KERNEL, known, _standard(scores(known, noise))).noise for noise in (0.02, 1.0))
    assert quiet < 0.15
    assert loud > 0.4


def test_relevant_features_are_learned():
    """Late positions alone, or adjacency alone."""
    known = settings(100)
    effects = np.random.default_rng(3).normal(size=5)
    last = known.positions.reshape(100, 5, 5)[:, :, :2] @ [1.0, 0.3] @ effects
    late = fit(KERNEL, known, _standard(last)).hyperparameters
    follows = known.adjacency @ np.random.default_rng(4).normal(size=25)
    near = fit(KERNEL, known, _standard(follows)).hyperparameters
    scales = ("positions", "pairs", "adjacency", "mallows")
    late_scale, near_scale = ({name: p[f"output_scale.{name}"] for name in scales} for p in (late, near))
    assert late_scale["positions"] > max(late_scale["adjacency"], late_scale["mallows"])
    assert late["recency"] > near["recency"]
    assert max(near_scale, key=near_scale.get) == "adjacency"


@pytest.mark.parametrize("z", [-5.0, -1.5, -1.0, -0.999, 0.0, 2.0])
def test_expected_improvement_equals_its_integral(z):
    std, best = 0.7, 3.0
    mean = best + z * std

    def improvement(step):
        return (mean + std * step - best) * math.exp(-(step**2) / 2) / math.sqrt(2 * math.pi)

    integral = quad(improvement, -z, -z + 40, epsabs=0, epsrel=1e-10, points=[-z + 1])[0]
    (found,) = log_expected_improvement(np.array([mean]), np.array([std]), best)
    assert found == pytest.approx(math.log(integral), abs=1e-8)


def test_expected_improvement_ranks_where_it_underflows():
    z = -np.array([1e5, 20_000.0, 9_999.0, 1_000.0, 100.0, 40.0])
    found = log_expected_improvement(z, np.ones(6), 0.0)
    assert np.isfinite(found).all()
    assert (np.diff(found) > 0).all()
    assert found == pytest.approx(-(z**2) / 2 - math.log(2 * math.pi) / 2 - 2 * np.log(-z), rel=1e-5)


def _standard(y):
    return (y - y.mean()) / y.std()
