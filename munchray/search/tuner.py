"""The bridge to Ray: trials of a search, or of a protocol, as Ray Tune trials on a cluster's cores and GPUs. (ray)

Tune schedules, retries and streams reports. What must survive lies in the search's folder and its study, so a search
goes on by starting a new Tune experiment over what is left; Tune's own restore, which unpickles searchers, is not used.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Protocol

# Before Ray is imported.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import ray
from ray import tune
from ray.tune.experiment import Trial
from ray.tune.search import Searcher

from munchray.errors import InputError, Interrupted, Problem
from munchray.search import worker
from munchray.search.search import Handout
from munchray.settings import Job
from munchray.training.data import DataSpec
from munchray.training.record import EpochReport

MOST_FAILURES = 2
"""Retries of a trial whose process died; each goes on from its last checkpoint."""

REPORT_FIELDS = tuple(field.name for field in fields(EpochReport))


def connect(address: str | None) -> None:
    """Start Ray on this machine, or join the cluster at ``address``.

    Raises:
        InputError: there is no cluster at the address.
    """
    try:
        ray.init(address=address, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, ValueError, RuntimeError) as error:
        found = f"no Ray cluster answers at '{address}' ({str(error).splitlines()[0]})"
        fix = "Start one with `ray start --head`, or leave --address out to use this machine"
        raise InputError(Problem("--address", found, fix=fix)) from error


def slots(job: Job) -> int:
    """How many trials of a job the connected cluster runs at once.

    Raises:
        InputError: not even one, or fewer than ``concurrent_trials``.
    """
    cluster, wanted = ray.cluster_resources(), job.resources_per_trial
    needs = {"CPU": wanted.cpu, "GPU": wanted.gpu}
    most = {kind: int(cluster.get(kind, 0) / need + 1e-9) for kind, need in needs.items() if need}
    has = f"the cluster has {cluster.get('CPU', 0):g} CPUs and {cluster.get('GPU', 0):g} GPUs"
    problems = [
        Problem(f"job {job.name}", f"resources_per_trial.{kind.lower()} is {needs[kind]:g} but {has}")
        for kind, count in most.items()
        if count < 1
    ]
    room = min(most.values())
    if not problems and job.concurrent_trials and job.concurrent_trials > room:
        found = f"concurrent_trials is {job.concurrent_trials} but {has}"
        fix = "Lower it, or leave it out to use all there is"
        problems.append(Problem(f"job {job.name}", found, f"at most {room}", fix))
    if problems:
        raise InputError(*problems)
    return job.concurrent_trials or room


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

    def hand_out(self) -> Handout | None:
        """A trial to run, if there is one now."""

    def epoch_ended(self, number: int, report: EpochReport) -> None:
        """A trial reported."""

    def trial_finished(self, number: int) -> None:
        """A trial left its result in its folder."""

    def trial_failed(self, number: int, reason: str) -> None:
        """A trial ended without one."""

    def close(self) -> bool:
        """Nothing runs any more; whether all trials have ended."""


def run(search: Trials, data: Mapping[str, DataSpec], concurrent: int) -> None:
    """Run what is left of a search or a protocol.

    Args:
        data: what the trials of each job train on, by the job's name.

    Raises:
        Interrupted: the user stopped it.
    """
    run_with(search, _trainable(search, data), concurrent)


def run_with(search: Trials, trainable: Any, concurrent: int) -> None:
    """The same with any trainable that reports as `worker.train` does.

    Raises:
        Interrupted: the user stopped it.
    """
    if search.trials_left > 0:
        _tuner(search, trainable, concurrent).fit()
    if not search.close():
        raise Interrupted("finished trials are kept; the same command goes on where this stopped")


def _trainable(search: Trials, data: Mapping[str, DataSpec]) -> Any:
    job = search.job
    # A trial that was given no GPU leaves those it may see to others.
    device = job.device if job.resources_per_trial.gpu else "cpu"
    stages = str(Path(job.stage_folder).resolve())  # a worker runs in a folder of its own
    shared = worker.Shared(data, device, job.resources_per_trial.cpu, stages, job.stages_gb)
    return tune.with_parameters(worker.train, shared=shared)


def _tuner(search: Trials, trainable: Any, concurrent: int) -> tune.Tuner:
    job = search.job
    resources = {"cpu": job.resources_per_trial.cpu, "gpu": job.resources_per_trial.gpu}
    return tune.Tuner(
        tune.with_resources(trainable, resources),
        tune_config=tune.TuneConfig(
            search_alg=StudySearcher(search),
            num_samples=search.trials_left,
            max_concurrent_trials=concurrent,
            trial_name_creator=_trial_name,
            trial_dirname_creator=_trial_name,
            reuse_actors=True,  # a process start and the import of torch once a core, not once a trial
        ),
        run_config=tune.RunConfig(
            name=time.strftime("%Y%m%d-%H%M%S"),
            storage_path=str(search.folder / "tune"),
            failure_config=tune.FailureConfig(max_failures=MOST_FAILURES),
            callbacks=[SearchCallback(search)],
            verbose=0,
        ),
    )


class StudySearcher(Searcher):  # type: ignore[misc]
    """Hands trials to Tune."""

    def __init__(self, search: Trials) -> None:
        super().__init__()
        self._search = search

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next trial, that there is none, or (None) that Tune should ask again."""
        trial = self._search.hand_out()
        if trial is None:
            return None if self._search.more_later else str(Searcher.FINISHED)
        settings = trial.settings.model_dump(mode="json")
        return {"number": trial.number, "job": trial.job, "settings": settings, "folder": str(trial.folder)}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Nothing: `SearchCallback` tells the search."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the study is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the study is the state."""

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles what it is given; nobody unpickles it


class SearchCallback(tune.Callback):  # type: ignore[misc]
    """Tells the search what Tune sees."""

    def __init__(self, search: Trials) -> None:
        self._search = search

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **_: Any
    ) -> None:
        """An epoch ended."""
        if "epoch" in result and "finished" not in result and "failed" not in result:
            report = EpochReport(**{name: result[name] for name in REPORT_FIELDS})
            self._search.epoch_ended(trial.config["number"], report)

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:
        """A trial came to its end, with a result or with its reason for having none."""
        reason = trial.last_result.get("failed")
        if reason:
            self._search.trial_failed(trial.config["number"], reason)
        else:
            self._search.trial_finished(trial.config["number"])

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:
        """A trial died more often than it is retried."""
        self._search.trial_failed(trial.config["number"], _error_text(trial))

    def __getstate__(self) -> dict[str, Any]:
        return {}


def _trial_name(trial: Trial) -> str:
    return f"{trial.config['number']:04d}"


def _error_text(trial: Trial) -> str:
    path = trial.error_file
    text = Path(path).read_text(encoding="utf-8", errors="replace") if path and Path(path).exists() else ""
    last = text.strip().splitlines()[-1:] or ["the trial's process died"]
    return f"{last[0]} (whole trace: {path})" if path else last[0]
