"""The record of a search: one Optuna study in a file that survives crashes and that `optuna-dashboard` opens."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.trial import FrozenTrial, TrialState

from munchray.errors import InputError, Problem
from munchray.orders import order_text
from munchray.samplers.base import STAGES, STAGES_TRAINED, Outcome, params_of
from munchray.samplers.registry import NonRepeatingSampler, SpaceExhausted, make_sampler
from munchray.samplers.search_space import SpaceEncoding
from munchray.settings import Job
from munchray.training.events import RecordedTrial, TrialAssignment, TrialListener
from munchray.training.trial_results import EpochMetrics, TrialResult, write_error
from munchray.tuning.folder import trial_folder
from munchray.tuning.journal import open_journal

JOURNAL = "study.journal"
METRIC = "dev_f1"
STATES = {"finished": TrialState.COMPLETE, "running": TrialState.RUNNING, "failed": TrialState.FAIL}


@dataclass(frozen=True)
class Suggestion:
    """A setting to try, under the number it has in the study."""

    number: int
    values: dict[str, Any]


@dataclass(frozen=True)
class FinishedTrial:
    """A setting that was trained to its end; ``dev_f1`` in percent, ``ended`` by the local clock."""

    number: int
    values: dict[str, Any]
    dev_f1: float
    ended: datetime


class Study(TrialListener):
    """The trials of one search, what came of them, and what to try next. One process writes at a time.

    Args:
        job: whose search it is.
        folder: of the search.
    """

    def __init__(self, job: Job, folder: Path, storage: JournalStorage, sampler: NonRepeatingSampler) -> None:
        self._job, self._folder = job, folder
        self._study = _optuna_study(storage, job.name, sampler)
        self._storage = storage
        self._sampler = sampler
        self._encoding = sampler.encoding
        self._behind: dict[int, int] = {}
        self._study_id = storage.get_study_id_from_name(job.name)

    @classmethod
    def open(
        cls,
        job: Job,
        folder: Path,
        *,
        repair: bool = True,
        prior: Sequence[Outcome] = (),
        warn: Callable[[str], None] = lambda message: None,
    ) -> Study:
        """Create or resume ``folder/study.journal``.

        Args:
            repair: fail the trials that a killed process left half suggested; False while another process may search.
            prior: what other searches found, for a sampler that learns from it.
            warn: called when the disk is full or away and the study waits for it.

        Raises:
            InputError: the space and the sampler do not fit, or the file is not a journal or cannot be written.
        """
        encoding = SpaceEncoding(job.search_space, job.order_rule(), job.auxiliaries)
        sampler = make_sampler(job.sampler, encoding, job.seed, prior)
        path = folder / JOURNAL
        try:
            folder.mkdir(parents=True, exist_ok=True)
            study = cls(job, folder, open_journal(path, warn), sampler)
        except OSError as error:
            fix = "Choose another storage or give yourself the right to write"
            raise InputError(Problem(str(path), f"cannot be written: {error.strerror}", fix=fix)) from error
        except (ValueError, KeyError, AssertionError, TypeError) as error:
            found = f"is not an Optuna journal that can be read ({error})"
            fix = "Move it away: the search then starts anew"
            raise InputError(Problem(str(path), found, fix=fix)) from error
        _check_space(study._study, encoding, path)
        if repair:
            study._fail_half_suggested()
        return study

    @property
    def size(self) -> int | None:
        """How many settings the space has; None when a continuous range makes them countless."""
        return self._encoding.size

    def try_first(self, settings: Iterable[Mapping[str, Any]]) -> None:
        """Enqueue settings, or parts of them such as an order alone; skips those already tried or queued.

        The sampler chooses the rest.
        """
        trials = self._study.get_trials(deepcopy=False)
        lost = [trial for trial in trials if trial.state == TrialState.FAIL and not self._is_whole(trial)]
        tried = [params_of(trial).items() for trial in trials if trial not in lost]
        for setting in settings:
            wanted = self._encoding.encode(setting)
            if not any(params >= wanted.items() for params in tried):
                self._study.enqueue_trial(wanted)

    def suggest(self) -> Suggestion | None:
        """Suggest a setting that no trial has; None when all were tried."""
        waiting = self._trials(TrialState.WAITING)
        if not waiting and self._sampler.exhausted(self._study):
            return None
        try:
            number = self._study.ask(self._encoding.distributions).number
        except SpaceExhausted:
            return None
        suggestion = self._suggestion(self._study.get_trials(deepcopy=False)[number])
        self._describe(suggestion)
        self._upload()  # before anything lies in a folder of that number
        return suggestion

    def unsuggested(self, trials: int) -> int:
        """How many of so many trials have not been suggested; a space that is smaller ends a search."""
        return min(trials, self.size or trials) - sum(self.counts().values())

    def epoch_ended(self, trial: TrialAssignment, report: EpochMetrics) -> None:
        """A point of the trial's curve in the dashboard, and how many stages it has behind it."""
        if not self._is_running(trial.number):
            return
        if math.isfinite(report.dev_f1):
            self._storage.set_trial_intermediate_value(self._trial_id(trial.number), report.updates, report.dev_f1)
        behind = report.stage - 1
        if behind and self._behind.get(trial.number) != behind:
            self._set_attributes(trial.number, {STAGES_TRAINED: behind})
            self._behind[trial.number] = behind

    def trial_finished(self, trial: TrialAssignment, result: TrialResult) -> None:
        """Record its dev F1, and that of every prefix of its order that was a stage."""
        prefixes = [[len(stage.auxiliaries), stage.dev_f1] for stage in result.stages]
        reused = sum(stage.reused for stage in result.stages)
        attributes = {"updates": result.updates, STAGES: prefixes, "stages_reused": reused}
        self.complete(trial.number, result.dev_f1(trial.settings.main), attributes)
        self._upload()

    def trial_failed(self, trial: TrialAssignment, reason: str, details: str = "") -> None:
        """Record why; the details lie in the trial's folder."""
        if details:
            self._upload(write_error(trial.folder, details))
        self.fail(trial.number, reason)
        self._upload()

    def complete(self, number: int, value: float, user_attrs: Mapping[str, Any] | None = None) -> None:
        """End a trial with its dev F1; a value that is not finite makes it failed. Idempotent: the first end stays."""
        if not math.isfinite(value):
            self.fail(number, f"{METRIC} is {value}")
        elif self._is_running(number):
            self._set_attributes(number, user_attrs or {})
            self._study.tell(number, value)

    def fail(self, number: int, reason: str) -> None:
        """End a trial without a score. Idempotent: the first end stays."""
        if self._is_running(number):
            self._set_attributes(number, {"reason": reason})
            self._study.tell(number, state=TrialState.FAIL)

    def running(self) -> list[Suggestion]:
        """Trials suggested and not ended, by number: after a crash, those to train again."""
        return [self._suggestion(trial) for trial in self._trials(TrialState.RUNNING) if self._is_whole(trial)]

    def finished(self) -> list[FinishedTrial]:
        """Trials with a score, by number."""
        return [
            FinishedTrial(
                trial.number, self._encoding.decode(trial.params), float(trial.value), trial.datetime_complete
            )
            for trial in self._trials(TrialState.COMPLETE)
        ]

    def failed(self) -> list[tuple[int, str]]:
        """Number and reason of the trials that ended without a score."""
        return [(t.number, t.user_attrs.get("reason", "")) for t in self._trials(TrialState.FAIL)]

    def history(self) -> list[RecordedTrial]:
        """Every trial that was begun, by number."""
        found = [self._recorded(trial, name) for name in STATES for trial in self._trials(STATES[name])]
        return sorted(found, key=lambda trial: trial.number)

    def counts(self) -> dict[str, int]:
        """How many trials are ``finished``, ``running`` and ``failed``."""
        return {name: len(self._trials(state)) for name, state in STATES.items()}

    def _trials(self, state: TrialState) -> list[FrozenTrial]:
        trials: list[FrozenTrial] = self._study.get_trials(deepcopy=False, states=(state,))
        return trials

    def _suggestion(self, trial: FrozenTrial) -> Suggestion:
        return Suggestion(trial.number, self._encoding.decode(trial.params))

    def _recorded(self, trial: FrozenTrial, state: str) -> RecordedTrial:
        settings = self._job.trial(self._encoding.decode(trial.params)) if self._is_whole(trial) else None
        folder, reason = trial_folder(self._folder, trial.number), trial.user_attrs.get("reason", "")
        return RecordedTrial(
            trial.number, settings, folder, state, reason, trial.datetime_start, trial.datetime_complete
        )

    def _upload(self, path: Path | None = None) -> None:
        """Upload the journal, or another file of the search, where the storage is a bucket."""
        path = path or self._folder / JOURNAL
        self._job.storage_path.within(path.parent).upload(path.name)

    def _describe(self, suggestion: Suggestion) -> None:
        """Attributes for readers of the dashboard, to whom keys and lengths say nothing."""
        order = suggestion.values.get("order")
        text = {} if order is None else {"order": order_text(order)}
        self._set_attributes(suggestion.number, {**text, "values": json.dumps(suggestion.values)})

    def _fail_half_suggested(self) -> None:
        """A process killed while it wrote a suggestion leaves a trial that cannot be trained."""
        for trial in self._trials(TrialState.RUNNING):
            if not self._is_whole(trial):
                self.fail(trial.number, "the search was stopped while this trial was being suggested")

    def _is_whole(self, trial: FrozenTrial) -> bool:
        return bool(trial.params.keys() >= self._encoding.distributions.keys())

    def _set_attributes(self, number: int, attributes: Mapping[str, Any]) -> None:
        for name, value in attributes.items():
            self._storage.set_trial_user_attr(self._trial_id(number), name, value)

    def _is_running(self, number: int) -> bool:
        return bool(self._storage.get_trial(self._trial_id(number)).state == TrialState.RUNNING)

    def _trial_id(self, number: int) -> int:
        return int(self._storage.get_trial_id_from_study_id_trial_number(self._study_id, number))


def _optuna_study(storage: JournalStorage, job_name: str, sampler: NonRepeatingSampler) -> optuna.Study:
    study = optuna.create_study(
        study_name=job_name, storage=storage, sampler=sampler, direction="maximize", load_if_exists=True
    )
    if study.metric_names != [METRIC]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.set_metric_names([METRIC])
    return study


def _check_space(study: optuna.Study, encoding: SpaceEncoding, path: Path) -> None:
    """Refuse a study of another search space: its values would decode to settings that were never trained."""
    for trial in study.get_trials(deepcopy=False):
        differing = sorted(name for name, d in trial.distributions.items() if encoding.distributions.get(name) != d)
        if differing:
            found = f"trial {trial.number} was suggested from another search space ({', '.join(differing)} differ)"
            fix = "Choose another name or storage for the new search, or move the old one away"
            raise InputError(Problem(str(path), found, fix=fix))
