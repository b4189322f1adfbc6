"""One unit of the feature store: the distinct sentences of a split under one embedder, in a folder of its own.

Either ``values`` [tokens, width], or for vectors that depend on the word alone ``rows`` [tokens] into ``table``
[distinct words, width]; and ``manifest.json``, which says what each file must be. A unit is written aside and
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
LARGEST = float(np.finfo(np.float16).max)  # 65,504; what is larger is clipped, it would become infinite
BLOCK = 4096  # distinct words looked up at a time


@runtime_checkable
class WordEmbedder(Protocol):
    """An embedder whose vectors depend on the word alone: stored as one table and a row number a token."""

    def vectors_of(self, words: Sequence[str]) -> np.ndarray:
        """float32 [len(words), width]."""


class Text:
    """A split as the store sees it: its distinct sentences, in the order in which they first occur."""

    def __init__(self, sentences: Sentences) -> None:
        places: dict[tuple[str, ...], int] = {}
        self.place_of = np.array([places.setdefault(tuple(s), len(places)) for s in sentences], np.int64)
        self.distinct = list(places)
        self.lengths = np.fromiter(map(len, self.distinct), np.int64, len(places))
        self.tokens = int(self.lengths.sum())
        self.digest = text_digest(self.distinct)

    def folder(self, fingerprint: str, store: Path) -> Path:
        """Where the unit of this text under this embedder lies."""
        return store / digest(FORMAT, self.digest, fingerprint)


def find_damage(folder: Path, text: Text, *, deep: bool = False) -> str:
    """What is wrong with a unit; empty if nothing is."""
    try:
        manifest = read_json(folder / "manifest.json")
        files = manifest["files"]
        if manifest.pop("digest") != _digest_of(manifest):
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
        return f"{Path(error.filename).name} is not there"
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return "its manifest cannot be read"
    return ""


def write_unit(text: Text, embedder: Embedder, folder: Path, progress: Progress) -> None:
    """Embed the text and publish the unit, unless another builder was first.

    Raises:
        WorkError: the embedder gave NaN or not one row a token; the folder cannot be written.
    """
    aside = folder.parent / f".{folder.name}.{uuid.uuid4().hex[:8]}.part"
    try:
        aside.mkdir(parents=True)
        arrays = _word_arrays if isinstance(embedder, WordEmbedder) else _token_arrays
        files = {name: _write(aside / name, parts) for name, parts in arrays(text, embedder, progress).items()}
        manifest = {
            "format": FORMAT,
            "key": folder.name,
            "text": text.digest,
            "embedder": embedder.fingerprint,
            "sentences": len(text.distinct),
            "tokens": text.tokens,
            "width": embedder.width,
            "files": files,
        }
        write_json(aside / "manifest.json", {**manifest, "digest": _digest_of(manifest)})
        _publish(aside, folder, text)
    except OSError as error:
        raise WorkError(f"the feature store {folder.parent} cannot be written: {error}") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _token_arrays(text: Text, embedder: Embedder, progress: Progress) -> dict[str, Iterable[np.ndarray]]:
    def values() -> Iterator[np.ndarray]:
        features = _told(embedder.embed(text.distinct), len(text.distinct), progress)
        for tokens, array in zip(text.distinct, features, strict=True):
            yield _halved(array, (len(tokens), embedder.width), f"the sentence '{' '.join(tokens)[:80]}'")

    return {"values": values()}


def _word_arrays(text: Text, embedder: Any, progress: Progress) -> dict[str, Iterable[np.ndarray]]:
    row_of: dict[str, int] = {}
    rows = (row_of.setdefault(token, len(row_of)) for token in chain.from_iterable(text.distinct))
    row_of_token = np.fromiter(rows, np.int32, text.tokens)
    progress(f"looking up {len(row_of):,} distinct words")

    def table() -> Iterator[np.ndarray]:
        rest = iter(row_of)
        while words := list(islice(rest, BLOCK)):
            yield _halved(embedder.vectors_of(words), (len(words), embedder.width), f"words from '{words[0]}' on")

    return {"rows": [row_of_token], "table": table()}


def _told(features: Iterator[np.ndarray], total: int, progress: Progress) -> Iterator[np.ndarray]:
    """The same features; `progress` hears of every tenth."""
    for done, array in enumerate(features, 1):
        yield array
        if done * 10 // total > (done - 1) * 10 // total:
            progress(f"embedded {done:,} of {total:,} sentences")


def _halved(array: np.ndarray, shape: tuple[int, int], of_what: str) -> np.ndarray:
    """As float16, values outside its range at its ends."""
    if array.shape != shape:
        raise WorkError(f"the embedder gave features of shape {array.shape} instead of {shape} for {of_what}")
    if np.isnan(array).any():
        raise WorkError(f"the embedder gave NaN for {of_what}")
    return array.clip(-LARGEST, LARGEST).astype(np.float16)


def _write(path: Path, parts: Iterable[np.ndarray]) -> dict[str, Any]:
    """Write the arrays one after the other; what the manifest says of the file."""
    state, size = hashlib.blake2b(digest_size=16), 0  # as `files.file_digest`
    with path.open("wb") as stream:
        for part in parts:
            data = part.tobytes()
            state.update(data)
            size += stream.write(data)
    return {"bytes": size, "digest": state.hexdigest()}


def _publish(aside: Path, folder: Path, text: Text) -> None:
    """Rename into position, unless another builder was first and its unit is whole."""
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
        with contextlib.suppress(FileNotFoundError):  # the other builder moves it away too
            folder.rename(damaged)
        delete(damaged)


def delete(path: Path) -> None:
    """Remove a file or a folder with all in it, if it is there."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _digest_of(manifest: dict[str, Any]) -> str:
    return digest(json.dumps(manifest, sort_keys=True))
