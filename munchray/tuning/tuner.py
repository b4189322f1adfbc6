"""The bridge to Ray: runs the trials of a search, or the trainings of a plan, as Ray Tune trials. (ray)

Tune schedules, retries and streams reports. What must survive lies in the search's folder and its study, so a search
is resumed by a new Tune experiment over what is left; Tune's own restore, which unpickles searchers, is not used.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
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
from munchray.training.events import TrialAssignment, TrialListener
from munchray.training.trial_results import EpochMetrics, read_result
from munchray.training.watchdog import PULSE
from munchray.tuning import worker

MAX_FAILURES = 2
"""Retries of a trial whose process died; each resumes its last checkpoint."""

ERROR_TAIL = 4000  # characters
ENDS = {"finished", "failed", "halted"}
"""What a trial's last report says; all others are of an epoch."""
POLL_S = 5.0
"""Seconds between polls of the nodes of the cluster, and of the pulses of the trials."""
HEAD_START = 10.0
"""Seconds that a hung trial has to end itself, with a trace in its log, before it is ended."""

REPORT_FIELDS = tuple(field.name for field in fields(EpochMetrics))


class TrialSource(Protocol):
    """Where trials come from: a search, or a plan of trainings.

    Attributes:
        job: for its resources, device and stage cache.
        folder: for Tune's own files.
    """

    job: Job
    folder: Path

    @property
    def trials_left(self) -> int:
        """At most so many are still to be dispatched."""

    @property
    def waits_for_results(self) -> bool:
        """Whether trials that run now decide what comes next."""

    @property
    def complete(self) -> bool:
        """Whether all trials have ended."""

    def next_assignment(self) -> TrialAssignment | None:
        """A trial to run, if there is one now."""


def run(source: TrialSource, listeners: Sequence[TrialListener], data: Mapping[str, DataSpec]) -> None:
    """Run what is left of a search or a plan.

    Args:
        listeners: receive every event, in this order.
        data: what the trials of each job train on, by the job's name.

    Raises:
        Interrupted: the user stopped it.
        WorkError: what every trial needs is away or full.
    """
    run_with(source, listeners, _trainable(source.job, data))


def run_with(source: TrialSource, listeners: Sequence[TrialListener], trainable: Any) -> None:
    """The same with any trainable that reports as `worker.train` does.

    Raises:
        Interrupted: the user stopped it.
        WorkError: what every trial needs is away or full.
    """
    dispatch = Dispatch(source, listeners)
    if source.trials_left > 0:
        with defer_sigint_to_tune():
            _tuner(dispatch, trainable).fit()
    if not source.complete:
        if dispatch.halted:
            raise WorkError(dispatch.halted)
        raise Interrupted("finished trials are kept; the same command resumes the rest")


def _trainable(job: Job, data: Mapping[str, DataSpec]) -> Any:
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


def _tuner(dispatch: Dispatch, trainable: Any) -> tune.Tuner:
    source = dispatch.source
    needed = source.job.resources_per_trial
    return tune.Tuner(
        tune.with_resources(trainable, {"cpu": needed.cpu, "gpu": needed.gpu}),
        tune_config=tune.TuneConfig(
            search_alg=DispatchSearcher(dispatch),
            num_samples=source.trials_left,
            trial_name_creator=_trial_name,
            trial_dirname_creator=_trial_name,
            reuse_actors=True,  # a process start and the import of torch once a core, not once a trial
        ),
        run_config=tune.RunConfig(
            name=time.strftime("%Y%m%d-%H%M%S"),
            storage_path=str(source.folder / "tune"),
            failure_config=tune.FailureConfig(max_failures=MAX_FAILURES),
            callbacks=[ListenerCallback(dispatch), HangCallback(source.job.hung_minutes)],
            verbose=0,
        ),
    )


class Dispatch:
    """The trials that one Tune experiment has dispatched, and who listens to them.

    Attributes:
        trials: by number.
        halted: why no more trials are dispatched; those that run find out by themselves.
    """

    def __init__(self, source: TrialSource, listeners: Sequence[TrialListener]) -> None:
        self.source, self.listeners = source, listeners
        self.trials: dict[int, TrialAssignment] = {}
        self.halted = ""

    @contextlib.contextmanager
    def halting(self) -> Iterator[None]:
        """Inside, a `HaltError` is noted, not raised: Tune first lets the trials that run come to an end."""
        try:
            with disk.advice():
                yield
        except HaltError as error:
            self.halted = str(error)

    def next(self) -> TrialAssignment | None:
        """The next trial of the source, started."""
        trial = None
        with self.halting():
            trial = self.source.next_assignment()
            if trial is not None:
                self.trials[trial.number] = trial
                for listener in self.listeners:
                    listener.trial_started(trial)
        return None if self.halted else trial


class DispatchSearcher(Searcher):  # type: ignore[misc]
    """Gives trials to Tune: as many at once as the cluster has slots for, now that nodes have come or gone.

    A trial is suggested when it can start and not before: by then more is known.
    """

    def __init__(self, dispatch: Dispatch) -> None:
        super().__init__()
        self._dispatch = dispatch
        self._running: set[str] = set()
        self._slots = 0
        self._polled = -math.inf

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next trial, that there is none, or (None) that Tune should ask again."""
        source = self._dispatch.source
        if self._dispatch.halted:
            return str(Searcher.FINISHED)
        if len(self._running) >= self._free_slots():
            return None
        trial = self._dispatch.next()
        if trial is None:
            later = source.waits_for_results and not self._dispatch.halted
            return None if later else str(Searcher.FINISHED)
        self._running.add(trial_id)
        settings = trial.settings.model_dump(mode="json")
        folder = str(source.job.storage_path.within(trial.folder))
        return {"number": trial.number, "job": trial.job, "settings": settings, "folder": folder}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Free its slot."""
        self._running.discard(trial_id)

    def _free_slots(self) -> int:
        if time.monotonic() - self._polled > POLL_S:
            self._slots, self._polled = nodes.trial_slots(self._dispatch.source.job), time.monotonic()
        return self._slots

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the study is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the study is the state."""

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles what it is given; it is never unpickled


class ListenerCallback(tune.Callback):  # type: ignore[misc]
    """Turns Tune's callbacks into the events of `TrialListener`."""

    def __init__(self, dispatch: Dispatch) -> None:
        self._dispatch = dispatch

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **_: Any
    ) -> None:
        """An epoch ended."""
        if "epoch" in result and not ENDS & result.keys():
            report = EpochMetrics(**{name: result[name] for name in REPORT_FIELDS})
            with self._dispatch.halting():
                for listener in self._dispatch.listeners:
                    listener.epoch_ended(self._assignment(trial), report)

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:
        """A trial came to its end, with a result or with its reason for having none.

        One that was halted has not ended: its record stays as it is, and it is resumed another time.
        """
        assignment, last = self._assignment(trial), trial.last_result
        with self._dispatch.halting():
            if "halted" in last:
                raise HaltError(last["halted"])
            StoragePath.at(trial.config["folder"]).sync()
            if "failed" in last:
                self._fail(assignment, last["failed"])
                return
            result = read_result(assignment.folder)
            for listener in self._dispatch.listeners:
                listener.trial_finished(assignment, result)

    def on_trial_recover(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:
        """A trial's process died, and another one resumes it."""
        attempt = f"attempt {trial.num_failures + 1} of {MAX_FAILURES + 1}, from the last checkpoint"
        reason = f"its process died; {attempt} (whole trace: {trial.error_file})"
        for listener in self._dispatch.listeners:
            listener.trial_retried(self._assignment(trial), reason)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:
        """A trial died more often than it is retried."""
        printed = _error_text(trial)
        last = printed.splitlines()[-1] if printed else "the trial's process died"
        reason = f"{last} (whole trace: {trial.error_file})"
        with self._dispatch.halting():
            self._fail(self._assignment(trial), reason, printed[-ERROR_TAIL:])

    def _fail(self, trial: TrialAssignment, reason: str, details: str = "") -> None:
        for listener in self._dispatch.listeners:
            listener.trial_failed(trial, reason, details)

    def _assignment(self, trial: Trial) -> TrialAssignment:
        return self._dispatch.trials[trial.config["number"]]

    def __getstate__(self) -> dict[str, Any]:
        return {}


class HangCallback(tune.Callback):  # type: ignore[misc]
    """Kills trials whose processes no longer show a pulse, which a watchdog inside them should have done.

    Args:
        minutes: without an update, after which the watchdog ends the process.
    """

    def __init__(self, minutes: float) -> None:
        self._limit = 60 * minutes + HEAD_START
        self._pulses: dict[str, Stillness] = {}
        self._polled = -math.inf

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:
        """A process begins or resumes a trial. On another machine's disk its pulse is not seen."""
        storage = StoragePath.at(trial.config["folder"])
        if not storage.remote:
            self._pulses[trial.trial_id] = Stillness(storage.folder / PULSE)

    def on_step_end(self, iteration: int, trials: list[Trial], **_: Any) -> None:
        """Some tenths of a second have passed."""
        if time.monotonic() - self._polled < POLL_S:
            return
        self._polled = time.monotonic()
        for trial in trials:
            pulse = self._pulses.get(trial.trial_id)
            if trial.status == Trial.RUNNING and pulse and pulse.seconds() > self._limit:
                ray.kill(trial.temporary_state.ray_actor)  # Tune finds it dead and tries again

    def __getstate__(self) -> dict[str, Any]:
        return {}


def _trial_name(trial: Trial) -> str:
    return f"{trial.config['number']:04d}"


def _error_text(trial: Trial) -> str:
    path = trial.error_file
    return Path(path).read_text(encoding="utf-8", errors="replace").strip() if path and Path(path).exists() else ""
