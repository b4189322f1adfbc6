"""Remaining stages and the acquisition function. Judge: sets of prefixes."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest

from munchray.orders import OrderRule
from munchray.samplers.acquisition import CostAwareLogEI, RemainingStages
from munchray.samplers.gp import Fit, Posterior
from munchray.samplers.kernels import SettingKernel
from munchray.samplers.order_kernels import order_terms
from munchray.samplers.search_space import SpaceEncoding
from munchray.samplers.vectorizer import Vectorizer
from munchray.settings.dimensions import Choices, OrderSpace
from munchray.settings.space import SearchSpace

NAMES = "abcde"
SPACE = SearchSpace(learning_rate=Choices((0.1, 0.05)), order=OrderSpace(min_length=1))
ENCODING = SpaceEncoding(SPACE, OrderRule({}), NAMES)
VECTORIZER = Vectorizer(ENCODING)
VALUES = [{"learning_rate": 0.1}, {"learning_rate": 0.05}]
ORDERS = list(ENCODING.all_orders())


def prefixes(settings, values):
    """The prefixes of the orders with these values."""
    return {s["order"][:length] for s in settings if s.items() >= values.items() for length in range(1, 6)}


@pytest.mark.parametrize(("count", "running"), [(0, 0), (1, 0), (12, 0), (12, 8)])
def test_remaining_stages_are_those_of_no_trial_with_equal_values(count, running):
    settings = random.Random(count).sample(list(ENCODING.all_settings()), count + running)
    trained, pending = settings[:count], settings[count:]
    found = RemainingStages(VECTORIZER, trained, pending, VALUES).count(VECTORIZER.rows(ORDERS))
    for row, values in zip(found, VALUES, strict=True):
        known, started = prefixes(trained, values), prefixes(settings, values)
        stages = [{order[:length] for length in range(1, len(order) + 1)} for order in ORDERS]
        expected = [len(each - known) if each - started else 0 for each in stages]
        assert row.tolist() == expected


def test_rows_round_trip():
    assert [VECTORIZER.order(row) for row in VECTORIZER.rows(ORDERS)] == ORDERS


def evaluate(stages, weight):
    kernel = SettingKernel(order_terms(5, lengths_vary=True), 1, 5, lengths_vary=True)
    known = VECTORIZER.features(list(itertools.islice(ENCODING.random_settings(1), 10)))
    p = {name: prior.mean for name, prior in kernel.priors.items()}
    posterior = Posterior(kernel, Fit(p, 0.1), known, np.random.default_rng(1).normal(size=10))
    return CostAwareLogEI(VECTORIZER, posterior, 0.5, VALUES, stages, weight)(VECTORIZER.rows(ORDERS))


def test_stages_are_penalized_and_trained_orders_excluded():
    trained = [{"learning_rate": 0.1, "order": ("a", "b", "c")}]
    remaining = RemainingStages(VECTORIZER, trained, [], VALUES)
    stages = remaining.count(VECTORIZER.rows(ORDERS))
    plain = evaluate(None, 1.0)
    assert np.isfinite(plain).all()
    for weight in (0.0, 0.25, 1.0):
        found = evaluate(remaining, weight)
        assert np.isneginf(found[stages == 0]).all()
        assert (stages == 0).sum() == 3
        assert found[stages > 0] == pytest.approx((plain - weight * np.log(np.maximum(stages, 1)))[stages > 0])
