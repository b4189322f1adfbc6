"""Training on one core: tokens/s of our loop and of Flair's trainer.

Both train a BiLSTM-CRF of the same size on the same sentences with the same frozen vectors. Ours are read from the
memory-mapped feature store, Flair's are on its tokens in memory, so embedding is not timed. Only epochs of training
are timed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import bench, workload
from munchray.training.data import TrialData
from munchray.training.machine import use_threads

BATCHINGS = ("random", "by_length")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    parser = bench.parser("training", __doc__)
    workload.add_sizes(parser, sentences=256, inputs=(104, 612, 1000), batch=(16, 32))
    options = parser.parse_args(arguments)
    from benchmarks import flair_side  # many seconds

    use_threads(1)
    results = bench.Results("training", "training tokens/s on one core", options.json, arguments)
    texts = workload.sentences("train", options.sentences)
    theirs = [flair_side.with_labels(sentence) for sentence in texts]
    with TemporaryDirectory() as temporary:
        for width in options.inputs:
            vectors = workload.Vectors(width)
            data = workload.trial_data({"train": texts}, vectors, Path(temporary), "iobes")
            for batch in options.batch:
                flair = flair_side.Training(theirs, vectors, Path(temporary), batch=batch, units=options.units)
                contenders = {"Flair": flair.tokens_per_second, **ours(data, batch, options.units)}
                measured = bench.interleaved(contenders, options.rounds, f"{width} inputs, batch {batch}")
                results.compare({"inputs": width, "batch": batch}, measured, "tokens/s", "Flair")
            for sentence in theirs:
                sentence.clear_embeddings()
    results.note(workload.described(texts, "train"))
    if "bfloat16" not in workload.precisions():
        results.note(workload.NO_BFLOAT16)
    results.publish()


def ours(data: TrialData, batch: int, units: int) -> dict[str, bench.Contender]:
    """Our loop in every batching and every precision of this CPU."""
    return {
        f"munchray, {batching}, {precision}": workload.Training(
            workload.settings(batch_size=batch, hidden_size=units, batching=batching, precision=precision), data
        ).tokens_per_second
        for precision in workload.precisions()
        for batching in BATCHINGS
    }


if __name__ == "__main__":
    main()
