"""Synthetic landscapes over orders: the value of every order and prefix, and the exact optimum.

Units are standard deviations over all orders of all auxiliaries. Each further auxiliary helps more than its position
does, as in real trainings (docs/results.md), so that prefixes are worth less than whole orders.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from munchray.seeds import generator

Values = NDArray[np.float64]
Rows = NDArray[np.int64]

DECAY = 0.6
"""Weight of an auxiliary relative to the one trained after it, in the family ``recency``."""
DEPTH = 4.0
"""How much more an order of all auxiliaries is worth than the empty one."""
SAMPLED = 20_000
"""Random orders whose standard deviation is the unit."""

FAMILIES: dict[str, tuple[str, ...]] = {
    "recency": ("recency",),
    "pairwise": ("pairwise",),
    "adjacency": ("adjacency",),
    "mixture": ("recency", "pairwise", "adjacency"),
}
"""The parts that each family sums, each with the same standard deviation."""


class Landscape:
    """One draw of a family's effects for ``count`` auxiliaries.

    Args:
        misleading: prefixes take their values from an unrelated landscape, so they say nothing about whole orders.
    """

    def __init__(self, family: str, count: int, seed: int, misleading: bool = False) -> None:
        rng = generator("landscape", family, count, seed)
        self.count = count
        self._item_effects = rng.normal(size=count)
        self._pair_effects = np.triu(rng.normal(size=(count, count)), 1)
        self._pair_effects -= self._pair_effects.T
        self._adjacent_effects = rng.normal(size=(count, count))
        self._scales = dict.fromkeys(FAMILIES[family], 1.0)
        sample = np.array([rng.permutation(count) for _ in range(SAMPLED)])
        for part in FAMILIES[family]:
            self._scales[part] = 1 / self._parts[part](sample).std()
        spread = self._effect(sample).std()
        self._scales = {part: scale / spread for part, scale in self._scales.items()}
        self._prefix_landscape = Landscape(family, count, seed + 1_000_000) if misleading else self
        self.best = DEPTH + self._highest()

    def value(self, order: Sequence[int]) -> float:
        """The value of an order."""
        landscape = self if len(order) == self.count else self._prefix_landscape
        depth = DEPTH * float(np.log2(1 + len(order) / self.count))
        return depth + float(landscape._effect(np.array([order]))[0])

    @property
    def _parts(self) -> dict[str, Callable[[Rows], Values]]:
        return {"recency": self._recency, "pairwise": self._pairwise, "adjacency": self._adjacency}

    def _effect(self, orders: Rows) -> Values:
        return np.asarray(sum(scale * self._parts[part](orders) for part, scale in self._scales.items()))

    def _recency(self, orders: Rows) -> Values:
        length = orders.shape[1]
        return np.asarray(self._item_effects[orders] @ DECAY ** np.arange(length)[::-1])

    def _pairwise(self, orders: Rows) -> Values:
        before, after = np.triu_indices(orders.shape[1], 1)
        return np.asarray(self._pair_effects[orders[:, before], orders[:, after]].sum(axis=1))

    def _adjacency(self, orders: Rows) -> Values:
        return np.asarray(self._adjacent_effects[orders[:, :-1], orders[:, 1:]].sum(axis=1))

    def _highest(self) -> float:
        """The best effect of a whole order, exactly: dynamic programming over (set trained, last item)."""
        best = {(1 << item, item): self._marginal((), item) for item in range(self.count)}
        for _ in range(self.count - 1):
            longer: dict[tuple[int, int], float] = {}
            for (trained, last), value in best.items():
                before = [item for item in range(self.count) if trained >> item & 1]
                for item in range(self.count):
                    if not trained >> item & 1:
                        key = (trained | 1 << item, item)
                        longer[key] = max(longer.get(key, -np.inf), value + self._marginal(before, item, last))
            best = longer
        return max(best.values())

    def _marginal(self, before: Sequence[int], item: int, last: int | None = None) -> float:
        """What an auxiliary adds to a whole order after these, of which ``last`` is the last."""
        effects = {
            "recency": self._item_effects[item] * DECAY ** (self.count - 1 - len(before)),
            "pairwise": sum(self._pair_effects[earlier, item] for earlier in before),
            "adjacency": 0.0 if last is None else self._adjacent_effects[last, item],
        }
        return float(sum(scale * effects[part] for part, scale in self._scales.items()))


class NoisyLandscape:
    """A landscape whose scores have observation noise.

    Args:
        noise: its standard deviation.
    """

    def __init__(self, landscape: Landscape, noise: float, seed: int) -> None:
        self.count = landscape.count
        self.best = landscape.best
        self.value = landscape.value
        self._noise = noise
        self._seed = seed

    def score(self, order: Sequence[int]) -> float:
        """Value plus noise, which depends on the seed and the order alone: training again gives the same score."""
        return self.value(order) + self._noise * float(generator("noise", self._seed, tuple(order)).normal())
