"""One search and its folder: what is tried, what came of it, and how it goes on after an interruption.

    job.json        the job as it was launched     study.journal   Optuna's record
    trials/0007/    everything of one trial        tune/           Ray Tune's own files
    mlflow.db, mlartifacts/                        unless the job names another tracking_uri
    search.lock, owner.json                        the process that runs it

Knows no Ray: whoever runs the trials calls `hand_out` and tells what happened.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from munchray.errors import InputError, Problem
from munchray.files import digest, read_json, write_json
from munchray.samplers.by_name import make_sampler
from munchray.samplers.encoding import Encoding
from munchray.search.earlier import EarlierSearch
from munchray.search.lock import FolderLock
from munchray.search.study import Study, Suggestion
from munchray.settings import Job, TrialSettings
from munchray.tracking.tracker import Tracker, default_uri
from munchray.training.record import EpochReport, TrialResult, read_epochs, read_result

EPOCH_METRICS = (
    "train_loss",
    "dev_precision",
    "dev_recall",
    "dev_f1",
    "learning_rate",
    "tokens_per_second",
    "clipped_share",
    "epoch",
    "stage",
)


NOT_TRACKED = ("search_space", "corpora", "first_orders")
"""Keys of a job that are no parameter of its run in MLflow, but stand in its job.json."""


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
class Handout:
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

    Raises:
        InputError: another process runs this search; the job differs from the one the search was started with; nothing
            to resume; the space does not fit the sampler; a search to learn from does not compare.
    """

    def __init__(self, job: Job, watcher: Watcher, *, resume: bool = False) -> None:
        self.job = job
        self.folder = search_folder(job)
        self.watcher = watcher
        self._lock = FolderLock(self.folder)
        check_same_job(job, self.folder, resume)
        if self.folder.exists():
            self._lock.claim()
        make_sampler(job.sampler, Encoding(job.search_space, job.order_rule(), job.auxiliaries), job.seed)
        self._earlier = [EarlierSearch(named, job) for named in job.warm_start]
        uri = job.tracking_uri or default_uri(self.folder)
        self._tracker = Tracker(uri, job.name, search_id(job), watcher.warn)

    def get_ready(self) -> None:
        """Do in the background what `start` would take seconds for; writes nothing yet."""
        self._tracker.get_ready()

    def start(self, data_fingerprint: str, corpora: Mapping[str, str] = MappingProxyType({})) -> None:
        """Open the search's run in MLflow and note the job.

        Args:
            corpora: fingerprints of what each holds and its embeddings, for searches that learn from this one.

        Raises:
            InputError: the storage cannot be written; MLflow cannot be reached; or text or embeddings differ from
                those the search started with, or from those of a search to learn from.
        """
        check_same_data(self.folder, data_fingerprint)
        for earlier in self._earlier:
            earlier.check_corpora(corpora)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock.claim()
        described = self.job.model_dump(mode="json")
        params = {key: value for key, value in described.items() if key not in NOT_TRACKED}
        texts = {"job.json": json.dumps(described, indent=2)}
        self._tracker.start_search(params, {"munchray.data": data_fingerprint}, texts)
        write_json(self.folder / "job.json", {"job": described, "data": data_fingerprint, "corpora": dict(corpora)})
        self._study.try_first(self.job.first_orders)
        self._say_again()

    @cached_property
    def _study(self) -> Study:
        job, earlier = self.job, [outcome for search in self._earlier for outcome in search.outcomes]
        space, rule, names = job.search_space, job.order_rule(), job.auxiliaries
        return Study.open(self.folder, job.name, space, rule, names, job.sampler, job.seed, earlier=earlier)

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
        suggestion = self._interrupted.pop(0) if self._interrupted else self._study.suggest()
        if suggestion is not None:
            settings = self.job.trial(suggestion.values)
            self._tracker.start_trial(suggestion.number, _params(settings))
            self.watcher.trial_started(suggestion.number, settings)
        return suggestion

    def hand_out(self) -> Handout | None:
        """`next_trial` as whoever runs trials takes it."""
        suggestion = self.next_trial()
        if suggestion is None:
            return None
        settings, folder = self.job.trial(suggestion.values), self.trial_folder(suggestion.number)
        return Handout(suggestion.number, self.job.name, settings, folder)

    @property
    def more_later(self) -> bool:
        """Whether trials that run now decide what comes next; a search always knows."""
        return False

    def trial_folder(self, number: int) -> Path:
        """Where a trial leaves everything."""
        return trial_folder(self.folder, number)

    def epoch_ended(self, number: int, report: EpochReport) -> None:
        """Note one point of a trial's curve."""
        self._log_epoch(number, report)
        self._study.report(number, report.updates, report.dev_f1)
        self.watcher.epoch_ended(number, report)

    def trial_finished(self, number: int) -> None:
        """Note the result that the trial left in its folder."""
        result = read_result(self.trial_folder(number))
        score = result.dev_f1(self.job.main)
        beginnings = [[len(stage.auxiliaries), stage.dev_f1] for stage in result.stages]
        reused = sum(stage.reused for stage in result.stages)
        attrs = {"updates": result.updates, "stages": beginnings, "stages_reused": reused}
        self._study.complete(number, score, attrs)
        self._log_result(number, result)
        self.watcher.trial_finished(number, score)

    def trial_failed(self, number: int, reason: str) -> None:
        """Note that a trial ended without a score."""
        self._study.fail(number, reason)
        self._tracker.finish_trial(number, "FAILED", {}, reason)
        self.watcher.trial_failed(number, reason)

    def close(self) -> bool:
        """Write what waits; the best model goes to MLflow. Returns whether all trials have ended."""
        complete = self.trials_left <= 0 and not self._study.running()
        finished = self._study.finished()
        if complete and finished:
            best = max(finished, key=lambda trial: trial.dev_f1)
            folder = self.trial_folder(best.number)
            tags = {"munchray.best_trial": str(best.number)}
            self._tracker.log_best(folder / "model", {"best_dev_f1": best.dev_f1}, tags)
        for suggestion in self._study.running():
            self._tracker.finish_trial(suggestion.number, "KILLED", {})
        self._tracker.finish_search("FINISHED" if complete else "KILLED")
        self._lock.release()
        return complete

    def _say_again(self) -> None:
        """Tell MLflow of the trials that ended when a process was killed, or the store away, before it knew."""
        finished = {trial.number: trial for trial in self._study.finished()}
        for number in self._tracker.unfinished(finished):
            self._tracker.start_trial(number, _params(self.job.trial(finished[number].values)))
            self._log_result(number, read_result(self.trial_folder(number)))
        failed = dict(self._study.failed())
        for number in self._tracker.unfinished(failed):
            self._tracker.start_trial(number, {})
            self._tracker.finish_trial(number, "FAILED", {}, failed[number])

    def _log_result(self, number: int, result: TrialResult) -> None:
        for report in read_epochs(self.trial_folder(number)):  # some may have been trained while nobody was looking on
            self._log_epoch(number, report)
        self._tracker.finish_trial(number, "FINISHED", _final_metrics(result, self.job.main))

    def _log_epoch(self, number: int, report: EpochReport) -> None:
        values = asdict(report)
        self._tracker.log_epoch(number, {name: values[name] for name in EPOCH_METRICS}, report.updates)


def search_folder(job: Job) -> Path:
    """Where a search keeps everything."""
    return Path(job.storage) / job.name


def search_id(job: Job) -> str:
    """What the runs of a search are found by. On a server that many people share, two may have the same name."""
    return f"{job.name} {digest(str(search_folder(job)))[:6]}"


def trial_folder(search: Path, number: int) -> Path:
    """Where a search keeps one trial."""
    return search / "trials" / f"{number:04d}"


def _params(settings: TrialSettings) -> dict[str, Any]:
    """A trial's parameters as MLflow shows them; an order readable, and each auxiliary's place as a number."""
    values = settings.model_dump(mode="json", exclude={"auxiliaries"})
    places = {f"place.{name}": place for place, name in enumerate(settings.auxiliaries, 1)}
    return {**values, "order": settings.auxiliaries, **places}


def _final_metrics(result: TrialResult, main: str) -> Mapping[str, float]:
    other = {f"dev_f1.{corpus}": counts.f1 for corpus, counts in result.dev.items() if corpus != main}
    stages = {f"stage_{n}_dev_f1": stage.dev_f1 for n, stage in enumerate(result.stages, 1)}
    return {"final_dev_f1": result.dev_f1(main), "seconds": result.seconds, **other, **stages}


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
        return {"job": launched["job"], "data": launched["data"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        found = f"not a record of a search ({error})"
        raise InputError(Problem(str(path), found, fix="Move the folder away to start anew")) from error


def _with_fix(problems: Iterator[Problem], fix: str) -> list[Problem]:
    *first, last = problems
    return [*first, Problem(last.where, last.found, last.expected, fix)]


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."
