"""Two concurrent one-thread trials against one trial with two threads: total tokens/s."""

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
    """The work of every trial."""

    folder: Path
    sentences: int
    inputs: int
    batch: int
    units: int

    def training(self) -> workload.Training:
        """A training on this work; the first call fills the shared feature store."""
        texts = workload.sentences("train", self.sentences)
        data = workload.trial_data({"train": texts}, workload.Vectors(self.inputs), self.folder, "iobes")
        return workload.Training(workload.settings(batch_size=self.batch, hidden_size=self.units), data)


class Trial:
    """A process that trains an epoch on request."""

    def __init__(self, work: Work, threads: int) -> None:
        self._end, other = SPAWN.Pipe()
        self._process = SPAWN.Process(target=_serve, args=(work, threads, other), daemon=True)
        self._process.start()
        other.close()  # so that receiving from a dead process raises
        self._end.recv()  # ready

    def start(self) -> None:
        """Begin an epoch."""
        self._end.send("epoch")

    def wait(self) -> int:
        """Wait for the epoch to end; returns its tokens."""
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
    results = bench.Results("threads", "training tokens/s of all trials together", options.json, arguments)
    with TemporaryDirectory() as temporary:
        for inputs in options.inputs:
            for batch in options.batch:
                work = Work(Path(temporary), options.sentences, inputs, batch, options.units)
                case = {"inputs": inputs, "batch": batch}
                measured = measure(work, options.rounds)
                results.compare(case, measured, "tokens/s", "1 trial, 2 threads")
    results.note(workload.described(workload.sentences("train", options.sentences), "train"))
    results.publish()


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
    """Total tokens/s until the last trial has finished its epoch."""
    started = time.perf_counter()
    for trial in trials:
        trial.start()
    tokens = sum(trial.wait() for trial in trials)
    return tokens / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
