"""Base class of the Optuna samplers: suggestions are allowed, never repeat, and are reproducible after a reload.

They work in plain Optuna too: ``optuna.create_study(sampler=...)`` and ``study.ask(encoding.distributions)``.
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
from munchray.samplers.search_space import Setting, SettingKey, SpaceEncoding, setting_key

RANDOM_DRAWS = 1_000  # when all of them repeat tried settings, little is left and listing the rest is cheap
STAGES = "stages"
"""User attribute of a completed trial, ``[[1, dev F1], [2, dev F1], ...]``: the score of each prefix of its order."""

STAGES_TRAINED = "stages_trained"
"""User attribute of a running trial: the length of the prefix of its order that is trained."""


class SpaceExhausted(Exception):  # noqa: N818  (a normal end of a search, not an error)
    """Every setting of the space has been tried."""


@dataclass(frozen=True)
class Outcome:
    """A completed trial.

    Args:
        prefix_values: (length, value) of the proper prefixes of its order that it trained on the way, as Stack does.
    """

    number: int
    setting: Setting
    value: float
    prefix_values: tuple[tuple[int, float], ...]
    ended: datetime


class History:
    """The trials of a study as settings; each ended trial is read and decoded once.

    Several threads may read it: recording a trial twice changes nothing.

    Attributes:
        outcomes: completed trials by number.
        tried: settings of the trials that ended.
        settled: those not to be retried; the others failed only once.
        pending: settings of waiting and running trials by number.
        trained_prefixes: settings of the running trials, with the prefixes of their orders that are trained.
    """

    def __init__(self, encoding: SpaceEncoding) -> None:
        self.outcomes: dict[int, Outcome] = {}
        self.tried: set[SettingKey] = set()
        self.settled: set[SettingKey] = set()
        self.pending: dict[int, Setting] = {}
        self.trained_prefixes: list[Setting] = []
        self._encoding = encoding
        self._failures: dict[SettingKey, set[int]] = {}
        self._progress: tuple[int, list[int]] = (0, [])  # trials seen, those of them that had not ended

    def update(self, study: optuna.Study) -> None:
        """Record what happened since the last update."""
        trials = study.get_trials(deepcopy=False)
        seen, unfinished = self._progress
        unread = [trials[number] for number in (*unfinished, *range(seen, len(trials)))]
        for trial in unread:
            if trial.state.is_finished() and self._is_whole(trial):
                self._record(trial)
        left = [trial for trial in unread if not trial.state.is_finished()]
        self.pending = {t.number: self._encoding.decode(params_of(t)) for t in left if self._is_whole(t)}
        trained = {t.number: t.user_attrs[STAGES_TRAINED] for t in left if t.user_attrs.get(STAGES_TRAINED)}
        prefixes = ((self.pending[number], length) for number, length in trained.items())
        self.trained_prefixes = [{**setting, "order": setting["order"][:length]} for setting, length in prefixes]
        self._progress = (len(trials), [trial.number for trial in left])

    def _record(self, trial: FrozenTrial) -> None:
        setting = self._encoding.decode(params_of(trial))
        key = setting_key(setting)
        self.tried.add(key)
        if trial.state == TrialState.FAIL:
            self._failures.setdefault(key, set()).add(trial.number)
        if trial.state != TrialState.FAIL or len(self._failures[key]) > 1:
            self.settled.add(key)
        if trial.state == TrialState.COMPLETE and trial.datetime_complete is not None:
            stages = ((int(length), float(value)) for length, value in trial.user_attrs.get(STAGES, ()))
            prefixes = tuple(stage for stage in stages if stage[0] < len(setting.get("order", ())))
            value = float(trial.values[0])
            self.outcomes[trial.number] = Outcome(trial.number, setting, value, prefixes, trial.datetime_complete)

    def _is_whole(self, trial: FrozenTrial) -> bool:
        return params_of(trial).keys() >= self._encoding.distributions.keys()


class NonRepeatingSampler(BaseSampler):  # type: ignore[misc]  # optuna is not typed for us
    """Suggests the first of `candidates` that no trial has.

    A setting whose trial failed is retried once, after all untried settings. Randomness depends only on the seed and
    the trial's number, so a reloaded search continues as if it had never stopped.
    """

    def __init__(self, encoding: SpaceEncoding, seed: int) -> None:
        self.encoding = encoding
        self.seed = seed
        self._read: tuple[optuna.Study | None, History] = (None, History(encoding))

    @abstractmethod
    def candidates(self, study: optuna.Study, trial: FrozenTrial) -> Iterator[Setting]:
        """Settings to try, best first; eventually every setting of a finite space."""

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The whole space: all parameters are sampled jointly."""
        return self.encoding.distributions

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The parameters of a setting that no other trial has; enqueued parameters keep their values.

        Raises:
            SpaceExhausted: no setting is left; the trial that asked is marked failed.
        """
        enqueued = trial.system_attrs.get("fixed_params", {})
        if enqueued.keys() >= search_space.keys():
            return dict(enqueued)
        for taken in self._taken(study):
            if not self._covers_space(taken):
                for setting in self.candidates(study, trial):
                    params = {**self.encoding.encode(setting), **enqueued}
                    if setting_key(self.encoding.decode(params)) not in taken:
                        return params
        study.tell(trial.number, state=TrialState.FAIL)
        raise SpaceExhausted(f"all {self.encoding.size} settings of the search space were tried")

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Optuna calls it only for parameters outside the space.

        Raises:
            ValueError: always.
        """
        raise ValueError(f"'{param_name}' is not in the search space: {', '.join(self.encoding.distributions)}")

    def exhausted(self, study: optuna.Study) -> bool:
        """Whether no setting is left to suggest."""
        return all(map(self._covers_space, self._taken(study)))

    def history(self, study: optuna.Study) -> History:
        """The up-to-date history of this study; only that of the last study asked for is cached."""
        if self._read[0] is not study:
            self._read = (study, History(self.encoding))
        history = self._read[1]
        history.update(study)
        return history

    def seed_of(self, trial: FrozenTrial) -> int:
        """The 32-bit seed of all randomness in this trial's suggestion."""
        return int(digest("suggestion", str(self.seed), str(trial.number))[:8], 16)

    def random_settings(self, trial: FrozenTrial) -> Iterator[Setting]:
        """Independent random settings; in a finite space all settings shuffled after `RANDOM_DRAWS` of them."""
        draws = self.encoding.random_settings(self.seed_of(trial))
        yield from islice(draws, RANDOM_DRAWS)
        yield from draws if self.encoding.size is None else self.shuffled_settings(self.seed_of(trial))

    def shuffled_settings(self, seed: int) -> list[Setting]:
        """Every setting of a finite space, shuffled."""
        settings = list(self.encoding.all_settings())
        random.Random(seed).shuffle(settings)
        return settings

    def _covers_space(self, taken: set[SettingKey]) -> bool:
        return self.encoding.size is not None and len(taken) >= self.encoding.size

    def _taken(self, study: optuna.Study) -> tuple[set[SettingKey], set[SettingKey]]:
        """Settings not to suggest while untried ones are left, and those not even to retry."""
        history = self.history(study)
        pending = set(map(setting_key, history.pending.values()))
        return history.tried | pending, history.settled | pending


def params_of(trial: FrozenTrial) -> dict[str, Any]:
    """The trial's parameters, those of an enqueued trial that still waits included."""
    return {**trial.system_attrs.get("fixed_params", {}), **trial.params}
