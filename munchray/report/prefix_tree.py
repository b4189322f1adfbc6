"""The orders that a search explored as a tree of beginnings, with what each came to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from munchray.orders import Order
from munchray.tuning.ranking import RankedTrial


@dataclass(frozen=True)
class Paths:
    """Beginnings of the orders of finished trials, the empty one included.

    Args:
        orders: whole ones, each once.
        scores: the highest dev F1 that a beginning came to, as a stage or as a whole order; only Stack scores stages.
        best: the order of the best trial.
    """

    orders: tuple[Order, ...]
    scores: dict[Order, float]
    best: Order

    @classmethod
    def of(cls, trials: Sequence[RankedTrial]) -> Paths:
        """Of trials, the best first."""
        scores: dict[Order, float] = {}
        for trial in trials:
            for order, score in (
                *((stage.auxiliaries, stage.dev_f1) for stage in trial.stages),
                (trial.order, trial.dev_f1),
            ):
                scores[order] = max(score, scores.get(order, score))
        return cls(tuple(dict.fromkeys(trial.order for trial in trials)), scores, trials[0].order)

    def places(self) -> dict[Order, tuple[float, float]]:
        """Each beginning's step (its length) and height: leaves 0, 1, ... from the best down, others amid theirs."""
        placed: dict[Order, tuple[float, float]] = {}
        self._place((), self._children(), placed, [0])
        return placed

    def _children(self) -> dict[Order, list[Order]]:
        """The beginnings one longer, that with the best order below it first."""
        children: dict[Order, list[Order]] = {}
        for order in sorted(self.orders, key=lambda order: (-self.scores[order], order)):
            for length in range(len(order)):
                below = children.setdefault(order[:length], [])
                if order[: length + 1] not in below:
                    below.append(order[: length + 1])
        return children

    def _place(
        self,
        order: Order,
        children: dict[Order, list[Order]],
        placed: dict[Order, tuple[float, float]],
        leaves: list[int],
    ) -> float:
        """StoragePath a beginning and all below it; ``leaves[0]`` counts those placed."""
        heights = [self._place(child, children, placed, leaves) for child in children.get(order, ())]
        if not heights:
            heights = [float(leaves[0])]
            leaves[0] += 1
        placed[order] = (float(len(order)), sum(heights) / len(heights))
        return placed[order][1]
