"""What a regression sees of a search: every training of an order, once, and which of them share their luck."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from munchray.orders import Order
from munchray.tuning.ranking import RankedTrial


@dataclass(frozen=True)
class Observation:
    """An order trained with some values of what else varies.

    Args:
        root: equal for trainings that began with the same stage, and go on from its weights, lucky or not.
        whole: a trial ended with it.
    """

    order: Order
    values: dict[str, Any]
    dev_f1: float
    root: str
    whole: bool


def observations(trials: Sequence[RankedTrial]) -> list[Observation]:
    """Whole orders, and the stages on the way there; what several trials share counts once."""
    found: dict[str, Observation] = {}
    for trial in trials:
        root = _key(trial.stages[0].auxiliaries if trial.stages else trial.order, trial)
        found[_key(trial.order, trial)] = Observation(trial.order, trial.values, trial.dev_f1, root, True)
        for stage in trial.stages:
            beginning = Observation(stage.auxiliaries, trial.values, stage.dev_f1, root, False)
            found.setdefault(_key(stage.auxiliaries, trial), beginning)
    return list(found.values())


def _key(order: Order, trial: RankedTrial) -> str:
    return f"{order} {sorted(trial.values.items())}"
