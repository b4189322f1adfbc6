"""Made-up effects of orders: what an order and each of its beginnings is worth, and what the best order is worth.

Units are standard deviations over all orders of all auxiliaries. Every further auxiliary helps more than its place
does, as in real trainings (design section 12), so that beginnings are worth less than whole orders.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from munchray.seeds import generator

Values = NDArray[np.float64]
Rows = NDArray[np.int64]

DECAY = 0.6
"""How much less an auxiliary counts than the one trained after it, in the family ``recency``."""
DEPTH = 4.0
SAMPLED = 20_000
"""Orders whose spread gives the unit; all of them where there are fewer."""

FAMILIES: dict[str, tuple[str, ...]] = {
    "recency": ("recency",),
    "pairwise": ("pairwise",),
    "adjacency": ("adjacency",),
    "mixture": ("recency", "pairwise", "adjacency"),
}
"""What adds up, each part with the same spread."""


class Landscape:
    """One draw of a family's effects for ``count`` auxiliaries.

    Args:
        misleading: beginnings are worth what an unrelated landscape says, so that they tell nothing of whole orders.
    """

    def __init__(self, family: str, count: int, seed: int, misleading: bool = False) -> None:
        rng = generator("landscape", family, count, seed)
        self.count = count
        self._worth = rng.normal(size=count)
        self._first = np.triu(rng.normal(size=(count, count)), 1)
        self._first -= self._first.T
        self._next = rng.normal(size=(count, count))
        self._scales = dict.fromkeys(FAMILIES[family], 1.0)
        some = np.array([rng.permutation(count) for _ in range(SAMPLED)])
        for part in FAMILIES[family]:
            self._scales[part] = 1 / self._parts[part](some).std()
        spread = self._effect(some).std()
        self._scales = {part: scale / spread for part, scale in self._scales.items()}
        self._beginnings = Landscape(family, count, seed + 1_000_000) if misleading else self
        self.best = DEPTH + self._highest()

    def value(self, order: Sequence[int]) -> float:
        """What an order is worth."""
        of = self if len(order) == self.count else self._beginnings
        depth = DEPTH * float(np.log2(1 + len(order) / self.count))
        return depth + float(of._effect(np.array([order]))[0])

    @property
    def _parts(self) -> dict[str, Callable[[Rows], Values]]:
        return {"recency": self._recency, "pairwise": self._pairwise, "adjacency": self._adjacency}

    def _effect(self, orders: Rows) -> Values:
        return np.asarray(sum(scale * self._parts[part](orders) for part, scale in self._scales.items()))

    def _recency(self, orders: Rows) -> Values:
        length = orders.shape[1]
        return np.asarray(self._worth[orders] @ DECAY ** np.arange(length)[::-1])

    def _pairwise(self, orders: Rows) -> Values:
        before, after = np.triu_indices(orders.shape[1], 1)
        return np.asarray(self._first[orders[:, before], orders[:, after]].sum(axis=1))

    def _adjacency(self, orders: Rows) -> Values:
        return np.asarray(self._next[orders[:, :-1], orders[:, 1:]].sum(axis=1))

    def _highest(self) -> float:
        """The best effect of a whole order, exactly: the best way to have trained a set and ended with one of it."""
        best = {(1 << item, item): self._gain((), item) for item in range(self.count)}
        for _ in range(self.count - 1):
            longer: dict[tuple[int, int], float] = {}
            for (trained, last), value in best.items():
                before = [item for item in range(self.count) if trained >> item & 1]
                for item in range(self.count):
                    if not trained >> item & 1:
                        key = (trained | 1 << item, item)
                        longer[key] = max(longer.get(key, -np.inf), value + self._gain(before, item, last))
            best = longer
        return max(best.values())

    def _gain(self, before: Sequence[int], item: int, last: int | None = None) -> float:
        """What an auxiliary adds to a whole order when it comes after these."""
        gains = {
            "recency": self._worth[item] * DECAY ** (self.count - 1 - len(before)),
            "pairwise": sum(self._first[earlier, item] for earlier in before),
            "adjacency": 0.0 if last is None else self._next[last, item],
        }
        return float(sum(scale * gains[part] for part, scale in self._scales.items()))


class Noisy:
    """A landscape as a search sees it.

    Args:
        noise: standard deviation of what is added to every score.
    """

    def __init__(self, landscape: Landscape, noise: float, seed: int) -> None:
        self.count = landscape.count
        self.best = landscape.best
        self.value = landscape.value
        self._noise = noise
        self._seed = seed

    def score(self, order: Sequence[int]) -> float:
        """A stage's randomness depends on the seed and the beginning, so training it again would give the same."""
        return self.value(order) + self._noise * float(generator("noise", self._seed, tuple(order)).normal())
