"""Least squares with the jackknife over groups, against refitting without each group, the t interval, simulation."""

import numpy as np
import pytest
from scipy.stats import t, ttest_ind

from munchray.report.regression import LeastSquares


def drawn(seed, groups, size=3, unknowns=4):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(groups * size, unknowns))
    shared = np.repeat(rng.normal(size=groups), size)  # errors are correlated within a group
    return x, x @ np.arange(1.0, unknowns + 1) + shared + rng.normal(size=len(x)), np.repeat(range(groups), size)


def test_the_interval_is_that_of_refitting_without_each_group():
    x, y, groups = drawn(0, groups=9)
    contrast = np.array([1.0, -1.0, 0.0, 2.0])
    whole, *without = (
        contrast @ np.linalg.lstsq(x[kept], y[kept], rcond=None)[0]
        for kept in (groups >= 0, *(groups != group for group in range(9)))
    )
    half = t.ppf(0.975, 8) * np.sqrt(8 / 9 * sum((value - whole) ** 2 for value in without))
    found = LeastSquares(x, y, groups).estimate(contrast)
    assert (found.value, found.low, found.high) == pytest.approx((whole, whole - half, whole + half))


def test_two_means_of_single_observations_differ_by_nearly_the_t_interval():
    a, b = np.random.default_rng(1).normal(size=(2, 40))
    x = np.repeat(np.eye(2), 40, axis=0)
    found = LeastSquares(x, np.concatenate([a, b]), range(80)).estimate(np.array([1.0, -1.0]))
    judge = ttest_ind(a, b).confidence_interval()
    assert found.value == pytest.approx(a.mean() - b.mean())
    assert (found.low, found.high) == pytest.approx((judge.low, judge.high), abs=0.02)


def test_intervals_cover_the_truth_with_correlated_groups():
    groups = np.repeat(range(12), 3)
    x = np.stack([groups % 2, np.ones(36)], axis=1)  # the same in a whole group: no better than twelve observations
    found = []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        y = 1.5 * x[:, 0] + np.repeat(rng.normal(size=12), 3) + 0.3 * rng.normal(size=36)
        estimate = LeastSquares(x, y, groups).estimate(np.array([1.0, 0.0]))
        found.append(estimate.low <= 1.5 <= estimate.high)
    assert 0.92 <= np.mean(found) <= 0.99


def test_unidentified_contrasts_have_no_estimate():
    x = np.array([[1.0, 0, 1], [1, 0, 1], [0, 1, 1], [0, 1, 1]])  # the last is the sum of the others
    fit = LeastSquares(x, np.array([1.0, 2.0, 4.0, 5.0]), range(4))
    assert fit.rank == 2
    assert fit.estimate(np.array([1.0, 0, 0])) is None
    assert fit.estimate(np.array([1.0, -1, 0])).value == pytest.approx(-3.0)
    assert fit.estimate(np.zeros(3)) is None


def test_contrasts_identified_by_a_single_group_have_no_estimate():
    x = np.array([[1.0, 0], [1, 0], [1, 1], [1, 1]])
    y = np.array([1.0, 2.0, 4.0, 5.0])
    assert LeastSquares(x, y, [0, 1, 2, 2]).estimate(np.array([0.0, 1])) is None
    assert LeastSquares(x, y, [0, 1, 2, 3]).estimate(np.array([0.0, 1])).value == pytest.approx(3.0)


def test_without_observations_there_is_no_estimate():
    fit = LeastSquares(np.zeros((0, 2)), np.zeros(0), [])
    assert (fit.rank, fit.degrees_of_freedom) == (0, 0)
    assert fit.estimate(np.array([1.0, 0])) is None
