"""The paper's heuristic as a sampler: each auxiliary alone, then all of them, those that help most last."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from munchray.errors import InputError, Problem
from munchray.orders import Order, ascending
from munchray.samplers.base import History, NonRepeatingSampler
from munchray.samplers.search_space import Encoding, Identity, identity

FAILED = -math.inf  # an auxiliary that could not be trained alone goes first


class Sorted(NonRepeatingSampler):
    """The paper's (sort) variants: auxiliaries in ascending order of what each comes to alone (section 5.1).

    For every choice of the other parameters (learning rate, batch size) first each auxiliary alone, then the longest
    order the space allows. Where it allows fewer than all auxiliaries, the best are taken; where the order rule
    forbids two of them side by side, the lesser steps back. Afterwards, and while the last single ones are still being
    trained, as ``random``.

    Raises:
        InputError: orders of one auxiliary are not in the space, or nothing longer, or a range is continuous.
    """

    def __init__(self, encoding: Encoding, seed: int) -> None:
        super().__init__(encoding, seed)
        problems = [
            Problem(name, "a continuous range cannot be listed", "choices, or a range with a step")
            for name, axis in encoding.axes.items()
            if axis.points() is None
        ]
        if encoding.lengths[0] != 1 or encoding.lengths[-1] == 1:
            found = "the sampler sorted first tries each auxiliary alone, then all in order of what they came to"
            problems.append(Problem("order", found, "order: {of: auxiliaries, length: {min: 1}}"))
        if problems:
            raise InputError(*problems)

    def candidates(self, study: optuna.Study, trial: FrozenTrial) -> Iterator[dict[str, Any]]:
        """Single auxiliaries for all parameters, then sorted orders as far as those are known, then any setting."""
        history = self.history(study)
        alone = _scores_alone(history, -1.0 if study.direction == StudyDirection.MINIMIZE else 1.0)
        for values in self.encoding.listed_values():
            each = ({**values, "order": (name,)} for name in self.encoding.names)
            yield from (setting for setting in each if identity(setting) not in alone)
        known = {**dict.fromkeys(history.tried, FAILED), **alone}
        for values in self.encoding.listed_values():
            singles = {name: identity({**values, "order": (name,)}) for name in self.encoding.names}
            scores = {name: known[single] for name, single in singles.items() if single in known}
            if len(scores) == len(singles):
                yield {**values, "order": self.sorted_order(scores)}
        yield from self.random_settings(trial)

    def sorted_order(self, scores: dict[str, float]) -> Order:
        """The longest allowed order, filled from its end with the best that is left and allowed there."""
        keys = {name: -float(rank) for rank, name in enumerate(ascending(scores))}
        return self.encoding.rule.decode(keys, self.encoding.lengths[-1])[::-1]


def _scores_alone(history: History, sign: float) -> dict[Identity, float]:
    """What single auxiliaries came to, as trials of their own or as first stage of a longer order."""
    scores = {}
    for outcome in history.outcomes.values():
        order = outcome.setting["order"]
        for length, value in ((len(order), outcome.value), *outcome.beginnings):
            if length == 1:
                scores[identity({**outcome.setting, "order": order[:1]})] = sign * value
    return scores
