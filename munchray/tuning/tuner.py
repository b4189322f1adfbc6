"""The bridge to Ray: trials of a search, or of a protocol, as Ray Tune trials on a cluster's cores and GPUs. (ray)

Tune schedules, retries and streams reports. What must survive lies in the search's folder and its study, so a search
goes on by starting a new Tune experiment over what is left; Tune's own restore, which unpickles searchers, is not used.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Protocol

import ray
from ray import tune
from ray.tune.experiment import Trial
from ray.tune.search import Searcher

from munchray import disk
from munchray.cluster import nodes
from munchray.errors import HaltError, Interrupted, WorkError
from munchray.files import Stillness
from munchray.interrupts import defer_sigint_to_tune
from munchray.settings import Job
from munchray.storage.path import StoragePath
from munchray.training.data import DataSpec
from munchray.training.trial_results import EpochMetrics
from munchray.training.watchdog import PULSE
from munchray.tuning import worker
from munchray.tuning.search import TrialAssignment

MOST_FAILURES = 2
"""Retries of a trial whose process died; each goes on from its last checkpoint."""

ERROR_TAIL = 4000  # characters
ENDS = {"finished", "failed", "halted"}
"""What a trial's last report says; all others are of an epoch."""
LOOK_AGAIN = 5.0
"""Seconds between looks at the nodes of the cluster, and at the signs of life of the trials."""
HEAD_START = 10.0
"""Seconds that a hung trial has to end itself, with a trace in its log, before it is ended."""

REPORT_FIELDS = tuple(field.name for field in fields(EpochMetrics))


class Trials(Protocol):
    """Where trials come from, and who is told what becomes of them: a search, or the trainings of a protocol.

    Attributes:
        job: for its resources, device and stage store.
        folder: for Tune's own files.
    """

    job: Job
    folder: Path

    @property
    def trials_left(self) -> int:
        """At most so many are still to be handed out."""

    @property
    def more_later(self) -> bool:
        """Whether trials that run now decide what comes next."""

    def next_assignment(self) -> TrialAssignment | None:
        """A trial to run, if there is one now."""

    def epoch_ended(self, number: int, report: EpochMetrics) -> None:
        """A trial reported."""

    def trial_finished(self, number: int) -> None:
        """A trial left its result in its folder."""

    def trial_failed(self, number: int, reason: str, details: str = "") -> None:
        """A trial ended without one; ``details`` are the last lines of its process."""

    def trial_retried(self, number: int, reason: str) -> None:
        """A trial died and goes on."""

    def close(self) -> bool:
        """Nothing runs any more; whether all trials have ended."""


def run(search: Trials, data: Mapping[str, DataSpec]) -> None:
    """Run what is left of a search or a protocol.

    Args:
        data: what the trials of each job train on, by the job's name.

    Raises:
        Interrupted: the user stopped it.
        WorkError: what every trial needs is away or full.
    """
    run_with(search, _trainable(search, data))


def run_with(search: Trials, trainable: Any) -> None:
    """The same with any trainable that reports as `worker.train` does.

    Raises:
        Interrupted: the user stopped it.
        WorkError: what every trial needs is away or full.
    """
    halted = Halted()
    if search.trials_left > 0:
        with defer_sigint_to_tune():
            _tuner(search, trainable, halted).fit()
    if not search.close():
        if halted.reason:
            raise WorkError(halted.reason)
        raise Interrupted("finished trials are kept; the same command goes on where this stopped")


def _trainable(search: Trials, data: Mapping[str, DataSpec]) -> Any:
    job = search.job
    # A trial that was given no GPU leaves those it may see to others.
    device = job.device if job.resources_per_trial.gpu else "cpu"
    shared = worker.Shared(
        data,
        device,
        job.resources_per_trial.cpu,
        job.stage_storage,
        job.stages_gb,
        job.hung_minutes,
        job.checkpoint_minutes,
    )
    return tune.with_parameters(worker.train, shared=shared)


def _tuner(search: Trials, trainable: Any, halted: Halted) -> tune.Tuner:
    job = search.job
    resources = {"cpu": job.resources_per_trial.cpu, "gpu": job.resources_per_trial.gpu}
    return tune.Tuner(
        tune.with_resources(trainable, resources),
        tune_config=tune.TuneConfig(
            search_alg=StudySearcher(search, halted),
            num_samples=search.trials_left,
            trial_name_creator=_trial_name,
            trial_dirname_creator=_trial_name,
            reuse_actors=True,  # a process start and the import of torch once a core, not once a trial
        ),
        run_config=tune.RunConfig(
            name=time.strftime("%Y%m%d-%H%M%S"),
            storage_path=str(search.folder / "tune"),
            failure_config=tune.FailureConfig(max_failures=MOST_FAILURES),
            callbacks=[SearchCallback(search, halted)],
            verbose=0,
        ),
    )


@dataclass
class Halted:
    """Why no more trials are handed out; those that run find out by themselves."""

    reason: str = ""

    @contextlib.contextmanager
    def noted(self) -> Iterator[None]:
        """Inside, what halts the work is noted and not raised: Tune first lets the trials that run come to an end."""
        try:
            with disk.advice():
                yield
        except HaltError as error:
            self.reason = str(error)


class StudySearcher(Searcher):  # type: ignore[misc]
    """Hands trials to Tune: as many at once as the cluster has room for, now that nodes have come or gone.

    A trial is suggested when it can start and not before: by then more is known.
    """

    def __init__(self, search: Trials, halted: Halted) -> None:
        super().__init__()
        self._search = search
        self._halted = halted
        self._running: set[str] = set()
        self._room = 0
        self._looked = -math.inf

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next trial, that there is none, or (None) that Tune should ask again."""
        if self._halted.reason:
            return str(Searcher.FINISHED)
        if len(self._running) >= self._room_now():
            return None
        trial = None
        with self._halted.noted():
            trial = self._search.next_assignment()
        if trial is None:
            later = self._search.more_later and not self._halted.reason
            return None if later else str(Searcher.FINISHED)
        self._running.add(trial_id)
        settings = trial.settings.model_dump(mode="json")
        folder = str(self._search.job.storage_path.within(trial.folder))
        return {"number": trial.number, "job": trial.job, "settings": settings, "folder": folder}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Room for another; `SearchCallback` tells the search."""
        self._running.discard(trial_id)

    def _room_now(self) -> int:
        if time.monotonic() - self._looked > LOOK_AGAIN:
            self._room, self._looked = nodes.trial_slots(self._search.job), time.monotonic()
        return self._room

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the study is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the study is the state."""

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles what it is given; nobody unpickles it


class SearchCallback(tune.Callback):  # type: ignore[misc]
    """Tells the search what Tune sees, and ends trials whose processes stand still."""

    def __init__(self, search: Trials, halted: Halted) -> None:
        self._search = search
        self._halted = halted
        self._pulses: dict[str, Stillness] = {}
        self._patience = 60 * search.job.hung_minutes + HEAD_START
        self._looked = -math.inf

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:
        """A process begins a trial, or goes on with it. On another machine's disk its signs of life are not seen."""
        storage = StoragePath.at(trial.config["folder"])
        if not storage.remote:
            self._pulses[trial.trial_id] = Stillness(storage.folder / PULSE)

    def on_step_end(self, iteration: int, trials: list[Trial], **_: Any) -> None:
        """Some tenths of a second have passed."""
        if time.monotonic() - self._looked < LOOK_AGAIN:
            return
        self._looked = time.monotonic()
        for trial in trials:
            pulse = self._pulses.get(trial.trial_id)
            if trial.status == Trial.RUNNING and pulse and pulse.seconds() > self._patience:
                ray.kill(trial.temporary_state.ray_actor)  # Tune finds it dead and tries again

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **_: Any
    ) -> None:
        """An epoch ended."""
        if "epoch" in result and not ENDS & result.keys():
            report = EpochMetrics(**{name: result[name] for name in REPORT_FIELDS})
            with self._halted.noted():
                self._search.epoch_ended(trial.config["number"], report)

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:
        """A trial came to its end, with a result or with its reason for having none.

        One that was halted has not ended: the search calls it running, and goes on with it another time.
        """
        number, last = trial.config["number"], trial.last_result
        with self._halted.noted():
            if "halted" in last:
                raise HaltError(last["halted"])
            StoragePath.at(trial.config["folder"]).sync()
            if "failed" in last:
                self._search.trial_failed(number, last["failed"])
            else:
                self._search.trial_finished(number)

    def on_trial_recover(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:
        """A trial's process died, and another one goes on."""
        attempt = f"attempt {trial.num_failures + 1} of {MOST_FAILURES + 1}, from the last checkpoint"
        reason = f"its process died; {attempt} (whole trace: {trial.error_file})"
        self._search.trial_retried(trial.config["number"], reason)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:
        """A trial died more often than it is retried."""
        said = _error_text(trial)
        last = said.splitlines()[-1] if said else "the trial's process died"
        reason = f"{last} (whole trace: {trial.error_file})"
        with self._halted.noted():
            self._search.trial_failed(trial.config["number"], reason, said[-ERROR_TAIL:])

    def __getstate__(self) -> dict[str, Any]:
        return {}


def _trial_name(trial: Trial) -> str:
    return f"{trial.config['number']:04d}"


def _error_text(trial: Trial) -> str:
    path = trial.error_file
    return Path(path).read_text(encoding="utf-8", errors="replace").strip() if path and Path(path).exists() else ""
