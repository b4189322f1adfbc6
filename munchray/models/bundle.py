"""A model to take away: one folder without pickle that tags new text.

weights.safetensors, model.json   the tagger        embeddings/0, 1, ...   what embeds new text
scores.json                       where it comes from and what it scored
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from munchray.corpora.tags import Span, iobes_to_iob2
from munchray.errors import InputError, Problem
from munchray.features.sources import Embedder, load_embedder
from munchray.features.units import LARGEST
from munchray.files import write_json, written_aside
from munchray.tagging.packed_batch import PackedBatch
from munchray.tagging.tagger import Tagger
from munchray.tagging.weights import load_model, read_description

T = TypeVar("T")

BATCH = 32
BATCH_TOKENS = 4096
"""Padding included, unless one sentence has more."""
WINDOW = 1024
"""Sentences read ahead and sorted by length, so that batches are even and memory stays bounded."""


def export_model(model: Path, embedders: Sequence[Embedder], scores: Mapping[str, Any], target: Path) -> None:
    """Write a trial's ``model`` folder and its embedders as one self-contained folder.

    Raises:
        InputError: ``target`` holds something that is not a model.
    """
    if target.exists() and any(target.iterdir() if target.is_dir() else [target]):
        read_description(target)  # an older export may be replaced, nothing else
    with written_aside(target) as aside:
        aside.mkdir()
        for file in model.iterdir():
            shutil.copyfile(file, aside / file.name)
        for position, embedder in enumerate(embedders):
            embedder.save(aside / "embeddings" / str(position))
        write_json(aside / "scores.json", scores)


class Model:
    """An exported model.

    Attributes:
        main: the corpus whose annotation the model imitates.
        entity_types: the types it can find.
    """

    def __init__(self, tagger: Tagger, embedders: Sequence[Embedder], main: str) -> None:
        self.main = main
        self.entity_types = sorted({tag[2:] for tag in tagger.tag_sets[main] if tag != "O"})
        self._tagger = tagger
        self._embedders = embedders

    @classmethod
    def load(cls, folder: Path) -> Model:
        """Read what `export_model` wrote.

        Raises:
            InputError: not such a folder, or a damaged one.
        """
        tagger, description = load_model(folder)
        numbered = [path for path in (folder / "embeddings").glob("*") if path.name.isdecimal()]
        embedders = [load_embedder(path) for path in sorted(numbered, key=lambda path: int(path.name))]
        width = sum(embedder.width for embedder in embedders)
        if width != description["width"]:
            found = f"its embeddings give {width} numbers a token"
            fix = "Name a folder that `munchray export` wrote, and all of it"
            raise InputError(Problem(str(folder), found, f"{description['width']}, as its tagger reads", fix))
        return cls(tagger, embedders, description["main"])

    def tag(self, sentences: Iterable[Sequence[str]]) -> Iterator[list[str]]:
        """IOB2 tags of each sentence (its tokens), in order, in bounded memory."""
        for tags in self._each(sentences, self._tagger.decode):
            yield iobes_to_iob2(tags)

    def find(self, sentences: Iterable[Sequence[str]]) -> Iterator[list[tuple[Span, float]]]:
        """The spans of each sentence, each with the probability that the CRF gives it; the spans that `tag` tags."""
        return self._each(sentences, self._tagger.find)

    def _each(self, sentences: Iterable[Sequence[str]], work: Callable[..., list[list[T]]]) -> Iterator[list[T]]:
        """What the tagger's ``work`` gives for each sentence, batched with others of similar length."""
        rest = iter(sentences)
        while window := list(islice(rest, WINDOW)):
            results: list[list[T]] = [[] for _ in window]
            for chosen in _batches([len(sentence) for sentence in window]):
                batch = [window[position] for position in chosen]
                packed = PackedBatch([len(sentence) for sentence in batch])
                for position, result in zip(
                    chosen, work(self._features(batch, packed), packed, self.main), strict=True
                ):
                    results[position] = result
            yield from results

    def _features(self, sentences: Sequence[Sequence[str]], packed: PackedBatch) -> Tensor:
        blocks = [packed.pack(list(embedder.embed(sentences))) for embedder in self._embedders]
        # as the feature store keeps them, so that a model scores what its training scored
        halved = np.concatenate(blocks, 1).clip(-LARGEST, LARGEST).astype(np.float16)
        return torch.from_numpy(halved).float()


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Places of sentences of similar length; those without tokens are left out."""
    batch: list[int] = []
    for position in sorted(range(len(lengths)), key=lambda position: lengths[position]):
        if batch and (len(batch) == BATCH or lengths[position] * (len(batch) + 1) > BATCH_TOKENS):
            yield batch
            batch = []
        if lengths[position]:
            batch.append(position)
    if batch:
        yield batch
