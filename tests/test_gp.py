"""Gaussian process regression. Judges: the textbook's formulas, numerical integrals, drawn functions."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.integrate import quad

from munchray.samplers.gp import Fit, Posterior, fit, log_expected_improvement
from munchray.samplers.kernels import SettingKernel
from munchray.samplers.order_features import features, padded
from munchray.samplers.order_kernels import order_terms

ORDERS = list(itertools.permutations(range(5)))
KERNEL = SettingKernel(order_terms(5, lengths_vary=False), 1, 5, lengths_vary=False)
MEANS = {name: prior.mean for name, prior in KERNEL.priors.items()}


def settings(count, seed=0):
    rng = np.random.default_rng(seed)
    orders = [ORDERS[place] for place in rng.choice(len(ORDERS), count, replace=False)]
    return features(padded(orders, 5), 5, rng.random((count, 1)).round()).rows(slice(None), np.float64)


def scores(x, noise, seed=0):
    """A function drawn from the prior, with noise."""
    rng = np.random.default_rng(seed)
    return rng.multivariate_normal(np.zeros(len(x)), KERNEL.between(MEANS, x, x)) + noise * rng.normal(size=len(x))


def test_predictions_are_those_of_the_textbook():
    known, asked = settings(30), settings(40, seed=1)
    y, noise = scores(known, 0.3), 0.3
    mean, deviation = Posterior(KERNEL, Fit(MEANS, noise), known, y).at(asked)
    covariance = KERNEL.between(MEANS, known, known) + noise**2 * np.eye(30)
    between = KERNEL.between(MEANS, asked, known)
    left = KERNEL.between(MEANS, asked, asked) - between @ np.linalg.solve(covariance, between.T)
    assert mean == pytest.approx(between @ np.linalg.solve(covariance, y), abs=1e-4)
    assert deviation == pytest.approx(np.sqrt(np.diag(left)), abs=1e-4)


def test_predictions_over_axes_in_single_precision_are_nearly_the_same():
    known = settings(30)
    y = scores(known, 0.1)
    posterior = Posterior(KERNEL, Fit(MEANS, 0.1), known, y)
    values = np.array([[0.0], [1.0]])
    rows = padded(ORDERS, 5)
    orders = features(rows, 5, np.zeros((120, 0))).rows(slice(None), np.float32)
    for value, found in zip(values, posterior.over_axes(orders, values), strict=True):
        there = features(rows, 5, np.tile(value, (120, 1))).rows(slice(None), np.float64)
        for single, double in zip(found, posterior.at(there), strict=True):
            assert single == pytest.approx(double, abs=1e-3)


def test_noise_is_learned():
    known = settings(100)
    quiet, loud = (fit(KERNEL, known, _standard(scores(known, noise))).noise for noise in (0.02, 1.0))
    assert quiet < 0.15
    assert loud > 0.4


def test_what_matters_is_learned():
    """Late places alone, or neighbours alone."""
    known = settings(100)
    worth = np.random.default_rng(3).normal(size=5)
    last = known.places.reshape(100, 5, 5)[:, :, :2] @ [1.0, 0.3] @ worth
    late = fit(KERNEL, known, _standard(last)).parameters
    follows = known.neighbours @ np.random.default_rng(4).normal(size=25)
    near = fit(KERNEL, known, _standard(follows)).parameters
    assert late["size.places"] > max(late["size.neighbours"], late["size.mallows"])
    assert late["recency"] > near["recency"]
    assert near["size.neighbours"] > max(near["size.places"], near["size.mallows"], near["size.pairs"])


@pytest.mark.parametrize("z", [-5.0, -1.5, -1.0, -0.999, 0.0, 2.0])
def test_expected_improvement_is_its_integral(z):
    deviation, best = 0.7, 3.0
    mean = best + z * deviation

    def gain(step):
        return (mean + deviation * step - best) * math.exp(-(step**2) / 2) / math.sqrt(2 * math.pi)

    integral = quad(gain, -z, -z + 40, epsabs=0, epsrel=1e-10, points=[-z + 1])[0]
    (found,) = log_expected_improvement(np.array([mean]), np.array([deviation]), best)
    assert found == pytest.approx(math.log(integral), abs=1e-8)


def test_expected_improvement_still_ranks_where_it_is_next_to_nothing():
    z = -np.array([1e5, 20_000.0, 9_999.0, 1_000.0, 100.0, 40.0])
    found = log_expected_improvement(z, np.ones(6), 0.0)
    assert np.isfinite(found).all()
    assert (np.diff(found) > 0).all()
    assert found == pytest.approx(-(z**2) / 2 - math.log(2 * math.pi) / 2 - 2 * np.log(-z), rel=1e-5)


def _standard(y):
    return (y - y.mean()) / y.std()
