"""The covariance of settings. Judges: loops over orders, finite differences, eigenvalues."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from munchray.samplers.kernels import SettingKernel
from munchray.samplers.order_features import extract_features, pad_orders
from munchray.samplers.order_kernels import MallowsTerm, PositionTerm, order_terms


def kernel(longest, axes=0, lengths_vary=False):
    return SettingKernel(order_terms(longest, lengths_vary), axes, longest, lengths_vary)


def drawn(priors, seed):
    """Hyperparameters drawn from their priors."""
    rng = np.random.default_rng(seed)
    return {name: rng.normal(prior.mean, prior.std) for name, prior in priors.items()}


def some(orders, count, longest, axes=0, seed=0):
    rng = np.random.default_rng(seed)
    return extract_features(pad_orders(orders, longest), count, rng.random((len(orders), axes))).astype(np.float64)


def any_length(count):
    return [order for length in range(1, count + 1) for order in itertools.permutations(range(count), length)]


def mixed(seed, trials=30):
    """Orders of one to five of five auxiliaries and two more parameters."""
    rng = np.random.default_rng(seed)
    orders = any_length(5)
    return some([orders[index] for index in rng.choice(len(orders), trials)], 5, 5, axes=2, seed=seed)


def test_features_are_positions_precedence_and_adjacency():
    (row,) = pad_orders([(2, 0)], 3)
    found = extract_features(np.array([row]), 3, np.zeros((1, 0)))
    positions = {divmod(int(column), 3) for column in np.flatnonzero(found.positions[0])}
    assert positions == {(2, 1), (0, 0)}  # 0 is last, 2 is one before
    assert found.pairs.tolist() == [[0, -1, 0]]  # of (0, 1), (0, 2), (1, 2): 2 comes before 0
    assert {divmod(int(column), 3) for column in np.flatnonzero(found.adjacency[0])} == {(2, 0)}
    assert found.lengths.tolist() == [2]


@pytest.mark.parametrize("seed", range(3))
def test_gradients_match_finite_differences(seed):
    x, whole = mixed(seed), kernel(5, axes=2, lengths_vary=True)
    p = drawn(whole.priors, seed)
    value, gradients = whole.value_and_grad(p, x)
    assert value == pytest.approx(whole.covariance(p, x, x))
    assert gradients.keys() == whole.priors.keys()
    for name, gradient in gradients.items():
        higher, lower = (whole.covariance({**p, name: p[name] + step}, x, x) for step in (1e-5, -1e-5))
        assert gradient == pytest.approx((higher - lower) / 2e-5, rel=1e-4, abs=1e-6), name


@pytest.mark.parametrize("lengths_vary", [False, True])
def test_diag_and_axes_blocks_match_the_matrix(lengths_vary):
    whole = kernel(4, axes=1, lengths_vary=lengths_vary)
    p = drawn(whole.priors, 5)
    orders = any_length(4) if lengths_vary else list(itertools.permutations(range(4)))
    x = some(orders, 4, 4, axes=1)
    assert np.diag(whole.covariance(p, x, x)) == pytest.approx(whole.diag(p, x))
    values = np.array([[0.0], [0.4]])
    for value, block in zip(values, whole.covariance_over_axes(p, x, values, x), strict=True):
        there = extract_features(pad_orders(orders, 4), 4, np.tile(value, (len(orders), 1))).astype(np.float64)
        assert block == pytest.approx(whole.covariance(p, there, x))


def test_mallows_term_counts_discordant_pairs():
    p = {"output_scale.mallows": math.log(1.5), "lengthscale.mallows": math.log(0.3)}
    orders = list(itertools.permutations(range(4)))
    x = some(orders, 4, 4)
    found = MallowsTerm(4).covariance(p, x, x)
    for (i, a), (j, b) in itertools.product(enumerate(orders), repeat=2):
        pairs = itertools.combinations(range(4), 2)
        discordant = sum((a.index(s) < a.index(t)) != (b.index(s) < b.index(t)) for s, t in pairs)
        assert found[i, j] == pytest.approx(1.5**2 * math.exp(-discordant / 6 / 0.3))


def test_position_term_matches_its_formula():
    p = {"output_scale.positions": math.log(2.0), "recency": 0.7, "lengthscale.positions": math.log(1.5)}
    orders = [(0, 1, 2), (2, 0, 1), (1,), (1, 2)]
    found = PositionTerm(3).covariance(p, some(orders, 3, 3), some(orders, 3, 3))
    total = sum(math.exp(-2 * 0.7 * position) for position in range(3))
    for (i, a), (j, b) in itertools.product(enumerate(orders), repeat=2):
        both = [(a[::-1].index(item), b[::-1].index(item)) for item in a if item in b]
        terms = [math.exp(-0.7 * (s + t) - (s - t) ** 2 / (2 * 1.5**2)) for s, t in both]
        assert found[i, j] == pytest.approx(4 * sum(terms) / total)


@pytest.mark.parametrize("seed", range(5))
def test_covariance_of_all_orders_is_positive_semidefinite(seed):
    whole = kernel(4, axes=2, lengths_vary=True)
    x = some(any_length(4), 4, 4, axes=2, seed=seed)
    matrix = whole.covariance(drawn(whole.priors, seed), x, x)
    values = np.linalg.eigvalsh(matrix)
    assert matrix == pytest.approx(matrix.T)
    assert values.min() > -1e-12 * values.max()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_covariance_of_5040_orders_is_positive_semidefinite(seed):
    """A Cholesky factor exists when a 1e-9th of the mean variance is added: no eigenvalue is below minus that."""
    whole = kernel(7)
    x = some(list(itertools.permutations(range(7))), 7, 7)
    matrix = whole.covariance(drawn(whole.priors, seed), x, x)
    assert matrix.shape == (5040, 5040)
    matrix[np.diag_indices(5040)] += 1e-9 * np.trace(matrix)
    assert np.isfinite(np.linalg.cholesky(matrix)).all()
