"""What all our Optuna samplers share: orders always allowed, nothing tried twice, the same after a reload.

They work with plain Optuna too: ``optuna.create_study(sampler=...)`` and ``study.ask(encoding.distributions)``.
"""

from __future__ import annotations

import random
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from munchray.files import digest
from munchray.samplers.search_space import Encoding, Identity, identity

RANDOM_DRAWS = 1_000  # if all of them were tried before, little is left and listing the rest is cheap
STAGES = "stages"
"""A finished trial's user attribute ``[[1, dev F1], [2, dev F1], ...]``: what its order came to when it was so long."""

STAGES_BEHIND = "stages_behind"
"""A running trial's user attribute: how many stages of its order are trained."""


class SpaceExhausted(Exception):  # noqa: N818  (an end, not an error)
    """Every setting of the space has been tried."""


@dataclass(frozen=True)
class Outcome:
    """A finished trial.

    Args:
        beginnings: length and value of shorter orders that were trained on the way, as Stack does.
    """

    number: int
    setting: dict[str, Any]
    value: float
    beginnings: tuple[tuple[int, float], ...]
    ended: datetime


class History:
    """What the trials of a study tried and what came of it; each ended trial is read and decoded once.

    Safe to read from several threads: whatever is noted twice is noted alike.
    """

    def __init__(self, encoding: Encoding) -> None:
        self.outcomes: dict[int, Outcome] = {}
        self.tried: set[Identity] = set()  # by trials that ended
        self.lasting: set[Identity] = set()  # those not to be tried once more: the others failed only once
        self.open: dict[int, dict[str, Any]] = {}  # settings of trials that wait or run
        self.behind: list[dict[str, Any]] = []  # the beginnings of their orders that are trained
        self._encoding = encoding
        self._failures: dict[Identity, set[int]] = {}
        self._progress: tuple[int, list[int]] = (0, [])  # trials seen, those of them that had not ended

    def read(self, study: optuna.Study) -> None:
        """Take note of what happened since the last time."""
        trials = study.get_trials(deepcopy=False)
        seen, waiting = self._progress
        unread = [trials[number] for number in (*waiting, *range(seen, len(trials)))]
        for trial in unread:
            if trial.state.is_finished() and self._is_whole(trial):
                self._note(trial)
        left = [trial for trial in unread if not trial.state.is_finished()]
        self.open = {trial.number: self._encoding.decode(params_of(trial)) for trial in left if self._is_whole(trial)}
        self.behind = [_behind(trial, self.open[trial.number]) for trial in left if trial.user_attrs.get(STAGES_BEHIND)]
        self._progress = (len(trials), [trial.number for trial in left])

    def _note(self, trial: FrozenTrial) -> None:
        setting = self._encoding.decode(params_of(trial))
        tried = identity(setting)
        self.tried.add(tried)
        if trial.state == TrialState.FAIL:
            self._failures.setdefault(tried, set()).add(trial.number)
        if trial.state != TrialState.FAIL or len(self._failures[tried]) > 1:
            self.lasting.add(tried)
        if trial.state == TrialState.COMPLETE and trial.datetime_complete is not None:
            beginnings = _beginnings(trial, len(setting.get("order", ())))
            value = float(trial.values[0])
            self.outcomes[trial.number] = Outcome(trial.number, setting, value, beginnings, trial.datetime_complete)

    def _is_whole(self, trial: FrozenTrial) -> bool:
        return params_of(trial).keys() >= self._encoding.distributions.keys()


class NonRepeatingSampler(BaseSampler):  # type: ignore[misc]  # optuna is not typed for us
    """The first of `candidates` that no trial has.

    A setting whose trial failed is tried once more, after everything that was never tried. Randomness comes from
    the seed and the trial's number alone, so a reloaded search goes on as if it had never stopped.
    """

    def __init__(self, encoding: Encoding, seed: int) -> None:
        self.encoding = encoding
        self.seed = seed
        self._read: tuple[optuna.Study | None, History] = (None, History(encoding))

    @abstractmethod
    def candidates(self, study: optuna.Study, trial: FrozenTrial) -> Iterator[dict[str, Any]]:
        """Settings to try, best first; sooner or later every setting of a finite space."""

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The whole space: everything is drawn jointly."""
        return self.encoding.distributions

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The parameters of a setting that no other trial has; parameters enqueued by hand stay as they are.

        Raises:
            SpaceExhausted: there is none; the trial that asked is marked failed.
        """
        enqueued = trial.system_attrs.get("fixed_params", {})
        if enqueued.keys() >= search_space.keys():
            return dict(enqueued)
        for taken in self._taken(study):
            if not self._all_in(taken):
                for setting in self.candidates(study, trial):
                    params = {**self.encoding.encode(setting), **enqueued}
                    if identity(self.encoding.decode(params)) not in taken:
                        return params
        study.tell(trial.number, state=TrialState.FAIL)
        raise SpaceExhausted(f"all {self.encoding.size} settings of the search space were tried")

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Only reached by parameters that the space does not know."""
        raise ValueError(f"'{param_name}' is not in the search space: {', '.join(self.encoding.distributions)}")

    def exhausted(self, study: optuna.Study) -> bool:
        """Whether no trial can be suggested any more."""
        return all(map(self._all_in, self._taken(study)))

    def history(self, study: optuna.Study) -> History:
        """What this study's trials tried, as of now."""
        if self._read[0] is not study:
            self._read = (study, History(self.encoding))
        history = self._read[1]
        history.read(study)
        return history

    def seed_of(self, trial: FrozenTrial) -> int:
        """The seed (32 bits) of all that is random about this trial's suggestion."""
        return int(digest("suggestion", str(self.seed), str(trial.number))[:8], 16)

    def random_settings(self, trial: FrozenTrial) -> Iterator[dict[str, Any]]:
        """Independent draws; when those only repeat, all settings shuffled."""
        draws = self.encoding.draws(self.seed_of(trial))
        yield from islice(draws, RANDOM_DRAWS)
        yield from draws if self.encoding.size is None else self.shuffled_settings(self.seed_of(trial))

    def shuffled_settings(self, seed: int) -> list[dict[str, Any]]:
        """Every setting of a finite space, shuffled."""
        settings = list(self.encoding.settings())
        random.Random(seed).shuffle(settings)
        return settings

    def _all_in(self, taken: set[Identity]) -> bool:
        return self.encoding.size is not None and len(taken) >= self.encoding.size

    def _taken(self, study: optuna.Study) -> tuple[set[Identity], set[Identity]]:
        """Settings that any trial has, and those not even to be tried once more."""
        history = self.history(study)
        pending = set(map(identity, history.open.values()))
        return history.tried | pending, history.lasting | pending


def params_of(trial: FrozenTrial) -> dict[str, Any]:
    """Its parameters; also those of a trial enqueued by hand, which waits with its parameters aside."""
    return {**trial.system_attrs.get("fixed_params", {}), **trial.params}


def _behind(trial: FrozenTrial, setting: dict[str, Any]) -> dict[str, Any]:
    return {**setting, "order": setting["order"][: trial.user_attrs[STAGES_BEHIND]]}


def _beginnings(trial: FrozenTrial, length: int) -> tuple[tuple[int, float], ...]:
    stages = ((int(so_long), float(value)) for so_long, value in trial.user_attrs.get(STAGES, ()))
    return tuple((so_long, value) for so_long, value in stages if so_long < length)
