"""Flair's side of the comparisons: its tagger, trainer and embeddings. (flair)"""

from __future__ import annotations

import contextlib
import io
import logging
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import flair
import torch
from flair.data import Corpus, Sentence
from flair.datasets import FlairDatapointDataset
from flair.embeddings import FastTextEmbeddings, FlairEmbeddings, StackedEmbeddings, TokenEmbeddings
from flair.models import SequenceTagger
from flair.trainers import ModelTrainer
from flair.trainers.plugins import TrainerPlugin

from benchmarks.workload import Vectors
from munchray.corpora import reader
from munchray.corpora.tags import spans_of

BATCH = 32  # sentences that are embedded or evaluated at once

flair.device = torch.device("cpu")
logging.getLogger("flair").setLevel(logging.WARNING)


class Frozen(TokenEmbeddings):  # type: ignore[misc]
    """The vectors of a workload as a static embedding of Flair, which stores them on the tokens."""

    def __init__(self, vectors: Vectors) -> None:
        super().__init__()
        self.name = f"frozen-{vectors.width}"
        self.static_embeddings = True
        self._vectors = vectors

    @property
    def embedding_length(self) -> int:
        """Features per token."""
        return self._vectors.width

    def _add_embeddings_internal(self, sentences: list[Sentence]) -> list[Sentence]:
        for sentence in sentences:
            rows = torch.from_numpy(self._vectors.of([token.text for token in sentence]))
            for token, row in zip(sentence, rows, strict=True):
                token.set_embedding(self.name, row.clone())
        return sentences


def with_labels(sentence: reader.Sentence) -> Sentence:
    """Convert a sentence to Flair's, with its entities as labels."""
    made = Sentence(list(sentence.tokens))
    for start, stop, kind in spans_of(sentence.tags):
        made[start:stop].add_label("ner", kind)
    return made


class Training:
    """Flair's trainer on a tagger with the same layers and dropouts as ours, an epoch at a time."""

    def __init__(
        self, sentences: Sequence[Sentence], vectors: Vectors, folder: Path, *, batch: int, units: int
    ) -> None:
        embeddings = Frozen(vectors)
        embeddings.embed(list(sentences))
        # Only training is timed, but Flair requires dev and test.
        splits = {"train": sentences, "dev": sentences[:2], "test": sentences[:2]}
        self._corpus = Corpus(
            **{name: FlairDatapointDataset(list(split)) for name, split in splits.items()}, sample_missing_splits=False
        )
        self._folder, self._batch = folder, batch
        self._tokens = sum(map(len, sentences))
        with _quiet():
            tags = self._corpus.make_label_dictionary("ner", add_unk=False)
        self._tagger = SequenceTagger(
            embeddings=embeddings,
            tag_dictionary=tags,
            tag_type="ner",
            hidden_size=units,
            rnn_layers=1,
            dropout=0.0,
            word_dropout=0.05,
            locked_dropout=0.5,
        )

    def tokens_per_second(self) -> float:
        """Train one more epoch of Flair's trainer; its evaluation is not timed."""
        clock = _Clock()
        with _quiet():
            ModelTrainer(self._tagger, self._corpus).train(
                self._folder / "flair",
                learning_rate=0.1,
                mini_batch_size=self._batch,
                max_epochs=1,
                embeddings_storage_mode="cpu",
                save_final_model=False,
                use_final_model_for_eval=True,
                create_file_logs=False,
                create_loss_file=False,
                plugins=[clock],
            )
        return self._tokens / clock.seconds

    def evaluate(self, sentences: Sequence[Sentence]) -> float:
        """Decode and score embedded sentences; tokens/s."""
        started = time.perf_counter()
        with _quiet():
            self._tagger.evaluate(list(sentences), "ner", mini_batch_size=BATCH, embedding_storage_mode="cpu")
        return sum(map(len, sentences)) / (time.perf_counter() - started)


class _Clock(TrainerPlugin):  # type: ignore[misc]
    """Measures the time of an epoch's training."""

    seconds = 0.0

    @TrainerPlugin.hook  # type: ignore[untyped-decorator]
    def before_training_epoch(self, **_: Any) -> None:
        self._started = time.perf_counter()

    @TrainerPlugin.hook  # type: ignore[untyped-decorator]
    def after_training_epoch(self, **_: Any) -> None:
        self.seconds = time.perf_counter() - self._started


class Embedding:
    """Flair's embeddings of the same files, in batches as in its trainer."""

    def __init__(self, sentences: Sequence[Sequence[str]], files: Sequence[Path]) -> None:
        self._sentences = [Sentence(list(tokens)) for tokens in sentences]
        self._embeddings = StackedEmbeddings([_open(path) for path in files])

    def tokens_per_second(self) -> float:
        """Embed all sentences once, discarding each batch as the trainer does without storage."""
        started = time.perf_counter()
        for begin in range(0, len(self._sentences), BATCH):
            batch = self._sentences[begin : begin + BATCH]
            self._embeddings.embed(batch)
            for sentence in batch:
                sentence.clear_embeddings()
        return sum(map(len, self._sentences)) / (time.perf_counter() - started)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress Flair's progress bars and warnings."""
    with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _open(path: Path) -> TokenEmbeddings:
    return FlairEmbeddings(str(path)) if path.suffix == ".pt" else FastTextEmbeddings(str(path))
