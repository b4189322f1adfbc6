"""Training speed as the work grows: more sentences, more tags, longer sentences.

The sentences are synthetic. Every case trains on about as many tokens per round, so only the kind of work differs; the
longer the sentences, the fewer they are. Ratios are to the base case.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from benchmarks import bench, workload
from munchray.training.machine import use_threads


class Case(NamedTuple):
    """The size of a corpus."""

    sentences: int
    types: int
    mean_length: int

    @property
    def tags(self) -> int:
        """Size of its IOB2 tag set."""
        return 2 * self.types + 1


BASE = Case(5_000, 3, 25)
CASES = {
    "sentences": [Case(number, 3, 25) for number in (1_000, 5_000, 12_000, 30_000)],
    "tags": [Case(5_000, types, 25) for types in (3, 10, 30)],
    "mean length": [Case(125_000 // length, 3, length) for length in (10, 25, 50, 100)],
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    parser = bench.parser("growth", __doc__)
    parser.add_argument("--inputs", type=bench.positive, default=612, help="features per token (default: 612)")
    parser.add_argument("--batch", type=bench.positive, default=32, help="sentences per batch (default: 32)")
    parser.add_argument("--units", type=bench.positive, default=256, help="of the LSTM each way (default: 256)")
    parser.add_argument(
        "--tokens", type=bench.positive, default=10_000, help="per round and case, about (default: 10,000)"
    )
    options = parser.parse_args(arguments)
    use_threads(1)
    results = bench.Results("growth", "training tokens/s on one core as the work grows", options.json, arguments)
    measured = measure(options)
    for growing, cases in CASES.items():
        for case in cases:
            size = {"sentences": case.sentences, "tags": case.tags, "mean length": case.mean_length}
            ratio = measured[case].over(measured[BASE])
            results.add(growing=growing, **size, **{"tokens/s": measured[case], "ratio": ratio})
    results.note(f"{options.inputs} inputs, batch {options.batch}, {options.units} units, batches at random, float32")
    results.publish()


def measure(options: argparse.Namespace) -> dict[Case, bench.Measured]:
    """Tokens/s of each case."""
    cases = {str(case): case for several in CASES.values() for case in several}
    vectors = workload.Vectors(options.inputs)
    with TemporaryDirectory() as temporary:
        contenders = {name: training(case, vectors, Path(temporary), options) for name, case in cases.items()}
        measured = bench.interleaved(contenders, options.rounds, "all cases")
    return {case: measured[name] for name, case in cases.items()}


def training(case: Case, vectors: workload.Vectors, folder: Path, options: argparse.Namespace) -> bench.Contender:
    """A contender that trains on about ``--tokens`` tokens per round, from the start of an epoch."""
    texts = workload.invented(case.sentences, case.mean_length, case.types)
    data = workload.trial_data({"train": texts}, vectors, folder, "iob2")
    chosen = workload.settings(batch_size=options.batch, hidden_size=options.units, tag_scheme="iob2")
    updates = max(1, round(options.tokens / (options.batch * case.mean_length)))
    return workload.Training(chosen, data, updates).tokens_per_second


if __name__ == "__main__":
    main()
