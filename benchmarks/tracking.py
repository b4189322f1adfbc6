"""Tracking: what an epoch takes when 16 short trials tell one sqlite store of it, against telling nobody.

Trials are threads that multiply matrices, an epoch some hundredths of a second: real epochs are seconds or minutes, so
what is measured is the worst case. A thread of the search writes in the background, as in a search. Beside it MLflow
by itself, each trial writing its own batch after every epoch. The time of a round is the time until all is written.
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
Tell = Callable[[int, int], None]
"""Told of trial and epoch."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    parser = bench.parser("tracking", __doc__)
    parser.add_argument("--trials", type=bench.positive, default=16, help="at once (default: 16)")
    parser.add_argument("--epochs", type=bench.positive, default=20, help="of each trial (default: 20)")
    parser.add_argument("--work", type=bench.positive, default=40, help="matrix products of an epoch (default: 40)")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    trials = Trials(options.trials, options.epochs, options.work)
    report = bench.Report("tracking", "milliseconds an epoch, all trials together", options.json, arguments)
    with TemporaryDirectory() as place:
        contenders = {
            "nobody": lambda: trials.run(lambda trial, epoch: None),
            "munchray": lambda: told_by_munchray(trials, default_uri(Path(place))),
            "MLflow": lambda: told_by_each_trial(trials, default_uri(Path(place))),
        }
        measured = bench.interleaved(contenders, options.rounds)
    report.compare({"told": f"{len(EPOCH_METRICS)} metrics"}, measured, "ms", "nobody")
    report.note(f"{options.trials} trials at once, {options.epochs} epochs each; MLflow with sqlite on this disk")
    report.publish()


class Trials:
    """Trials that run at once and tell of every epoch."""

    def __init__(self, trials: int, epochs: int, work: int) -> None:
        self.count, self._epochs, self._work = trials, epochs, work
        self._matrix = torch.eye(SIZE)

    def run(self, tell: Tell, end: Callable[[], object] = lambda: None) -> float:
        """Milliseconds an epoch until all is told; ``end`` waits for that."""
        started = time.perf_counter()
        with ThreadPoolExecutor(self.count) as threads:
            list(threads.map(lambda trial: self._train(trial, tell), range(self.count)))
        end()
        return 1000 * (time.perf_counter() - started) / (self.count * self._epochs)

    def _train(self, trial: int, tell: Tell) -> None:
        for epoch in range(1, self._epochs + 1):
            for _ in range(self._work):
                self._matrix @ self._matrix
            tell(trial, epoch)


def told_by_munchray(trials: Trials, uri: str) -> float:
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


def told_by_each_trial(trials: Trials, uri: str) -> float:
    """As MLflow is used by itself: one batch after every epoch, written before the next begins."""
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("MLflow")
    number = experiment.experiment_id if experiment else client.create_experiment("MLflow")
    runs = [client.create_run(number).info.run_id for _ in range(trials.count)]

    def tell(trial: int, epoch: int) -> None:
        client.log_batch(runs[trial], [Metric(name, 1.0, int(1000 * time.time()), epoch) for name in EPOCH_METRICS])

    return trials.run(tell)


if __name__ == "__main__":
    main()
