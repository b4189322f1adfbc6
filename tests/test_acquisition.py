"""What a trial costs, and what it gains by that. Judge: sets of beginnings."""

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
from munchray.samplers.search_space import Encoding
from munchray.samplers.vectorizer import Vectorizer
from munchray.settings.dimensions import Choices, OrderSpace
from munchray.settings.space import SearchSpace

NAMES = "abcde"
SPACE = SearchSpace(learning_rate=Choices((0.1, 0.05)), order=OrderSpace(min_length=1))
ENCODING = Encoding(SPACE, OrderRule({}), NAMES)
CODEC = Vectorizer(ENCODING)
VALUES = [{"learning_rate": 0.1}, {"learning_rate": 0.05}]
ORDERS = list(ENCODING.listed_orders())


def beginnings(settings, values):
    """Of the orders with these values."""
    return {s["order"][:length] for s in settings if s.items() >= values.items() for length in range(1, 6)}


@pytest.mark.parametrize(("count", "running"), [(0, 0), (1, 0), (12, 0), (12, 8)])
def test_stages_left_are_those_no_trial_with_the_same_parameters_had(count, running):
    settings = random.Random(count).sample(list(ENCODING.settings()), count + running)
    trained, run = settings[:count], settings[count:]
    found = RemainingStages(CODEC, trained, run, VALUES).of(CODEC.rows(ORDERS))
    for row, values in zip(found, VALUES, strict=True):
        known, begun = beginnings(trained, values), beginnings(settings, values)
        stages = [{order[:length] for length in range(1, len(order) + 1)} for order in ORDERS]
        expected = [len(each - known) if each - begun else 0 for each in stages]
        assert row.tolist() == expected


def test_orders_come_back_from_their_rows():
    assert [CODEC.order(row) for row in CODEC.rows(ORDERS)] == ORDERS


def gains(stages, weight):
    kernel = SettingKernel(order_terms(5, lengths_vary=True), 1, 5, lengths_vary=True)
    known = CODEC.features(list(itertools.islice(ENCODING.draws(1), 10)))
    p = {name: prior.mean for name, prior in kernel.priors.items()}
    posterior = Posterior(kernel, Fit(p, 0.1), known, np.random.default_rng(1).normal(size=10))
    return CostAwareLogEI(CODEC, posterior, 0.5, VALUES, stages, weight).of(CODEC.rows(ORDERS))


def test_gain_is_divided_by_stages_as_far_as_they_weigh_and_nothing_is_gained_by_what_is_trained():
    trained = [{"learning_rate": 0.1, "order": ("a", "b", "c")}]
    left = RemainingStages(CODEC, trained, [], VALUES)
    stages = left.of(CODEC.rows(ORDERS))
    plain = gains(None, 1.0)
    assert np.isfinite(plain).all()
    for weight in (0.0, 0.25, 1.0):
        found = gains(left, weight)
        assert np.isneginf(found[stages == 0]).all()
        assert (stages == 0).sum() == 3
        assert found[stages > 0] == pytest.approx((plain - weight * np.log(np.maximum(stages, 1)))[stages > 0])
