"""Shared workloads: sentences, frozen vectors of their tokens, and our training loop on them."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import bench
from munchray.corpora import samples
from munchray.corpora.catalogue import CorpusSource, data_folder, find_corpus, load_split
from munchray.corpora.reader import Sentence
from munchray.features import store
from munchray.features.sources import EmbeddingSource, Sentences
from munchray.files import digest
from munchray.seeds import generator, seed_of
from munchray.settings import TrialSettings
from munchray.storage.path import StoragePath
from munchray.training import loop, trial
from munchray.training.curriculum import BatchSource, stages
from munchray.training.data import DataSpec, TrialData, content_digest

REAL = "ncbi-disease"
GENERATED = ("sample-disease-1", "sample-disease-2")
MAIN = "main"  # name of a workload's corpus
ROWS = 8192  # of the table of vectors: more than any sentence has tokens
NO_BFLOAT16 = "no bfloat16 on this CPU"


def add_sizes(parser: argparse.ArgumentParser, *, sentences: int, inputs: Sequence[int], batch: Sequence[int]) -> None:
    """Add options for the size of the work, with these defaults."""

    def add(option: str, default: object, text: str, **more: Any) -> None:
        shown = " ".join(map(str, default)) if isinstance(default, tuple) else default
        parser.add_argument(option, type=bench.positive, default=default, help=f"{text} (default: {shown})", **more)

    add("--sentences", sentences, "to train on")
    add("--inputs", tuple(inputs), "features per token", nargs="+")
    add("--batch", tuple(batch), "sentences per batch", nargs="+")
    add("--units", 256, "of the LSTM each way")


def precisions() -> tuple[str, ...]:
    """The precisions that this CPU supports."""
    return ("float32", "bfloat16") if bench.has_bfloat16() else ("float32",)


def settings(**changes: object) -> TrialSettings:
    """Default trial settings with these changes."""
    return TrialSettings.model_validate({"main": MAIN, "regime": "single_task", **changes})


def has_real_corpus() -> bool:
    """Whether the real corpus of the workloads is on this machine."""
    return (data_folder(None) / REAL).is_dir()


def described(texts: Sequence[Sentence], split: str) -> str:
    """The size and origin of some of `sentences`, for a note."""
    corpus = REAL if has_real_corpus() else f"{' and '.join(GENERATED)}, as MUNCHRAY_DATA has no {REAL}"
    return f"{len(texts):,} sentences, {tokens_of(texts):,} tokens: {split} of {corpus}"


def sentences(split: str, number: int | None = None) -> tuple[Sentence, ...]:
    """The first sentences of a split of ncbi-disease, or of the generated disease corpora without it."""
    if has_real_corpus():
        return load_split(find_corpus(REAL, None), split, number)
    return tuple(sentence for name in GENERATED for sentence in samples.generate(name)[split])[:number]


def tokens_of(texts: Sequence[Sentence]) -> int:
    """The number of tokens."""
    return sum(len(sentence.tokens) for sentence in texts)


def invented(number: int, mean_length: float, types: int) -> list[Sentence]:
    """Synthetic sentences of about ``mean_length`` tokens, with entities of so many types.

    The words do not depend on ``types``, so corpora that differ in their tags share their features.
    """
    rng = generator("invented", number, mean_length)
    lengths = np.maximum(1, np.rint(rng.gamma(4.0, mean_length / 4.0, number))).astype(int)  # spread: half the mean
    words = np.split(rng.integers(20_000, size=lengths.sum()), np.cumsum(lengths)[:-1])
    begins = np.split(rng.random(lengths.sum()) < 0.08, np.cumsum(lengths)[:-1])
    kinds = (f"T{number % types}" for number in range(lengths.sum()))
    return [
        Sentence(tuple(f"w{word}" for word in row), tuple(f"B-{next(kinds)}" if begin else "O" for begin in marks))
        for row, marks in zip(words, begins, strict=True)
    ]


class Vectors:
    """A frozen embedder without cost: the features of a sentence are consecutive rows of a seeded table.

    float16, the feature store's type, represents every number exactly, so all contenders get the same features.
    """

    def __init__(self, width: int) -> None:
        self._table = generator("vectors", width).standard_normal((ROWS, width)).astype(np.float16).astype(np.float32)
        self.fingerprint = digest("benchmark", str(width))

    @property
    def width(self) -> int:
        """Features per token."""
        return int(self._table.shape[1])

    def of(self, tokens: Sequence[str]) -> np.ndarray:
        """float32 [tokens, width]."""
        start = seed_of(*tokens) % (ROWS - len(tokens))
        return self._table[start : start + len(tokens)]

    def embed(self, texts: Sentences) -> Iterator[np.ndarray]:
        """One array per sentence, in the given order."""
        return map(self.of, texts)

    def save(self, folder: Path) -> None:
        """Not supported: the table depends on the width alone."""
        raise NotImplementedError


def trial_data(splits: Mapping[str, Sequence[Sentence]], vectors: Vectors, folder: Path, scheme: str) -> TrialData:
    """The splits as in a trial: read from files in ``folder``, features memory-mapped from its store.

    Args:
        splits: ``train``, and ``dev`` where something is scored.
        scheme: ``iobes`` or ``iob2``.
    """
    corpus, features = folder / digest(content_digest(splits)), StoragePath.at(folder / "store")
    corpus.mkdir(exist_ok=True)
    for name, texts in splits.items():
        (corpus / f"{name}.tsv").write_text("\n".join(map(_columns, texts)), encoding="utf-8")
        store.build(
            [s.tokens for s in texts], [EmbeddingSource(vectors.fingerprint, lambda: vectors)], features, _ignore
        )
    source = CorpusSource(MAIN, "benchmark", corpus, scheme="iob2")
    contents = {MAIN: content_digest(splits)}
    spec = DataSpec({MAIN: source}, {}, (vectors.fingerprint,), features, contents, {MAIN: tuple(splits)})
    return spec.open(settings(tag_scheme=scheme))


class Training:
    """Our training loop with fresh weights, an epoch or its first ``updates`` at a time."""

    def __init__(self, chosen: TrialSettings, data: TrialData, updates: int | None = None) -> None:
        self.settings = chosen
        self.data = data
        self.tagger = trial.new_tagger(chosen, data)
        self._updates = updates
        lengths = {name: split.lengths.tolist() for name, split in data.train.items()}
        source = BatchSource(lengths, chosen.batch_size, chosen.batching, chosen.seed)
        (stage,) = stages(chosen.regime, chosen.main, (), source)
        self._epochs = enumerate(stage.epochs())

    def epoch(self) -> loop.EpochLoss:
        """Train the next epoch, or its first updates."""
        number, batches = next(self._epochs)
        rate, scope = self.settings.learning_rate, ("benchmark", number)
        return loop.train_epoch(self.tagger, batches[: self._updates], self.data.train, self.settings, rate, scope)

    def tokens_per_second(self) -> float:
        """Train as in `epoch`; a contender."""
        done = self.epoch()
        return done.tokens / done.seconds


def _columns(sentence: Sentence) -> str:
    return "".join(f"{token}\t{tag}\n" for token, tag in zip(sentence.tokens, sentence.tags, strict=True))


def _ignore(line: str) -> None:
    pass
