"""The feature store: every sentence is embedded once, and all trials read the same memory-mapped float16."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import numpy as np

from munchray.errors import WorkError
from munchray.features.sources import EmbeddingSource, Progress, Sentences
from munchray.features.units import Text, delete, find_damage, write_unit
from munchray.files import read_json
from munchray.storage.path import StoragePath

ABANDONED = 24 * 3600.0  # seconds without a write after which an unfinished unit is deleted


def build(sentences: Sentences, sources: Sequence[EmbeddingSource], store: StoragePath, progress: Progress) -> None:
    """Make sure that the store has these sentences (the tokens of one split) under every source.

    A unit that is there and whole is left alone, its embedder not even opened; a damaged one is made again.
    Several builders may work at once: the first to finish publishes its unit, the others drop theirs. What a bucket has
    is not brought here: that is for the machines that read it.

    Raises:
        InputError: from opening an embedder.
        WorkError: an embedder gave NaN or not one row a token; the store cannot be written.
    """
    text = Text(sentences)
    _delete_abandoned(store.folder)
    for source in sources:
        folder = text.folder(source.fingerprint, store.folder)
        if store.remote and store.has(folder.name):
            continue
        damage = find_damage(folder, text)
        if damage and folder.exists():
            progress(f"{folder}: {damage}; making it again")
        if damage:
            write_unit(text, source.open(), folder, progress)
        store.upload(folder.name)


def missing(sentences: Sentences, fingerprints: Sequence[str], store: StoragePath, *, deep: bool = False) -> list[str]:
    """The embedders whose unit is absent or damaged; `deep` reads every byte, else sizes and manifest are checked."""
    text = Text(sentences)
    return [
        fingerprint
        for fingerprint in fingerprints
        if find_damage(text.folder(fingerprint, store.folder), text, deep=deep)
    ]


class Features:
    """The features of one split, all embedders side by side; small, its arrays are pages that processes share.

    Open it in the process that reads it: pickling it would copy the arrays.
    """

    def __init__(self, text: Text, blocks: Sequence[Block]) -> None:
        starts = np.cumsum(text.lengths) - text.lengths
        self._starts = starts[text.place_of]
        self._blocks = blocks
        self.width = sum(block.width for block in blocks)

    def tokens(self, sentences: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """The features of some tokens: token ``positions[n]`` of sentence ``sentences[n]`` of the split.

        They stay float16, because torch converts ten times faster than numpy. shape: [len(sentences), width]
        """
        rows = self._starts[sentences] + positions
        features = np.empty((len(rows), self.width), np.float16)
        column = 0
        for block in self._blocks:
            features[:, column : column + block.width] = block.read(rows)
            column += block.width
        return features


class Joined:
    """The features of several splits one after the other, as if they were one; nothing is copied."""

    def __init__(self, parts: Sequence[Features], sizes: Sequence[int]) -> None:
        self._parts = parts
        self._ends = np.cumsum(sizes)
        self.width = parts[0].width

    def tokens(self, sentences: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """As `Features.tokens`, sentences counted over all parts. shape: [len(sentences), width]"""
        features = np.empty((len(sentences), self.width), np.float16)
        part_of = np.searchsorted(self._ends, sentences, side="right")
        for position, part in enumerate(self._parts):
            own = part_of == position
            start = self._ends[position - 1] if position else 0
            features[own] = part.tokens(sentences[own] - start, positions[own])
        return features


class Block:
    """The columns that one unit gives."""

    def __init__(self, folder: Path) -> None:
        manifest = read_json(folder / "manifest.json")
        self.width = int(manifest["width"])
        arrays = {name: _mapped(folder / name, self.width) for name in manifest["files"]}
        self._values = arrays["table" if "table" in arrays else "values"]
        self._rows = arrays.get("rows")

    def read(self, rows: np.ndarray) -> np.ndarray:
        """float16 [len(rows), width] of the tokens with these numbers in the unit's text."""
        values: np.ndarray = self._values[rows if self._rows is None else self._rows[rows, 0]]
        return values


def open_features(sentences: Sentences, fingerprints: Sequence[str], store: StoragePath) -> Features:
    """The features of a split that `build` made, in the order of the embedders' fingerprints.

    What a bucket has is brought to this machine once, however many processes open it at the same time. Imports neither
    torch nor flair nor gensim.

    Raises:
        WorkError: a unit is absent or damaged.
    """
    text = Text(sentences)
    folders = [text.folder(fingerprint, store.folder) for fingerprint in fingerprints]
    for folder in folders:
        store.download(folder.name)
        if damage := find_damage(folder, text):
            _drop_copy(folder, store)
            raise WorkError(f"the features in {folder} cannot be used: {damage}; `munchray embed` makes them again")
    return Features(text, [Block(folder) for folder in folders])


def _drop_copy(folder: Path, store: StoragePath) -> None:
    """A damaged unit that a bucket keeps would be brought again and again."""
    if store.remote:
        store.delete_remote(folder.name)
        delete(folder)


def _mapped(path: Path, width: int) -> np.ndarray:
    dtype, columns = (np.int32, 1) if path.name == "rows" else (np.float16, width)
    if not path.stat().st_size:  # a split of empty sentences; nothing cannot be mapped
        return np.zeros((0, columns), dtype)
    mapped = np.memmap(path, dtype, mode="r").reshape(-1, columns)
    return mapped.view(np.ndarray)  # slicing a memmap object costs more than the copy


def _delete_abandoned(store: Path) -> None:
    """Remove what builders that were killed have left, once nobody can be writing it."""
    for path in chain(store.glob(".*.part"), store.glob(".*.old")):
        with contextlib.suppress(FileNotFoundError):  # its builder may be finishing
            if time.time() - max(p.stat().st_mtime for p in (path, *path.glob("*"))) > ABANDONED:
                delete(path)
