"""Conversion of settings, whose orders are tuples of names, to the arrays that kernels and local search use."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from munchray.orders import Order
from munchray.samplers.order_features import Array, Features, Orders, extract_features, pad_orders
from munchray.samplers.search_space import Setting, SpaceEncoding

Hashes = NDArray[np.uint64]


class Vectorizer:
    """Converts the settings of one search space to arrays.

    Attributes:
        count: number of auxiliaries.
        max_length: auxiliaries in the longest order.
    """

    def __init__(self, encoding: SpaceEncoding) -> None:
        self._encoding = encoding
        self._index = {name: index for index, name in enumerate(encoding.names)}
        self.count = len(encoding.names)
        self.max_length = encoding.lengths[-1]
        # Zobrist-style hashing: with 64 random bits per position and auxiliary, sums of them hardly ever collide.
        self._bits = np.random.default_rng(0).integers(2**64, size=(self.max_length, self.count), dtype=np.uint64)

    def rows(self, orders: Iterable[Order]) -> Orders:
        """Orders as indices into the list of auxiliaries, (N, L)."""
        return pad_orders([[self._index[name] for name in order] for order in orders], self.max_length)

    def order(self, row: NDArray[np.int16]) -> Order:
        """The order of a row, as names."""
        return tuple(self._encoding.names[item] for item in row if item >= 0)

    def axes(self, settings: Sequence[Setting]) -> Array:
        """The other parameters in [0, 1], (N, A)."""
        found = [self._encoding.to_unit(setting) for setting in settings]
        return np.array(found, dtype=float).reshape(len(settings), len(self._encoding.axes))

    def features(self, settings: Sequence[Setting]) -> Features:
        """Features of settings, in float64 for a kernel."""
        rows = self.rows(setting["order"] for setting in settings)
        return extract_features(rows, self.count, self.axes(settings)).astype(np.float64)

    def prefix_hashes(self, orders: Orders) -> Hashes:
        """(N, L): a hash of every prefix, shortest first; equal prefixes have equal hashes."""
        bits = self._bits[np.arange(orders.shape[1]), orders.astype(int)]
        return np.cumsum(bits, axis=1, dtype=np.uint64)
