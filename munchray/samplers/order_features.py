"""Settings as numbers that a kernel compares: where each auxiliary stands, who comes first, who follows whom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
"""Of floats, unless said otherwise."""
Orders = NDArray[np.int16]
"""An order a row, as places in the list of auxiliaries, -1 behind the end of orders shorter than the row."""


@dataclass(frozen=True)
class Features:
    """N settings of n auxiliaries, L at most in an order, and A other parameters.

    Args:
        places: (N, n * L), column i * L + d is 1 where auxiliary i stands d places before the end.
        pairs: (N, n * (n - 1) / 2), 1 where the first of the pair comes first, -1 where the other, 0 where one lacks.
        neighbours: (N, n * n), column i * n + j is 1 where j follows directly on i.
        lengths: (N,), how many auxiliaries.
        axes: (N, A), each from 0 to 1.
    """

    places: Array
    pairs: Array
    neighbours: Array
    lengths: NDArray[np.intp]
    axes: Array

    def __len__(self) -> int:
        return len(self.lengths)

    def rows(self, chosen: slice, kind: type[np.floating[Any]]) -> Features:
        """Some of the settings, as floats of this kind, which matrix products want."""
        tables = (self.places, self.pairs, self.neighbours)
        places, pairs, neighbours = (np.asarray(table[chosen], dtype=kind) for table in tables)
        return Features(places, pairs, neighbours, self.lengths[chosen], self.axes[chosen])


def padded(orders: Sequence[Sequence[int]], longest: int) -> Orders:
    """Orders of different lengths as one array (N, ``longest``)."""
    rows = np.full((len(orders), longest), -1, dtype=np.int16)
    for row, order in zip(rows, orders, strict=True):
        row[: len(order)] = order
    return rows


def features(orders: Orders, count: int, axes: Array | None = None) -> Features:
    """Features of N orders (N, L) of ``count`` auxiliaries, in bytes, which many orders fit in."""
    longest = orders.shape[1]
    lengths = (orders >= 0).sum(axis=1)
    at, step = np.nonzero(orders >= 0)
    places = np.zeros((len(orders), count * longest), dtype=np.int8)
    places[at, orders[at, step].astype(int) * longest + lengths[at] - 1 - step] = 1
    axes = np.zeros((len(orders), 0)) if axes is None else axes
    return Features(places, _pairs(orders, count), _neighbours(orders, count), lengths, axes)


def _pairs(orders: Orders, count: int) -> NDArray[np.int8]:
    at, step = np.nonzero(orders >= 0)
    position = np.full((len(orders), count), -1)
    position[at, orders[at, step]] = step
    first, second = (position[:, item] for item in np.triu_indices(count, 1))
    both = (first >= 0) & (second >= 0)
    return np.asarray((np.sign(second - first) * both).astype(np.int8))


def _neighbours(orders: Orders, count: int) -> NDArray[np.int8]:
    before, after = orders[:, :-1].astype(int), orders[:, 1:]
    at, step = np.nonzero(after >= 0)
    follows = np.zeros((len(orders), count * count), dtype=np.int8)
    follows[at, before[at, step] * count + after[at, step]] = 1
    return follows
