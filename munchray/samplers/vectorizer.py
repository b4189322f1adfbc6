"""Between settings, whose orders are names, and the numbers that kernels and neighbourhoods work with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from munchray.orders import Order
from munchray.samplers.order_features import Array, Features, Orders, features, padded
from munchray.samplers.search_space import Encoding

Setting = dict[str, Any]
Codes = NDArray[np.uint64]


class Vectorizer:
    """The numbers of one search space."""

    def __init__(self, encoding: Encoding) -> None:
        self._encoding = encoding
        self._index = {name: position for position, name in enumerate(encoding.names)}
        self.count = len(encoding.names)
        self.longest = encoding.lengths[-1]
        # Sums of these tell beginnings apart; 64 random bits a place and auxiliary make a collision all but impossible.
        self._marks = np.random.default_rng(0).integers(2**64, size=(self.longest, self.count), dtype=np.uint64)

    def rows(self, orders: Iterable[Order]) -> Orders:
        """Orders as places in the list of auxiliaries, (N, L)."""
        return padded([[self._index[name] for name in order] for order in orders], self.longest)

    def order(self, row: NDArray[np.int16]) -> Order:
        """Back to names."""
        return tuple(self._encoding.names[item] for item in row if item >= 0)

    def axes(self, settings: Sequence[Setting]) -> Array:
        """The other parameters, (N, A)."""
        found = [self._encoding.coordinates(setting) for setting in settings]
        return np.array(found, dtype=float).reshape(len(settings), len(self._encoding.axes))

    def features(self, settings: Sequence[Setting]) -> Features:
        """Of settings, ready for a kernel."""
        rows = self.rows(setting["order"] for setting in settings)
        return features(rows, self.count, self.axes(settings)).rows(slice(None), np.float64)

    def beginnings(self, orders: Orders) -> Codes:
        """(N, L): a number for the first auxiliary, the first two, ...; equal beginnings have equal numbers."""
        marks = self._marks[np.arange(orders.shape[1]), orders.astype(int)]
        return np.cumsum(marks, axis=1, dtype=np.uint64)
