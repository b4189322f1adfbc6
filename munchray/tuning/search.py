"""One search and its folder: what is tried, what came of it, and how it goes on after an interruption.

    job.json        the job as it was launched     study.journal   Optuna's record
    trials/0007/    everything of one trial        tune/           Ray Tune's own files
    mlflow.db, mlartifacts/                        unless the job names another tracking_uri
    search.lease                                   the process that runs it
    sessions/       versions, git state and machine of every such process

Knows no Ray: whoever runs the trials calls `next_assignment` and tells what happened.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol
from uuid import uuid4

from munchray.errors import InputError, Problem, WorkError
from munchray.files import digest, read_json, write_json, written_aside
from munchray.samplers.registry import make_sampler
from munchray.samplers.search_space import Encoding
from munchray.settings import Job, TrialSettings
from munchray.storage.path import StoragePath
from munchray.training.trial_results import EpochReport, read_result
from munchray.tuning.account import ERROR_FILE, Account
from munchray.tuning.lock import FolderLock, sync_for_reading
from munchray.tuning.study import JOURNAL, Study, Suggestion
from munchray.tuning.warm_start import PriorSearch


class Watcher(Protocol):
    """Someone who looks on: a terminal, a log."""

    def trial_started(self, number: int, settings: TrialSettings) -> None:
        """A trial was handed out."""

    def epoch_ended(self, number: int, report: EpochReport) -> None:
        """A trial reported."""

    def trial_finished(self, number: int, dev_f1: float) -> None:
        """A trial ended with a score in percent."""

    def trial_failed(self, number: int, reason: str) -> None:
        """A trial ended without one."""

    def warn(self, message: str) -> None:
        """Something went wrong that does not stop the search."""


@dataclass(frozen=True)
class TrialAssignment:
    """A trial to be run: its number among those running, what to train, on which job's data, where."""

    number: int
    job: str
    settings: TrialSettings
    folder: Path


class Search:
    """A search that is open for work. One process at a time.

    Args:
        job: checked.
        watcher: told of everything.
        resume: insist that there is a search to go on with.
        summary: makes the texts, by file name, that MLflow keeps of the search when all its trials have ended.

    Raises:
        InputError: another process runs this search; the job differs from the one the search was started with; nothing
            to resume; the space does not fit the sampler; a search to learn from does not compare.
    """

    def __init__(
        self,
        job: Job,
        watcher: Watcher,
        *,
        resume: bool = False,
        summary: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        self.job = job
        self._summary = summary
        self._storage = search_storage(job)
        self.folder = self._storage.folder
        self.watcher = watcher
        sync_for_reading(self._storage)
        self._lock = FolderLock(self._storage)
        check_same_job(job, self.folder, resume)
        if self.folder.exists():
            self._lock.acquire()
        make_sampler(job.sampler, Encoding(job.search_space, job.order_rule(), job.auxiliaries), job.seed)
        self._earlier = [PriorSearch(named, job) for named in job.warm_start]
        self._id = search_id(job)
        self._account = Account(job, self.folder, self.trial_folder, self._id, watcher.warn)

    def get_ready(self) -> None:
        """Do in the background what `connect` would take seconds for; writes nothing yet."""
        self._account.get_ready()

    def connect(self) -> None:
        """See that MLflow takes what it will be told, before anything is computed; `start` does it if nobody has.

        Raises:
            InputError: the storage cannot be written, or MLflow cannot be reached or refuses.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock.acquire()
        self._account.connect()

    def start(self, data_fingerprint: str, corpora: Mapping[str, str] = MappingProxyType({})) -> None:
        """Note the job and open the search's run in MLflow.

        Args:
            corpora: fingerprints of what each holds and its embeddings, the main one first; searches that learn from
                this one compare them.

        Raises:
            InputError: as `connect`; or text or embeddings differ from those the search started with, or from those of
                a search to learn from.
        """
        check_same_data(self.folder, data_fingerprint)
        for earlier in self._earlier:
            earlier.check_corpora(corpora)
        self.connect()
        job = self.job.model_dump(mode="json")
        # Before the run is made: a process killed between the two would leave a run that nobody finds again.
        launched = {"id": self._id, "job": job, "data": data_fingerprint, "corpora": dict(corpora)}
        write_json(self.folder / "job.json", launched)
        self._storage.upload("job.json")
        self._study.try_first(self.job.first_orders)
        self._storage.upload(self._account.note_session())
        self._account.open(data_fingerprint, corpora, self._study.history())

    def sync(self) -> None:
        """Tell MLflow everything that it lacks of a search that nobody runs now.

        Raises:
            InputError: MLflow cannot be reached or refuses.
            WorkError: it has not taken all.
        """
        launched = _launched(self.folder / "job.json")
        self._account.connect()
        history = self._study.history()
        self._account.open(launched["data"], launched["corpora"], history)
        _, lacking = self._close(max((trial.ended for trial in history if trial.ended), default=None))
        if lacking:
            raise WorkError(lacking)

    @cached_property
    def _study(self) -> Study:
        job, earlier = self.job, [outcome for search in self._earlier for outcome in search.outcomes]
        space, rule, names = job.search_space, job.order_rule(), job.auxiliaries
        return Study.open(
            self.folder,
            job.name,
            space,
            rule,
            names,
            job.sampler,
            job.seed,
            earlier=earlier,
            warn=self.watcher.warn,
        )

    @cached_property
    def _interrupted(self) -> list[Suggestion]:
        return self._study.running()

    @property
    def trials_left(self) -> int:
        """How many trials are still to be handed out, interrupted ones included."""
        if not (self.folder / "job.json").exists():  # not started: nothing may be written yet
            return self.job.trials
        counts = self._study.counts()
        wanted = min(self.job.trials, self._study.size or self.job.trials)
        return wanted - counts["finished"] - counts["failed"] - counts["running"] + len(self._interrupted)

    def next_trial(self) -> Suggestion | None:
        """A trial to run: first those that were interrupted. None when there is nothing left to try."""
        self._lock.check()
        suggestion = self._interrupted.pop(0) if self._interrupted else self._study.suggest()
        if suggestion is not None:
            self._storage.upload(JOURNAL)  # before anything lies in a folder of that number
            settings = self.job.trial(suggestion.values)
            self._account.trial_started(suggestion.number, settings)
            self.watcher.trial_started(suggestion.number, settings)
        return suggestion

    def next_assignment(self) -> TrialAssignment | None:
        """`next_trial` as whoever runs trials takes it."""
        suggestion = self.next_trial()
        if suggestion is None:
            return None
        settings, folder = self.job.trial(suggestion.values), self.trial_folder(suggestion.number)
        return TrialAssignment(suggestion.number, self.job.name, settings, folder)

    @property
    def more_later(self) -> bool:
        """Whether trials that run now decide what comes next; a search always knows."""
        return False

    def trial_folder(self, number: int) -> Path:
        """Where a trial leaves everything."""
        return trial_folder(self.folder, number)

    def epoch_ended(self, number: int, report: EpochReport) -> None:
        """Note one point of a trial's curve."""
        self._account.epoch_ended(number, report)
        self._study.report(number, report.updates, report.dev_f1)
        self._study.pass_stages(number, report.stage - 1)
        self.watcher.epoch_ended(number, report)

    def trial_finished(self, number: int) -> None:
        """Note the result that the trial left in its folder."""
        result = read_result(self.trial_folder(number))
        score = result.dev_f1(self.job.main)
        beginnings = [[len(stage.auxiliaries), stage.dev_f1] for stage in result.stages]
        reused = sum(stage.reused for stage in result.stages)
        attrs = {"updates": result.updates, "stages": beginnings, "stages_reused": reused}
        self._study.complete(number, score, attrs)
        self._storage.upload(JOURNAL)
        self._account.trial_finished(number, result)
        self.watcher.trial_finished(number, score)

    def trial_failed(self, number: int, reason: str, details: str = "") -> None:
        """Note that a trial ended without a score.

        Args:
            reason: one line.
            details: the last lines of what its process said.
        """
        if details:
            path = self.trial_folder(number) / ERROR_FILE
            with written_aside(path) as aside:
                aside.write_text(details, encoding="utf-8")
            self._storage.upload(path.relative_to(self.folder).as_posix())
        self._study.fail(number, reason)
        self._storage.upload(JOURNAL)
        self._account.trial_failed(number, reason)
        self.watcher.trial_failed(number, reason)

    def trial_retried(self, number: int, reason: str) -> None:
        """A trial died and goes on."""
        self.watcher.warn(f"trial {number:04d}: {reason}")

    def close(self) -> bool:
        """Write what waits; the best model goes to MLflow. Returns whether all trials have ended."""
        complete, lacking = self._close()
        if lacking:
            self.watcher.warn(f"{lacking}; munchray sync JOB delivers it")
        return complete

    def _close(self, ended: datetime | None = None) -> tuple[bool, str]:
        """Whether all trials have ended, and what MLflow lacks."""
        complete = self.trials_left <= 0 and not self._study.running()
        finished = self._study.finished() if complete else []
        for suggestion in self._study.running():
            self._account.trial_stopped(suggestion.number)
        best = max(finished, key=lambda trial: trial.dev_f1).number if finished else None
        if best is not None:
            self._storage.within(self.trial_folder(best)).download("model")
        texts = self._summed_up() if finished else {}
        lacking = self._account.close("FINISHED" if complete else "KILLED", best, texts, ended)
        self._lock.release()
        return complete, lacking

    def _summed_up(self) -> Mapping[str, str]:
        try:
            return self._summary()
        except Exception as error:  # whatever it is, the search has its result
            self.watcher.warn(f"no report was kept with the search ({error}); munchray results JOB --html writes one")
            return {}


def search_storage(job: Job) -> StoragePath:
    """Where a search keeps everything."""
    return job.storage_path / job.name


def search_folder(job: Job) -> Path:
    """The same on this machine."""
    return search_storage(job).folder


def search_id(job: Job) -> str:
    """What the runs of a search are found by. On a server that many people share, two may have the same name."""
    folder = search_folder(job)
    path = folder / "job.json"
    if not path.exists():
        return f"{job.name} {uuid4().hex[:8]}"
    return str(_launched(path)["id"] or f"{job.name} {digest(str(folder))[:6]}")  # as searches once had it


def trial_folder(search: Path, number: int) -> Path:
    """Where a search keeps one trial."""
    return search / "trials" / f"{number:04d}"


def check_same_job(job: Job, folder: Path, resume: bool) -> None:
    """See that a search was started with this job, or not at all.

    Raises:
        InputError: with everything that changed; nothing to resume.
    """
    path = folder / "job.json"
    if not path.exists():
        if resume:
            found = "there is no search to resume"
            raise InputError(Problem(str(folder), found, fix="Leave --resume out to start one"))
        return
    before = _launched(path)["job"]
    changed = job.changed_since(before)
    if changed:
        fix = f"Undo the change, or give the search another name (--set name={job.name}-2)"
        problems = (
            Problem(f"job {job.name}", f"{key} changed from {_short(old)} to {_short(new)} since the search began")
            for key, old, new in changed
        )
        raise InputError(*_with_fix(problems, fix))


def check_same_data(folder: Path, fingerprint: str) -> None:
    """See that a search was started on this data, or not at all.

    Raises:
        InputError: text, tags or embeddings changed.
    """
    path = folder / "job.json"
    if path.exists() and _launched(path)["data"] != fingerprint:
        found = "the text, tags or embeddings changed since this search began, so old and new trials do not compare"
        fix = "Restore them, or give the search another name (--set name=...)"
        raise InputError(Problem(str(folder), found, fix=fix))


def _launched(path: Path) -> dict[str, Any]:
    try:
        launched = read_json(path)
        return {"id": None, "corpora": {}, **launched, "job": launched["job"], "data": launched["data"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        found = f"not a record of a search ({error})"
        raise InputError(Problem(str(path), found, fix="Move the folder away to start anew")) from error


def _with_fix(problems: Iterator[Problem], fix: str) -> list[Problem]:
    *first, last = problems
    return [*first, Problem(last.where, last.found, last.expected, fix)]


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."
