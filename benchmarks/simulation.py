"""How a search scales: simulated trials through the real search, and the cost of its driver per trial.

A trial is a Stack whose stages take simulated time: `--stage` seconds in the median, lognormally distributed, each with
`--epochs` reports. `--slots` trials run concurrently by a simulated clock: no sleeping and no training, but study,
journal, sampler, stage reuse, MLflow store (sqlite) and trial folders are real. The cost of the driver is measured in
blocks of a tenth of the trials: processor time of suggestions, of recording epochs and results, of flushing to MLflow
every two simulated seconds; MLflow requests; files that the driver opens. `busy` is the sum of these times over the
simulated time: at 1 the driver is saturated.

Ray is not included: `benchmarks.overhead` measures the cost of Tune per trial.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import numpy as np

from benchmarks import bench
from benchmarks.by_hand import OpenSearch, opened
from munchray.files import write_json
from munchray.settings import Job, TrialSettings, load_job
from munchray.tagging.scoring import SpanCounts
from munchray.tracking import mlflow_client, run_writer
from munchray.tracking.mlflow_logger import MLflowLogger
from munchray.training.events import TrialAssignment
from munchray.training.trial_results import (
    EpochMetrics,
    StageResult,
    TrialResult,
    append_epoch,
    read_result,
    write_result,
)
from munchray.tuning.folder import search_folder
from munchray.tuning.study import Study

JOB = """
main: sample-disease-1
auxiliaries: [sample-disease-2, sample-gene-1, sample-gene-2, sample-species-1, sample-species-2, sample-chemical-1,
  sample-chemical-2]
regime: stack
search_space:
  learning_rate: [0.2, 0.1]
  order: {of: auxiliaries, adjacent: different_type}
embeddings: [{train: {characters: forward}}]
"""
BLOCKS = 10
REQUESTS = (
    *("create_run", "log_batch", "log_artifacts", "log_text", "update_run", "set_terminated"),
    *("search_runs", "get_run", "get_metric_history"),
)
Stage = tuple[float, tuple[str, ...]]
"""Key of a shared stage: the learning rate and the prefix of the order."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Simulate, print and write."""
    options = _parser().parse_args(arguments)
    results = bench.Results(
        "simulation", f"{options.trials} simulated trials, {options.slots} at once", options.json, arguments
    )
    with TemporaryDirectory() as folder:
        simulation = Simulation(options, Path(folder))
        for block in simulation.run():
            results.add(**block)
        results.note(simulation.reopened())
    results.publish()


def _parser() -> argparse.ArgumentParser:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m benchmarks.simulation", description=__doc__, formatter_class=form)
    parser.add_argument("--json", type=Path, default=bench.FOLDER / "results" / "simulation.json")
    parser.add_argument("--trials", type=bench.positive, default=1000, help="default: 1,000")
    parser.add_argument("--slots", type=bench.positive, default=64, help="trials at once (default: 64)")
    parser.add_argument("--stage", type=float, default=60.0, help="median seconds of a stage (default: 60)")
    parser.add_argument("--epochs", type=bench.positive, default=5, help="of a stage (default: 5)")
    parser.add_argument("--sampler", default="order_gp", help="default: order_gp")
    return parser


@dataclass
class Spent:
    """Cost of the driver in one block of trials."""

    seconds: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)

    @contextmanager
    def on(self, what: str) -> Iterator[None]:
        """Add the processor time of this thread, and the files that it opens, in the block."""
        began, opened = time.thread_time(), OPENED.count
        yield
        self.seconds[what] += time.thread_time() - began
        self.counts["files"] += OPENED.count - opened


class Opened:
    """An audit hook that counts the files opened by this process."""

    count = 0

    def __call__(self, event: str, arguments: object) -> None:
        """Called by Python for every audit event."""
        self.count += event == "open"


OPENED = Opened()


class Simulation:
    """One search under a simulated clock."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self._options = options
        self._folder = folder
        self._rng = np.random.default_rng(1)
        self._stages: dict[Stage, float] = {}  # time at which each is trained
        self._scores: dict[Stage, float] = {}
        self._running: dict[int, TrialAssignment] = {}
        self._events: list[tuple[float, int, int, EpochMetrics | None]] = []
        self._sequence = itertools.count()  # of equal times the first
        self._spent = Spent()

    def run(self) -> Iterator[dict[str, object]]:
        """Run the search; yields a row per block."""
        sys.addaudithook(OPENED)
        began, told, ended, since = 0.0, 0.0, 0, time.perf_counter()
        with self._requests_counted(), _no_background_writes(), opened(self._job(), "simulated") as search:
            self._fill(search, 0.0)
            while self._events:
                now, _, number, report = heapq.heappop(self._events)
                if now - told >= run_writer.FLUSH_S:
                    self._flush(search.logger)
                    told = now
                ended += self._happen(search, now, number, report)
                if report is None and ended % max(1, self._options.trials // BLOCKS) == 0:
                    yield self._row(ended, now - began, time.perf_counter() - since)
                    began, since = now, time.perf_counter()

    def reopened(self) -> str:
        """How long it takes to open the study with all of it again."""
        job, began = self._job(), time.process_time()
        left = Study.open(job, search_folder(job)).unsuggested(job.trials)
        took = time.process_time() - began
        journal = (search_folder(job) / "study.journal").stat().st_size / 2**20
        return f"Opened again: {took:.1f} s of processor time, {left} trials left, a journal of {journal:.1f} MB"

    def _job(self) -> Job:
        path, options = self._folder / "job.yaml", self._options
        path.write_text(JOB, encoding="utf-8")
        changes = [
            f"trials={options.trials}",
            f"storage={self._folder}",
            f"sampler={options.sampler}",
            "name=simulated",
        ]
        return load_job(path, changes)

    def _fill(self, search: OpenSearch, now: float) -> None:
        """A trial for every free slot."""
        while len(self._running) < self._options.slots and search.search.trials_left > 0:
            with self._spent.on("suggest"):
                trial = search.search.next_assignment()
            if trial is None:
                return
            for listener in search.listeners:
                listener.trial_started(trial)
            self._running[trial.number] = trial
            self._plan(trial, now)

    def _plan(self, trial: TrialAssignment, now: float) -> None:
        """Schedule the reports of a trial: trained stages cost nothing, stages in training elsewhere are awaited."""
        at, updates, epoch = now, 0, 0
        for length, stage in enumerate(_stages_of(trial.settings), start=1):
            if stage in self._stages:
                at = max(at, self._stages[stage])
                updates += 100
                continue
            took = self._options.stage * float(self._rng.lognormal(0.0, 0.3))
            for step in range(1, self._options.epochs + 1):
                updates, epoch = updates + 100 // self._options.epochs, epoch + 1
                moment = at + took * (step / self._options.epochs)  # the last one is exactly the end
                self._at(moment, trial.number, self._report(epoch, length, step, updates, moment - now))
            at += took
            self._stages[stage] = at
        self._at(at, trial.number, None)

    def _at(self, moment: float, number: int, report: EpochMetrics | None) -> None:
        heapq.heappush(self._events, (moment, next(self._sequence), number, report))

    def _happen(self, search: OpenSearch, now: float, number: int, report: EpochMetrics | None) -> int:
        """One report, or the end of a trial: then 1."""
        trial = self._running[number]
        if report is not None:
            trial.folder.mkdir(parents=True, exist_ok=True)
            append_epoch(trial.folder, report)  # written by the worker
            with self._spent.on("note"):
                for listener in search.listeners:
                    listener.epoch_ended(trial, report)
            return 0
        self._finish(trial)
        with self._spent.on("note"):
            result = read_result(trial.folder)
            for listener in search.listeners:
                listener.trial_finished(trial, result)
        del self._running[number]
        self._fill(search, now)
        return 1

    def _finish(self, trial: TrialAssignment) -> None:
        """Write the files of a finished trial."""
        stages = [
            StageResult(stage[1], self._score(stage), 100 * length)
            for length, stage in enumerate(_stages_of(trial.settings), start=1)
        ]
        right = round(10 * stages[-1].dev_f1)
        counts = SpanCounts(right, 1000 - right, 1000 - right)
        trial.folder.mkdir(parents=True, exist_ok=True)
        write_json(trial.folder / "settings.json", trial.settings.model_dump(mode="json"))
        write_result(trial.folder, TrialResult({trial.settings.main: counts}, [], stages, 700, 1.0, "simulated"))

    def _score(self, stage: Stage) -> float:
        """Simulated dev F1: more auxiliaries help, with noise per stage."""
        rate, order = stage
        noise = self._rng.normal(0.0, 0.5)
        before = self._scores[rate, order[:-1]] if len(order) > 1 else 60.0
        return self._scores.setdefault(stage, before + 1.0 + noise)

    def _report(self, epoch: int, stage: int, step: int, updates: int, seconds: float) -> EpochMetrics:
        score = 60.0 + stage + float(self._rng.normal(0.0, 0.5))
        return EpochMetrics(epoch, stage, "", step, updates, 0.1, 1.0, score, score, score, 4000.0, 0.0, seconds)

    def _flush(self, logger: MLflowLogger) -> None:
        with self._spent.on("MLflow"):
            logger.flush()

    @contextmanager
    def _requests_counted(self) -> Iterator[None]:
        """Count every call that an MLflow server would get as a request or more."""
        with patch.multiple(mlflow_client.MlflowClient, **{name: self._counted(name) for name in REQUESTS}):
            yield

    def _counted(self, name: str) -> Callable[..., object]:
        method = getattr(mlflow_client.MlflowClient, name)

        def call(*arguments: object, **options: object) -> object:
            self._spent.counts["requests"] += 1
            return method(*arguments, **options)

        return call

    def _row(self, ended: int, simulated: float, wall: float) -> dict[str, object]:
        spent, self._spent = self._spent, Spent()
        block = max(1, self._options.trials // BLOCKS)
        times = {f"{what}, ms": 1000 * spent.seconds[what] / block for what in ("suggest", "note", "MLflow")}
        counts = {f"{what} a trial": spent.counts[what] / block for what in ("requests", "files")}
        return {
            "trials": ended,
            **times,
            **counts,
            "trials an hour": 3600 * block / simulated,
            "busy": sum(spent.seconds.values()) / simulated,
            "wall, s": wall,
        }


def _stages_of(settings: TrialSettings) -> list[Stage]:
    order = settings.auxiliaries
    return [(settings.learning_rate, order[:length]) for length in range(1, len(order) + 1)]


@contextmanager
def _no_background_writes() -> Iterator[None]:
    """MLflow is written to by the simulated clock, and not by a thread and the real one."""
    with patch.object(run_writer.RunWriter, "_start_thread", lambda writer: None):
        yield


if __name__ == "__main__":
    main()
