"""Two one-thread trials side by side against one trial with two threads: tokens/s of all trials together."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import bench, workload
from munchray.training.machine import use_threads

SPAWN = multiprocessing.get_context("spawn")  # a forked process would have its parent's thread pools


@dataclass(frozen=True)
class Work:
    """What every trial trains on."""

    folder: Path
    sentences: int
    inputs: int
    batch: int
    units: int

    def training(self) -> workload.Training:
        """The training of one trial; its features are in the common store after the first."""
        texts = workload.sentences("train", self.sentences)
        data = workload.trial_data({"train": texts}, workload.Vectors(self.inputs), self.folder, "iobes")
        return workload.Training(workload.settings(batch_size=self.batch, hidden_size=self.units), data)


class Trial:
    """A process that trains an epoch whenever it is told to."""

    def __init__(self, work: Work, threads: int) -> None:
        self._end, other = SPAWN.Pipe()
        self._process = SPAWN.Process(target=_serve, args=(work, threads, other), daemon=True)
        self._process.start()
        other.close()  # so that waiting for a process that died is an error
        self._end.recv()  # it is ready

    def start(self) -> None:
        """Begin an epoch."""
        self._end.send("epoch")

    def wait(self) -> int:
        """Until the epoch is over; its tokens."""
        tokens: int = self._end.recv()
        return tokens

    def stop(self) -> None:
        """End the process."""
        self._end.close()
        self._process.join()


def _serve(work: Work, threads: int, end: Connection) -> None:
    use_threads(threads)
    training = work.training()
    end.send("ready")
    while True:
        try:
            end.recv()
        except EOFError:
            return
        end.send(training.epoch().tokens)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    parser = bench.parser("threads", __doc__)
    workload.add_sizes(parser, sentences=400, inputs=(104, 612), batch=(32,))
    options = parser.parse_args(arguments)
    report = bench.Report("threads", "training tokens/s of all trials together", options.json, arguments)
    with TemporaryDirectory() as place:
        for inputs in options.inputs:
            for batch in options.batch:
                work = Work(Path(place), options.sentences, inputs, batch, options.units)
                case = {"inputs": inputs, "batch": batch}
                measured = measure(work, options.rounds)
                report.compare(case, measured, "tokens/s", "1 trial, 2 threads")
    report.note(workload.described(workload.sentences("train", options.sentences), "train"))
    report.publish()


def measure(work: Work, rounds: int) -> dict[str, bench.Measured]:
    """Tokens/s of one trial with one and with two threads, and of two with one."""
    work.training()  # fills the store
    single, other, double = Trial(work, 1), Trial(work, 1), Trial(work, 2)
    contenders = {
        "1 trial, 1 thread": lambda: tokens_per_second([single]),
        "1 trial, 2 threads": lambda: tokens_per_second([double]),
        "2 trials, 1 thread each": lambda: tokens_per_second([single, other]),
    }
    try:
        return bench.interleaved(contenders, rounds, f"{work.inputs} inputs")
    finally:
        for trial in (single, other, double):
            trial.stop()


def tokens_per_second(trials: Sequence[Trial]) -> float:
    """Of all of them, until the last has finished its epoch."""
    started = time.perf_counter()
    for trial in trials:
        trial.start()
    tokens = sum(trial.wait() for trial in trials)
    return tokens / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
