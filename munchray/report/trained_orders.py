"""Orders trained in a search: whole orders and scored prefixes, the observations of a regression."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from munchray.orders import Order
from munchray.tuning.ranking import RankedTrial


@dataclass(frozen=True)
class TrainedOrder:
    """An order and its score under one setting of the other varied values.

    Args:
        root: equal for trainings that share their first stage and continue from its weights, so that errors correlate.
        whole: whether it is the whole order of a trial, not only a prefix.
    """

    order: Order
    values: dict[str, Any]
    dev_f1: float
    root: str
    whole: bool


def trained_orders(trials: Sequence[RankedTrial]) -> list[TrainedOrder]:
    """All whole orders and the prefixes scored on the way, without duplicates where trials share a prefix."""
    found: dict[str, TrainedOrder] = {}
    for trial in trials:
        root = _key(trial.stages[0].auxiliaries if trial.stages else trial.order, trial)
        found[_key(trial.order, trial)] = TrainedOrder(trial.order, trial.values, trial.dev_f1, root, True)
        for stage in trial.stages:
            prefix = TrainedOrder(stage.auxiliaries, trial.values, stage.dev_f1, root, False)
            found.setdefault(_key(stage.auxiliaries, trial), prefix)
    return list(found.values())


def _key(order: Order, trial: RankedTrial) -> str:
    return f"{order} {sorted(trial.values.items())}"
