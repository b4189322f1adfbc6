"""Embedding text once: building our feature store, and Flair embedding the same sentences batch by batch.

Both read the same files: two character language models, and subword vectors where the folder has them. Ours writes
float16 to the disk, Flair discards each batch. Opening the files is not timed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import bench, workload
from munchray.features import store
from munchray.features.sources import Sentences, embedding_sources, parse_embedding
from munchray.storage.path import StoragePath
from munchray.training.machine import use_threads

MODELS = ("charlm-forward.pt", "charlm-backward.pt")
SUBWORDS = "fasttext-100.gensim"
VARIABLE = "MUNCHRAY_EMBEDDINGS"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    parser = bench.parser("embedding", __doc__)
    parser.add_argument("--sentences", type=bench.positive, default=1000, help="to embed (default: 1000)")
    parser.add_argument("--embeddings", type=Path, help=f"folder of the files (default: ${VARIABLE})")
    options = parser.parse_args(arguments)
    folder = options.embeddings or Path(os.environ.get(VARIABLE, "."))
    models, subwords = [folder / name for name in MODELS], folder / SUBWORDS
    if missing := [path.name for path in models if not path.is_file()]:
        parser.error(f"no {' and no '.join(missing)} in {folder}: set {VARIABLE} or --embeddings")
    cases = {"characters": models}
    if subwords.is_file():
        cases["characters and subwords"] = [*models, subwords]
    from benchmarks import flair_side  # many seconds

    use_threads(1)
    results = bench.Results("embedding", "embedding tokens/s on one core", options.json, arguments)
    texts = workload.sentences("train", options.sentences)
    tokens = [sentence.tokens for sentence in texts]
    with TemporaryDirectory() as temporary:
        for case, files in cases.items():
            flair = flair_side.Embedding(tokens, files)
            contenders = {"Flair": flair.tokens_per_second, "munchray": ours(tokens, files, Path(temporary))}
            measured = bench.interleaved(contenders, options.rounds, case)
            results.compare({"embeddings": case}, measured, "tokens/s", "Flair")
    results.note(workload.described(texts, "train"))
    results.publish()


def ours(tokens: Sentences, files: Sequence[Path], folder: Path) -> bench.Contender:
    """A contender that builds a new feature store in every round."""
    entries = [str(path) if path.suffix == ".pt" else f"fasttext:{path}" for path in files]
    specs = [parse_embedding(entry, "--embeddings") for entry in entries]
    sources = embedding_sources(specs, lambda: tokens, StoragePath.at(folder / "embedders"), _ignore)
    for source in sources:
        source.open()

    def tokens_per_second() -> float:
        with TemporaryDirectory(dir=folder) as fresh:
            started = time.perf_counter()
            store.build(tokens, sources, StoragePath.at(fresh), _ignore)
            return sum(map(len, tokens)) / (time.perf_counter() - started)

    return tokens_per_second


def _ignore(line: str) -> None:
    pass


if __name__ == "__main__":
    main()
