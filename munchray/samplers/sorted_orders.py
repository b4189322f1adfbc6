"""The paper's (sort) heuristic as a sampler: single auxiliaries first, then orders ascending by their scores."""

from __future__ import annotations

import math
from collections.abc import Iterator

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from munchray.errors import InputError, Problem
from munchray.orders import Order, ascending
from munchray.samplers.base import History, NonRepeatingSampler
from munchray.samplers.search_space import Setting, SettingKey, SpaceEncoding, setting_key

FAILED = -math.inf  # an auxiliary whose single training failed goes first


class SortedOrderSampler(NonRepeatingSampler):
    """The paper's (sort) variants: auxiliaries in ascending order of their single_aux scores (section 5.1).

    For every combination of the other parameters (learning rate, batch size) it suggests each auxiliary alone, then
    the longest order the space allows. If that is shorter than all auxiliaries, it takes the best of them; if the
    order rule forbids two adjacent ones, the lower-scoring moves forward. Afterwards, and while single auxiliaries are
    still running, suggestions are random.

    Raises:
        InputError: the space lacks orders of one auxiliary or longer ones, or has a continuous range.
    """

    def __init__(self, encoding: SpaceEncoding, seed: int) -> None:
        super().__init__(encoding, seed)
        found, expected = "a continuous range cannot be listed", "choices, or a range with a step"
        problems = [Problem(name, found, expected) for name in encoding.continuous_axes]
        if encoding.lengths[0] != 1 or encoding.lengths[-1] == 1:
            found = "the sampler sorted tries each auxiliary alone first, then all of them ascending by score"
            problems.append(Problem("order", found, "order: {of: auxiliaries, length: {min: 1}}"))
        if problems:
            raise InputError(*problems)

    def candidates(self, study: optuna.Study, trial: FrozenTrial) -> Iterator[Setting]:
        """Untried single auxiliaries, then sorted orders where all single scores are known, then random settings."""
        history = self.history(study)
        alone = _single_scores(history, -1.0 if study.direction == StudyDirection.MINIMIZE else 1.0)
        for values in self.encoding.all_values():
            singles = ({**values, "order": (name,)} for name in self.encoding.names)
            yield from (setting for setting in singles if setting_key(setting) not in alone)
        known = {**dict.fromkeys(history.tried, FAILED), **alone}
        for values in self.encoding.all_values():
            keys = {name: setting_key({**values, "order": (name,)}) for name in self.encoding.names}
            scores = {name: known[key] for name, key in keys.items() if key in known}
            if len(scores) == len(keys):
                yield {**values, "order": self._sorted_order(scores)}
        yield from self.random_settings(trial)

    def _sorted_order(self, scores: dict[str, float]) -> Order:
        """The longest allowed order, filled from its end with the best remaining auxiliary allowed there."""
        keys = {name: -float(rank) for rank, name in enumerate(ascending(scores))}
        return self.encoding.rule.decode(keys, self.encoding.lengths[-1])[::-1]


def _single_scores(history: History, sign: float) -> dict[SettingKey, float]:
    """Scores of single auxiliaries, as trials of their own or as first stages of longer orders."""
    scores = {}
    for outcome in history.outcomes.values():
        order = outcome.setting["order"]
        for length, value in ((len(order), outcome.value), *outcome.prefix_values):
            if length == 1:
                scores[setting_key({**outcome.setting, "order": order[:1]})] = sign * value
    return scores
