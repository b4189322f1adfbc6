"""Feature matrices of settings for the kernels: positions, pairwise precedence and adjacency of auxiliaries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
"""An array of floats, unless said otherwise."""
Orders = NDArray[np.int16]
"""One order per row, as indices into the list of auxiliaries; shorter orders are padded with -1."""


@dataclass(frozen=True)
class Features:
    """N settings of n auxiliaries, with at most L in an order and A other parameters (axes).

    Args:
        positions: (N, n * L), column i * L + d is 1 where auxiliary i stands d positions before the end.
        pairs: (N, n * (n - 1) / 2), 1 where the first of the pair comes first, -1 where the second does, 0 where the
            order lacks one.
        adjacency: (N, n * n), column i * n + j is 1 where j directly follows i.
        lengths: (N,), how many auxiliaries.
        axes: (N, A), each from 0 to 1.
    """

    positions: Array
    pairs: Array
    adjacency: Array
    lengths: NDArray[np.intp]
    axes: Array

    def __len__(self) -> int:
        return len(self.lengths)

    def astype(self, dtype: type[np.floating[Any]], rows: slice = slice(None)) -> Features:
        """A copy as floats, which matrix products need; of some rows only, if given."""
        tables = (self.positions, self.pairs, self.adjacency)
        positions, pairs, adjacency = (np.asarray(table[rows], dtype=dtype) for table in tables)
        return Features(positions, pairs, adjacency, self.lengths[rows], self.axes[rows])


def pad_orders(orders: Sequence[Sequence[int]], max_length: int) -> Orders:
    """Orders of different lengths as one array (N, ``max_length``)."""
    rows = np.full((len(orders), max_length), -1, dtype=np.int16)
    for row, order in zip(rows, orders, strict=True):
        row[: len(order)] = order
    return rows


def extract_features(orders: Orders, count: int, axes: Array | None = None) -> Features:
    """Features of N orders (N, L) of ``count`` auxiliaries, as int8 so that many orders fit in memory."""
    max_length = orders.shape[1]
    lengths = (orders >= 0).sum(axis=1)
    row, position = np.nonzero(orders >= 0)
    positions = np.zeros((len(orders), count * max_length), dtype=np.int8)
    positions[row, orders[row, position].astype(int) * max_length + lengths[row] - 1 - position] = 1
    axes = np.zeros((len(orders), 0)) if axes is None else axes
    return Features(positions, _pairs(orders, count), _adjacency(orders, count), lengths, axes)


def _pairs(orders: Orders, count: int) -> NDArray[np.int8]:
    row, position = np.nonzero(orders >= 0)
    position_of = np.full((len(orders), count), -1)
    position_of[row, orders[row, position]] = position
    first, second = (position_of[:, item] for item in np.triu_indices(count, 1))
    both = (first >= 0) & (second >= 0)
    return np.asarray((np.sign(second - first) * both).astype(np.int8))


def _adjacency(orders: Orders, count: int) -> NDArray[np.int8]:
    before, after = orders[:, :-1].astype(int), orders[:, 1:]
    row, position = np.nonzero(after >= 0)
    follows = np.zeros((len(orders), count * count), dtype=np.int8)
    follows[row, before[row, position] * count + after[row, position]] = 1
    return follows
