"""Small changes of an order, and climbing by them. Judges: changes described in words, all orders."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from munchray.samplers.local_search import changes, hill_climb
from munchray.samplers.order_features import padded


def orders_of(rows):
    return [tuple(int(item) for item in row if item >= 0) for row in rows]


def rearranged(order):
    """Swapped, moved or turned round."""
    places = range(len(order))
    for low, high in itertools.product(places, places):
        without = [*order[:low], *order[low + 1 :]]
        yield (*without[:high], order[low], *without[high:])
        if low < high:
            yield (*order[:low], *order[low : high + 1][::-1], *order[high + 1 :])
            swapped = list(order)
            swapped[low], swapped[high] = order[high], order[low]
            yield tuple(swapped)


@pytest.mark.parametrize("lengths", [(3,), (2, 3, 4), (1, 2, 3)])
def test_changes_are_those_described_each_once(lengths):
    order, absent = (4, 0, 2), (1, 3)
    found = orders_of(changes(padded([order], 5)[0], 5, lengths))
    expected = set(rearranged(order)) - {order}
    expected |= {(*order[:place], other, *order[place + 1 :]) for place in range(3) for other in absent}
    if 4 in lengths:
        expected |= {(*order[:place], other, *order[place:]) for place in range(4) for other in absent}
    if 2 in lengths:
        expected |= {(*order[:place], *order[place + 1 :]) for place in range(3)}
    assert set(found) == expected
    assert len(found) == len(expected)


def test_a_single_auxiliary_has_no_shorter_order():
    assert set(orders_of(changes(padded([(0,)], 3)[0], 3, (1, 2)))) == {(1,), (2,), (0, 1), (1, 0), (0, 2), (2, 0)}


def changed(rows):
    return np.concatenate([changes(row, 6, (6,)) for row in rows])


@pytest.mark.parametrize("seed", range(10))
def test_climbing_finds_the_best_of_all_orders_by_looking_at_few(seed):
    rng = np.random.default_rng(seed)
    first = np.triu(rng.normal(size=(6, 6)), 1)
    first -= first.T

    def score(rows):
        before, after = np.triu_indices(6, 1)
        return first[rows[:, before], rows[:, after]].sum(axis=1)

    found = hill_climb(padded([range(6), (5, 4, 3, 2, 1, 0)], 6), changed, score)
    best = max(itertools.permutations(range(6)), key=lambda order: score(np.array([order]))[0])
    assert score(found)[0] == pytest.approx(score(np.array([best]))[0])
    assert (np.diff(score(found)) <= 0).all()
    assert len(set(orders_of(found))) == len(found) < 400


def test_climbing_ends_where_nothing_is_better():
    start = padded([(0, 1), (1, 0)], 2)
    assert len(hill_climb(start, lambda rows: rows, lambda rows: np.zeros(len(rows)))) == 2
