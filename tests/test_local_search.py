"""Local search: neighborhoods and hill climbing. Judges: moves written out, all orders."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from munchray.samplers.local_search import hill_climb, neighbors
from munchray.samplers.order_features import pad_orders


def orders_of(rows):
    return [tuple(int(item) for item in row if item >= 0) for row in rows]


def permuted(order):
    """Moves, swaps and reversals."""
    for low, high in itertools.product(range(len(order)), repeat=2):
        without = [*order[:low], *order[low + 1 :]]
        yield (*without[:high], order[low], *without[high:])
        if low < high:
            yield (*order[:low], *order[low : high + 1][::-1], *order[high + 1 :])
            swapped = list(order)
            swapped[low], swapped[high] = order[high], order[low]
            yield tuple(swapped)


@pytest.mark.parametrize("lengths", [(3,), (2, 3, 4), (1, 2, 3)])
def test_neighbors_are_all_moves_once(lengths):
    order, absent = (4, 0, 2), (1, 3)
    found = orders_of(neighbors(pad_orders([order], 5)[0], 5, lengths))
    expected = set(permuted(order)) - {order}
    expected |= {(*order[:index], other, *order[index + 1 :]) for index in range(3) for other in absent}
    if 4 in lengths:
        expected |= {(*order[:index], other, *order[index:]) for index in range(4) for other in absent}
    if 2 in lengths:
        expected |= {(*order[:index], *order[index + 1 :]) for index in range(3)}
    assert set(found) == expected
    assert len(found) == len(expected)


def test_a_single_auxiliary_has_no_shorter_order():
    found = neighbors(pad_orders([(0,)], 3)[0], 3, (1, 2))
    assert set(orders_of(found)) == {(1,), (2,), (0, 1), (1, 0), (0, 2), (2, 0)}


def expand(rows):
    return np.concatenate([neighbors(row, 6, (6,)) for row in rows])


@pytest.mark.parametrize("seed", range(10))
def test_hill_climbing_finds_the_best_order_by_scoring_few(seed):
    rng = np.random.default_rng(seed)
    effects = np.triu(rng.normal(size=(6, 6)), 1)
    effects -= effects.T

    def score(rows):
        before, after = np.triu_indices(6, 1)
        return effects[rows[:, before], rows[:, after]].sum(axis=1)

    found = hill_climb(pad_orders([range(6), (5, 4, 3, 2, 1, 0)], 6), expand, score)
    best = max(itertools.permutations(range(6)), key=lambda order: score(np.array([order]))[0])
    assert score(found)[0] == pytest.approx(score(np.array([best]))[0])
    assert (np.diff(score(found)) <= 0).all()
    assert len(set(orders_of(found))) == len(found) < 400


def test_hill_climbing_stops_without_improvement():
    start = pad_orders([(0, 1), (1, 0)], 2)
    assert len(hill_climb(start, lambda rows: rows, lambda rows: np.zeros(len(rows)))) == 2
