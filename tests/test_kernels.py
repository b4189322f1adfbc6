"""The covariance of settings. Judges: loops over orders, finite differences, eigenvalues."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from munchray.samplers.kernels import SettingKernel
from munchray.samplers.order_features import features, padded
from munchray.samplers.order_kernels import Mallows, Places, order_terms


def kernel(longest, axes=0, lengths_vary=False):
    return SettingKernel(order_terms(longest, lengths_vary), axes, longest, lengths_vary)


def drawn(priors, seed):
    """Hyperparameters somewhere in their priors."""
    rng = np.random.default_rng(seed)
    return {name: rng.normal(prior.mean, prior.deviation) for name, prior in priors.items()}


def some(orders, count, longest, axes=0, seed=0):
    rng = np.random.default_rng(seed)
    return features(padded(orders, longest), count, rng.random((len(orders), axes))).rows(slice(None), np.float64)


def any_length(count):
    return [order for length in range(1, count + 1) for order in itertools.permutations(range(count), length)]


def mixed(seed, trials=30):
    """Orders of one to five of five auxiliaries and two more parameters."""
    rng = np.random.default_rng(seed)
    orders = any_length(5)
    return some([orders[place] for place in rng.choice(len(orders), trials)], 5, 5, axes=2, seed=seed)


def test_features_say_where_each_stands_who_comes_first_and_who_follows():
    (row,) = padded([(2, 0)], 3)
    found = features(np.array([row]), 3, np.zeros((1, 0)))
    places = {(item, place) for item in range(3) for place in range(3) if found.places[0, item * 3 + place]}
    assert places == {(2, 1), (0, 0)}  # 0 is last, 2 is one before
    assert found.pairs.tolist() == [[0, -1, 0]]  # of (0, 1), (0, 2), (1, 2): 2 comes before 0
    assert {divmod(int(place), 3) for place in np.flatnonzero(found.neighbours[0])} == {(2, 0)}
    assert found.lengths.tolist() == [2]


@pytest.mark.parametrize("seed", range(3))
def test_slopes_are_those_of_finite_differences(seed):
    x, whole = mixed(seed), kernel(5, axes=2, lengths_vary=True)
    p = drawn(whole.priors, seed)
    value, slopes = whole.with_slopes(p, x)
    assert value == pytest.approx(whole.between(p, x, x))
    assert slopes.keys() == whole.priors.keys()
    for name, slope in slopes.items():
        higher, lower = (whole.between({**p, name: p[name] + step}, x, x) for step in (1e-5, -1e-5))
        assert slope == pytest.approx((higher - lower) / 2e-5, rel=1e-4, abs=1e-6), name


@pytest.mark.parametrize("lengths_vary", [False, True])
def test_own_variances_are_the_diagonal_and_a_grid_is_the_same_matrix(lengths_vary):
    whole = kernel(4, axes=1, lengths_vary=lengths_vary)
    p = drawn(whole.priors, 5)
    orders = any_length(4) if lengths_vary else list(itertools.permutations(range(4)))
    x = some(orders, 4, 4, axes=1)
    assert np.diag(whole.between(p, x, x)) == pytest.approx(whole.own(p, x))
    values = np.array([[0.0], [0.4]])
    for value, block in zip(values, whole.over_axes(p, x, values, x), strict=True):
        there = features(padded(orders, 4), 4, np.tile(value, (len(orders), 1))).rows(slice(None), np.float64)
        assert block == pytest.approx(whole.between(p, there, x))


def test_the_mallows_term_counts_pairs_turned_round():
    p = {"size.mallows": math.log(1.5), "mallows.scale": math.log(0.3)}
    orders = list(itertools.permutations(range(4)))
    x = some(orders, 4, 4)
    found = Mallows(4).between(p, x, x)
    for (i, a), (j, b) in itertools.product(enumerate(orders), repeat=2):
        pairs = itertools.combinations(range(4), 2)
        turned = sum((a.index(s) < a.index(t)) != (b.index(s) < b.index(t)) for s, t in pairs)
        assert found[i, j] == pytest.approx(1.5**2 * math.exp(-turned / 6 / 0.3))


def test_the_places_term_weighs_late_places_more_and_near_ones_alike():
    p = {"size.places": math.log(2.0), "recency": 0.7, "places.scale": math.log(1.5)}
    orders = [(0, 1, 2), (2, 0, 1), (1,), (1, 2)]
    found = Places(3).between(p, some(orders, 3, 3), some(orders, 3, 3))
    total = sum(math.exp(-2 * 0.7 * place) for place in range(3))
    for (i, a), (j, b) in itertools.product(enumerate(orders), repeat=2):
        both = [(a[::-1].index(item), b[::-1].index(item)) for item in a if item in b]
        worth = [math.exp(-0.7 * (s + t) - (s - t) ** 2 / (2 * 1.5**2)) for s, t in both]
        assert found[i, j] == pytest.approx(4 * sum(worth) / total)


@pytest.mark.parametrize("seed", range(5))
def test_the_matrix_of_all_orders_of_any_length_is_positive_semidefinite(seed):
    whole = kernel(4, axes=2, lengths_vary=True)
    x = some(any_length(4), 4, 4, axes=2, seed=seed)
    matrix = whole.between(drawn(whole.priors, seed), x, x)
    values = np.linalg.eigvalsh(matrix)
    assert matrix == pytest.approx(matrix.T)
    assert values.min() > -1e-12 * values.max()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_the_matrix_of_all_5040_orders_of_seven_is_positive_semidefinite(seed):
    """A Cholesky factor exists when a 1e-9th of the mean variance is added: no eigenvalue is below minus that."""
    whole = kernel(7)
    x = some(list(itertools.permutations(range(7))), 7, 7)
    matrix = whole.between(drawn(whole.priors, seed), x, x)
    assert matrix.shape == (5040, 5040)
    matrix[np.diag_indices(5040)] += 1e-9 * np.trace(matrix)
    assert np.isfinite(np.linalg.cholesky(matrix)).all()
