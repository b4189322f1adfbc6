"""Units of the feature store: the distinct sentences of a split under one embedder, as files of one folder.

Either ``values`` [tokens, width], or for vectors that depend on the word alone ``rows`` [tokens] into ``table``
[distinct words, width]; and ``manifest.json`` with the size and digest of each file. A unit is written aside and
renamed, so it is whole or absent.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import uuid
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from munchray.errors import WorkError
from munchray.features.sources import Embedder, Progress, Sentences, text_digest
from munchray.files import digest, file_digest, read_json, write_json

FORMAT = "munchray features 1"
FLOAT16_MAX = float(np.finfo(np.float16).max)  # 65,504; larger values are clipped, they would become infinite
WORDS_AT_ONCE = 4096  # looked up at a time


@runtime_checkable
class WordEmbedder(Protocol):
    """An embedder whose vectors depend on the word alone: stored as one table and a row index per token."""

    def vectors_of(self, words: Sequence[str]) -> np.ndarray:
        """float32 [len(words), width]."""


class DistinctSentences:
    """The distinct sentences of a split, in order of first occurrence, and the index of each sentence among them."""

    def __init__(self, sentences: Sentences) -> None:
        indices: dict[tuple[str, ...], int] = {}
        self.index_of = np.array([indices.setdefault(tuple(s), len(indices)) for s in sentences], np.int64)
        self.sentences = list(indices)
        self.lengths = np.fromiter(map(len, self.sentences), np.int64, len(indices))
        self.tokens = int(self.lengths.sum())
        self.digest = text_digest(self.sentences)

    def folder(self, fingerprint: str, store: Path) -> Path:
        """The folder of the unit of these sentences under an embedder."""
        return store / digest(FORMAT, self.digest, fingerprint)


def find_damage(folder: Path, text: DistinctSentences, *, deep: bool = False) -> str:
    """The reason why a unit cannot be used; empty for an intact one. `deep` verifies the bytes of every file."""
    try:
        manifest = read_json(folder / "manifest.json")
        files = manifest["files"]
        if manifest.pop("digest") != _manifest_digest(manifest):
            return "its manifest has been changed"
        if manifest["format"] != FORMAT or manifest["key"] != folder.name or manifest["text"] != text.digest:
            return "it is the unit of another text, embedder or version"
        for name, expected in files.items():
            size = (folder / name).stat().st_size
            if size != expected["bytes"]:
                return f"{name} has {size:,} bytes instead of {expected['bytes']:,}"
            if deep and file_digest(folder / name) != expected["digest"]:
                return f"the bytes of {name} have changed"
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} does not exist"
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return "its manifest cannot be read"
    return ""


def write_unit(text: DistinctSentences, embedder: Embedder, folder: Path, progress: Progress) -> None:
    """Embed the sentences and publish the unit, unless a concurrent builder was first.

    Raises:
        WorkError: the embedder returned NaN or not one row per token; the folder cannot be written.
    """
    aside = folder.parent / f".{folder.name}.{uuid.uuid4().hex[:8]}.part"
    try:
        aside.mkdir(parents=True)
        arrays = _word_arrays if isinstance(embedder, WordEmbedder) else _token_arrays
        files = {name: _write_array(aside / name, parts) for name, parts in arrays(text, embedder, progress).items()}
        manifest = {
            "format": FORMAT,
            "key": folder.name,
            "text": text.digest,
            "embedder": embedder.fingerprint,
            "sentences": len(text.sentences),
            "tokens": text.tokens,
            "width": embedder.width,
            "files": files,
        }
        write_json(aside / "manifest.json", {**manifest, "digest": _manifest_digest(manifest)})
        _publish(aside, folder, text)
    except OSError as error:
        raise WorkError(f"the feature store {folder.parent} cannot be written: {error}") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _token_arrays(text: DistinctSentences, embedder: Embedder, progress: Progress) -> dict[str, Iterable[np.ndarray]]:
    def values() -> Iterator[np.ndarray]:
        features = _with_progress(embedder.embed(text.sentences), len(text.sentences), progress)
        for tokens, array in zip(text.sentences, features, strict=True):
            yield _checked(array, (len(tokens), embedder.width), f"the sentence '{' '.join(tokens)[:80]}'")

    return {"values": values()}


def _word_arrays(text: DistinctSentences, embedder: Any, progress: Progress) -> dict[str, Iterable[np.ndarray]]:
    row_of: dict[str, int] = {}
    rows = (row_of.setdefault(token, len(row_of)) for token in chain.from_iterable(text.sentences))
    row_of_token = np.fromiter(rows, np.int32, text.tokens)
    progress(f"looking up {len(row_of):,} distinct words")

    def table() -> Iterator[np.ndarray]:
        rest = iter(row_of)
        while words := list(islice(rest, WORDS_AT_ONCE)):
            yield _checked(embedder.vectors_of(words), (len(words), embedder.width), f"words from '{words[0]}' on")

    return {"rows": [row_of_token], "table": table()}


def _with_progress(features: Iterator[np.ndarray], total: int, progress: Progress) -> Iterator[np.ndarray]:
    """Pass the features through, reporting every tenth of them."""
    for done, array in enumerate(features, 1):
        yield array
        if done * 10 // total > (done - 1) * 10 // total:
            progress(f"embedded {done:,} of {total:,} sentences")


def to_float16(array: np.ndarray) -> np.ndarray:
    """Convert to float16, clipping values outside its range."""
    return array.clip(-FLOAT16_MAX, FLOAT16_MAX).astype(np.float16)


def _checked(array: np.ndarray, shape: tuple[int, int], of_what: str) -> np.ndarray:
    """As float16.

    Raises:
        WorkError: the embedder returned another shape, or NaN.
    """
    if array.shape != shape:
        raise WorkError(f"the embedder returned features of shape {array.shape} instead of {shape} for {of_what}")
    if np.isnan(array).any():
        raise WorkError(f"the embedder returned NaN for {of_what}")
    return to_float16(array)


def _write_array(path: Path, parts: Iterable[np.ndarray]) -> dict[str, Any]:
    """Write the arrays one after the other; returns the manifest's entry of the file."""
    state, size = hashlib.blake2b(digest_size=16), 0  # as `files.file_digest`
    with path.open("wb") as stream:
        for part in parts:
            data = part.tobytes()
            state.update(data)
            size += stream.write(data)
    return {"bytes": size, "digest": state.hexdigest()}


def _publish(aside: Path, folder: Path, text: DistinctSentences) -> None:
    """Rename the unit to its folder, unless a concurrent builder was first and its unit is intact."""
    while True:
        try:
            aside.rename(folder)
            return
        except OSError:
            if not folder.exists():
                raise
        if not find_damage(folder, text):
            return
        damaged = folder.parent / f".{folder.name}.{uuid.uuid4().hex[:8]}.old"
        with contextlib.suppress(FileNotFoundError):  # a concurrent builder moved it
            folder.rename(damaged)
        delete(damaged)


def delete(path: Path) -> None:
    """Delete a file or a folder recursively, if it exists."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _manifest_digest(manifest: dict[str, Any]) -> str:
    return digest(json.dumps(manifest, sort_keys=True))
