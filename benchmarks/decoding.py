"""Decoding and scoring a dev split: our `score` and Flair's `evaluate`, and their share of an epoch's time.

Both taggers train an epoch before the first round, because untrained weights find entities everywhere, and one more in
each further round. The vectors of the dev split are in the feature store and on Flair's tokens.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import bench, workload
from benchmarks.bench import Measured
from munchray.corpora.reader import Sentence
from munchray.training import loop
from munchray.training.data import Split
from munchray.training.machine import use_threads

TRAINS, SCORES = "trains", "scores"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    parser = bench.parser("decoding", __doc__)
    workload.add_sizes(parser, sentences=200, inputs=(104, 612), batch=(32,))
    parser.add_argument("--dev", type=bench.positive, help="sentences to decode (default: the whole split)")
    options = parser.parse_args(arguments)
    use_threads(1)
    results = bench.Results("decoding", "decoding and scoring a dev split on one core", options.json, arguments)
    train, dev = workload.sentences("train"), workload.sentences("dev", options.dev)
    sizes = workload.tokens_of(dev), workload.tokens_of(train)
    with TemporaryDirectory() as temporary:
        for width in options.inputs:
            for batch in options.batch:
                case = {"inputs": width, "batch": batch}
                some = train[: options.sentences]
                contenders = both(some, dev, Path(temporary), width=width, batch=batch, units=options.units)
                add_rows(results, case, bench.interleaved(contenders, options.rounds, f"{width} inputs"), sizes)
    results.note(workload.described(dev, "dev"))
    results.note(f"share: of the time of an epoch on the whole train split ({sizes[1]:,} tokens) at the measured speed")
    results.publish()


def both(
    train: Sequence[Sentence], dev: Sequence[Sentence], folder: Path, *, width: int, batch: int, units: int
) -> dict[str, bench.Contender]:
    """The contenders of a round: each side trains, then scores."""
    from benchmarks import flair_side  # many seconds

    vectors = workload.Vectors(width)
    data = workload.trial_data({"train": train, "dev": dev}, vectors, folder, "iobes")
    ours = workload.Training(workload.settings(batch_size=batch, hidden_size=units), data)
    theirs_dev = [flair_side.with_labels(sentence) for sentence in dev]
    flair_side.Frozen(vectors).embed(theirs_dev)
    theirs_train = [flair_side.with_labels(sentence) for sentence in train]
    theirs = flair_side.Training(theirs_train, vectors, folder, batch=batch, units=units)
    return {
        f"Flair {TRAINS}": theirs.tokens_per_second,
        f"Flair {SCORES}": lambda: theirs.evaluate(theirs_dev),
        f"munchray {TRAINS}": ours.tokens_per_second,
        f"munchray {SCORES}": lambda: scored(ours, data.dev[workload.MAIN]),
    }


def scored(training: workload.Training, dev: Split) -> float:
    """Tokens/s of decoding and scoring with our tagger."""
    started = time.perf_counter()
    loop.score(training.tagger, dev, workload.MAIN)
    return int(dev.lengths.sum()) / (time.perf_counter() - started)


def add_rows(
    results: bench.Results, case: Mapping[str, int], measured: Mapping[str, Measured], sizes: tuple[int, int]
) -> None:
    """Add a row for each side; ``sizes`` are the tokens of the dev split and of the whole train split."""
    flair = measured[f"Flair {SCORES}"]
    for side in ("Flair", "munchray"):
        scores, trains = measured[f"{side} {SCORES}"], measured[f"{side} {TRAINS}"]
        share = trains.over(scores).times(100 * sizes[0] / sizes[1])
        cells = {"tokens/s": scores, "ratio to Flair": scores.over(flair), "percent of an epoch": share}
        results.add(**case, contender=side, **cells)


if __name__ == "__main__":
    main()
