"""Observations built from finished trials. Judge: written out."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import pytest

from munchray.samplers.base import Outcome
from munchray.samplers.observations import MAX_OBSERVATIONS, build_observations

START = datetime(2026, 1, 1)


def outcome(number, order, value, stages=(), rate=0.1):
    setting = {"order": tuple(order), "learning_rate": rate}
    return Outcome(number, setting, value, tuple(stages), START + timedelta(seconds=number))


def test_prefixes_are_observed_once_unless_a_trial_has_that_order():
    outcomes = [
        outcome(0, "ab", 4.0, [(1, 1.0)]),
        outcome(1, "abc", 6.0, [(1, 1.0), (2, 4.0)]),
        outcome(2, "ab", 5.0, [(1, 2.0)], rate=0.05),
        outcome(3, "cab", 5.0, [(1, 0.0), (2, float("nan"))]),
    ]
    found = build_observations(outcomes, 1.0)
    assert found.trials == 4
    described = [
        ("".join(s["order"]), s["learning_rate"], v) for s, v in zip(found.settings, found.values, strict=True)
    ]
    assert [(order, rate) for order, rate, _ in described] == [
        ("ab", 0.1),
        ("abc", 0.1),
        ("ab", 0.05),
        ("cab", 0.1),
        ("c", 0.1),
        ("a", 0.05),
        ("a", 0.1),
    ]
    assert found.values.tolist() == pytest.approx((np.array([4, 6, 5, 5, 0, 2, 1]) - 5) / np.std([4, 6, 5, 5]))


def test_minimization_flips_the_sign():
    better, worse = build_observations([outcome(0, "ab", 1.0), outcome(1, "ba", 2.0)], -1.0).values
    assert better == -worse == 1.0


def test_equal_scores_do_not_divide_by_zero():
    assert build_observations([outcome(0, "ab", 3.0), outcome(1, "ba", 3.0)], 1.0).values.tolist() == [0.0, 0.0]


def test_a_collapsed_training_is_clipped():
    good = [outcome(n, "ab", 70.0 + n % 5) for n in range(20)]
    found = build_observations([*good, outcome(20, "ba", 0.0)], 1.0)
    assert np.ptp(found.values[:20]) > 1.0
    assert found.values[20] == min(found.values)


def test_the_best_and_latest_of_many_trials_are_kept():
    outcomes = [outcome(n, "ab", float(-n % 1000), [(1, 0.0)], rate=1 + n) for n in range(1000)]
    found = build_observations(outcomes, 1.0)
    numbers = {round(setting["learning_rate"]) - 1 for setting in found.settings}
    half = MAX_OBSERVATIONS // 2
    assert len(found.settings) == found.trials == MAX_OBSERVATIONS
    assert numbers == set(range(1, half + 1)) | set(range(1000 - half, 1000))


def test_a_subsample_has_as_many_trials_as_prefixes():
    outcomes = [outcome(n, "abc", float(n), [(1, 1.0), (2, 2.0)], rate=1 + n) for n in range(60)]
    whole = build_observations(outcomes, 1.0)
    found = whole.subsample(40, seed=1)
    assert (len(found.settings), found.trials) == (40, 20)
    pairs = {(str(s), v) for s, v in zip(whole.settings, whole.values, strict=True)}
    assert all((str(s), v) in pairs for s, v in zip(found.settings, found.values, strict=True))
    assert [len(setting["order"]) == 3 for setting in found.settings] == [True] * 20 + [False] * 20
    assert whole.subsample(500, seed=1) is whole
    assert build_observations(outcomes[:30], 1.0).subsample(89, seed=1).trials == 30
