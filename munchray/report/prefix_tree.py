"""The orders that a search explored as a tree of prefixes, with the best score of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from munchray.orders import Order
from munchray.tuning.ranking import RankedTrial

Position = tuple[float, float]
"""Depth and height of a node in a drawing."""


@dataclass(frozen=True)
class PrefixTree:
    """Prefixes of the orders of finished trials, the empty one included.

    Args:
        orders: whole orders, without duplicates.
        scores: the highest dev F1 of each prefix, as a stage or as a whole order; only Stack scores stages.
        best: the order of the best trial.
    """

    orders: tuple[Order, ...]
    scores: dict[Order, float]
    best: Order

    @classmethod
    def from_trials(cls, trials: Sequence[RankedTrial]) -> PrefixTree:
        """Build the tree from trials, best first."""
        scores: dict[Order, float] = {}
        for trial in trials:
            stages = [(stage.auxiliaries, stage.dev_f1) for stage in trial.stages]
            for order, score in (*stages, (trial.order, trial.dev_f1)):
                scores[order] = max(score, scores.get(order, score))
        return cls(tuple(dict.fromkeys(trial.order for trial in trials)), scores, trials[0].order)

    def positions(self) -> dict[Order, Position]:
        """Layout: depth is a prefix's length; leaves have heights 0, 1, ... from the best down, parents the mean."""
        positions: dict[Order, Position] = {}
        self._lay_out((), self._children(), positions, [0])
        return positions

    def _children(self) -> dict[Order, list[Order]]:
        """The children of each prefix, the one that leads to the best order first."""
        children: dict[Order, list[Order]] = {}
        for order in sorted(self.orders, key=lambda order: (-self.scores[order], order)):
            for length in range(len(order)):
                siblings = children.setdefault(order[:length], [])
                if order[: length + 1] not in siblings:
                    siblings.append(order[: length + 1])
        return children

    def _lay_out(
        self, order: Order, children: dict[Order, list[Order]], positions: dict[Order, Position], leaves: list[int]
    ) -> float:
        """Position a prefix and its subtree, and return its height; ``leaves[0]`` counts the leaves so far."""
        heights = [self._lay_out(child, children, positions, leaves) for child in children.get(order, ())]
        if not heights:
            heights = [float(leaves[0])]
            leaves[0] += 1
        positions[order] = (float(len(order)), sum(heights) / len(heights))
        return positions[order][1]
