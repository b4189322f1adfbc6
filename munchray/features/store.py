"""The feature store: every sentence is embedded once; all trials share the memory-mapped float16 features."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import numpy as np

from munchray.errors import WorkError
from munchray.features.sources import EmbeddingSource, Progress, Sentences
from munchray.features.units import DistinctSentences, delete, find_damage, write_unit
from munchray.files import read_json
from munchray.storage.path import StoragePath

ABANDONED_S = 24 * 3600.0  # seconds without a write after which an unfinished unit is deleted


def build(sentences: Sentences, sources: Sequence[EmbeddingSource], store: StoragePath, progress: Progress) -> None:
    """Embed the sentences of one split (their tokens) with every source, unless the store has them.

    Idempotent: for an intact unit the embedder is not even opened; a damaged unit is rebuilt. Builders may run
    concurrently: the first to finish publishes its unit, the others discard theirs. Units in a bucket are not
    downloaded here, but by the machines that read them.

    Raises:
        InputError: an embedder cannot be opened.
        WorkError: an embedder returned NaN or not one row per token; the store cannot be written.
    """
    text = DistinctSentences(sentences)
    _delete_abandoned(store.folder)
    for source in sources:
        folder = text.folder(source.fingerprint, store.folder)
        if store.remote and store.has(folder.name):
            continue
        damage = find_damage(folder, text)
        if damage and folder.exists():
            progress(f"{folder}: {damage}; rebuilding it")
        if damage:
            write_unit(text, source.open(), folder, progress)
        store.upload(folder.name)


def missing(sentences: Sentences, fingerprints: Sequence[str], store: StoragePath, *, deep: bool = False) -> list[str]:
    """Fingerprints whose unit is absent or damaged; `deep` verifies every byte, not only sizes and manifest."""
    text = DistinctSentences(sentences)
    return [
        fingerprint
        for fingerprint in fingerprints
        if find_damage(text.folder(fingerprint, store.folder), text, deep=deep)
    ]


class Features:
    """The features of one split, those of all embedders concatenated; its arrays are memory maps that processes share.

    Open it in the process that reads it: pickling it would copy the arrays.
    """

    def __init__(self, text: DistinctSentences, blocks: Sequence[UnitArrays]) -> None:
        starts = np.cumsum(text.lengths) - text.lengths
        self._starts = starts[text.index_of]
        self._blocks = blocks
        self.width = sum(block.width for block in blocks)

    def gather(self, sentences: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """The features of token ``positions[n]`` of sentence ``sentences[n]`` of the split, for all n.

        They stay float16, because torch converts ten times faster than numpy. shape: [len(sentences), width]
        """
        rows = self._starts[sentences] + positions
        features = np.empty((len(rows), self.width), np.float16)
        column = 0
        for block in self._blocks:
            features[:, column : column + block.width] = block.read(rows)
            column += block.width
        return features


class ConcatenatedFeatures:
    """The features of several splits as one split; nothing is copied."""

    def __init__(self, parts: Sequence[Features], sizes: Sequence[int]) -> None:
        self._parts = parts
        self._ends = np.cumsum(sizes)
        self.width = parts[0].width

    def gather(self, sentences: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """As `Features.gather`, with sentences numbered over all parts. shape: [len(sentences), width]"""
        features = np.empty((len(sentences), self.width), np.float16)
        part_of = np.searchsorted(self._ends, sentences, side="right")
        for position, part in enumerate(self._parts):
            mask = part_of == position
            start = self._ends[position - 1] if position else 0
            features[mask] = part.gather(sentences[mask] - start, positions[mask])
        return features


class UnitArrays:
    """The memory-mapped arrays of one unit."""

    def __init__(self, folder: Path) -> None:
        manifest = read_json(folder / "manifest.json")
        self.width = int(manifest["width"])
        arrays = {name: _memory_map(folder / name, self.width) for name in manifest["files"]}
        self._values = arrays["table" if "table" in arrays else "values"]
        self._rows = arrays.get("rows")

    def read(self, rows: np.ndarray) -> np.ndarray:
        """float16 [len(rows), width] of the tokens with these indices in the unit."""
        values: np.ndarray = self._values[rows if self._rows is None else self._rows[rows, 0]]
        return values


def open_features(sentences: Sentences, fingerprints: Sequence[str], store: StoragePath) -> Features:
    """Open the features of a split that `build` stored, in the order of the embedders' fingerprints.

    A unit in a bucket is downloaded once per machine, also when processes open it concurrently. Imports neither torch
    nor flair nor gensim.

    Raises:
        WorkError: a unit is absent or damaged.
    """
    text = DistinctSentences(sentences)
    folders = [text.folder(fingerprint, store.folder) for fingerprint in fingerprints]
    for folder in folders:
        store.download(folder.name)
        if damage := find_damage(folder, text):
            _evict(folder, store)
            raise WorkError(f"the features in {folder} cannot be used: {damage}; `munchray embed` rebuilds them")
    return Features(text, [UnitArrays(folder) for folder in folders])


def _evict(folder: Path, store: StoragePath) -> None:
    """Delete a damaged unit from the bucket and the local cache, so that it is not downloaded again."""
    if store.remote:
        store.delete_remote(folder.name)
        delete(folder)


def _memory_map(path: Path, width: int) -> np.ndarray:
    dtype, columns = (np.int32, 1) if path.name == "rows" else (np.float16, width)
    if not path.stat().st_size:  # a split of empty sentences; an empty file cannot be mapped
        return np.zeros((0, columns), dtype)
    mapped = np.memmap(path, dtype, mode="r").reshape(-1, columns)
    return mapped.view(np.ndarray)  # slicing a memmap object costs more than the copy


def _delete_abandoned(store: Path) -> None:
    """Delete unfinished units of killed builders, once they are too old to be in use."""
    for path in chain(store.glob(".*.part"), store.glob(".*.old")):
        with contextlib.suppress(FileNotFoundError):  # its builder may be finishing
            if time.time() - max(p.stat().st_mtime for p in (path, *path.glob("*"))) > ABANDONED_S:
                delete(path)
