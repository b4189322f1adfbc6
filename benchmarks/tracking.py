"""Cost of tracking per epoch: 16 concurrent short trials log to one sqlite store, against no tracking.

Trials are threads that multiply matrices, with epochs of some hundredths of a second: real epochs take seconds or
minutes, so this is the worst case. Our logger writes in a background thread, as in a search; plain MLflow writes a
batch per trial and epoch. The time of a round is the time until everything is written.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from mlflow.entities import Metric
from mlflow.tracking import MlflowClient

from benchmarks import bench
from munchray.tracking.mlflow_logger import EPOCH_METRICS
from munchray.tracking.run_writer import RunWriter, default_uri

SIZE = 256  # of the matrices
Log = Callable[[int, int], None]
"""Logs an epoch, given trial and epoch."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    parser = bench.parser("tracking", __doc__)
    parser.add_argument("--trials", type=bench.positive, default=16, help="at once (default: 16)")
    parser.add_argument("--epochs", type=bench.positive, default=20, help="of each trial (default: 20)")
    parser.add_argument("--work", type=bench.positive, default=40, help="matrix products of an epoch (default: 40)")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    trials = Trials(options.trials, options.epochs, options.work)
    results = bench.Results("tracking", "milliseconds per epoch, all trials together", options.json, arguments)
    with TemporaryDirectory() as temporary:
        contenders = {
            "no tracking": lambda: trials.run(lambda trial, epoch: None),
            "munchray": lambda: log_by_munchray(trials, default_uri(Path(temporary))),
            "MLflow": lambda: log_by_mlflow(trials, default_uri(Path(temporary))),
        }
        measured = bench.interleaved(contenders, options.rounds)
    results.compare({"logged": f"{len(EPOCH_METRICS)} metrics"}, measured, "ms", "no tracking")
    results.note(f"{options.trials} trials at once, {options.epochs} epochs each; MLflow with sqlite on this disk")
    results.publish()


class Trials:
    """Concurrent trials that log every epoch."""

    def __init__(self, trials: int, epochs: int, work: int) -> None:
        self.count, self._epochs, self._work = trials, epochs, work
        self._matrix = torch.eye(SIZE)

    def run(self, log: Log, end: Callable[[], object] = lambda: None) -> float:
        """Milliseconds per epoch until everything is written; ``end`` waits for that."""
        started = time.perf_counter()
        with ThreadPoolExecutor(self.count) as threads:
            list(threads.map(lambda trial: self._train(trial, log), range(self.count)))
        end()
        return 1000 * (time.perf_counter() - started) / (self.count * self._epochs)

    def _train(self, trial: int, log: Log) -> None:
        for epoch in range(1, self._epochs + 1):
            for _ in range(self._work):
                self._matrix @ self._matrix
            log(trial, epoch)


def log_by_munchray(trials: Trials, uri: str) -> float:
    """As a search does: buffers, and a thread that writes them."""
    writer = RunWriter(uri, "munchray", str(time.time()))
    search = writer.open(None, "search", {})
    writer.start_search(search, {})
    runs = [
        writer.open(trial, f"{trial}", {"order": ("a", "b"), "learning_rate": 0.1}) for trial in range(trials.count)
    ]

    def end() -> None:
        for run in (*runs, search):
            run.close("FINISHED")
        lacking = writer.close()
        assert not lacking, lacking

    return trials.run(lambda trial, epoch: runs[trial].add_points(dict.fromkeys(EPOCH_METRICS, 1.0), epoch), end)


def log_by_mlflow(trials: Trials, uri: str) -> float:
    """Log by plain MLflow: one synchronous batch after every epoch."""
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("MLflow")
    number = experiment.experiment_id if experiment else client.create_experiment("MLflow")
    runs = [client.create_run(number).info.run_id for _ in range(trials.count)]

    def log(trial: int, epoch: int) -> None:
        client.log_batch(runs[trial], [Metric(name, 1.0, int(1000 * time.time()), epoch) for name in EPOCH_METRICS])

    return trials.run(log)


if __name__ == "__main__":
    main()
