"""Frozen embedders from the specs of a job: fingerprints, opening, training, loading saved ones.

torch, flair and gensim are imported only when an embedder is opened.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import numpy as np

from munchray.errors import InputError, Problem
from munchray.features.specs import EmbeddingSpec as EmbeddingSpec
from munchray.features.specs import parse_embedding as parse_embedding
from munchray.files import digest, file_digest, read_json, written_aside
from munchray.storage.path import StoragePath

Sentences = Sequence[Sequence[str]]  # the tokens of each sentence
TrainingText = Callable[[], Sentences]
Progress = Callable[[str], None]

SEMANTICS_VERSION = "1"  # part of every fingerprint: increment it when the same files are read differently
NEED_GENSIM = ("words", "fasttext", "train_subwords")  # kinds of embeddings; Flair needs it for those it downloads
SEED = 1  # of embeddings trained by `train:`


class Embedder(Protocol):
    """A frozen embedding."""

    fingerprint: str  # of everything that its values depend on

    @property
    def width(self) -> int:
        """Features per token."""

    def embed(self, sentences: Sentences) -> Iterator[np.ndarray]:
        """One float32 array [tokens, width] per sentence, in the given order."""

    def save(self, folder: Path) -> None:
        """Write what `load_embedder` needs: safetensors and JSON, no pickle."""


@dataclass(frozen=True)
class EmbeddingSource:
    """An embedder that is opened on demand."""

    fingerprint: str
    open: Callable[[], Embedder]  # cached: later calls return the same embedder


def check_installed(spec: EmbeddingSpec, where: str) -> None:
    """Check that gensim, an extra, is installed if the embedding needs it.

    Raises:
        InputError: it is not; the message says how to install it.
    """
    if spec.kind in NEED_GENSIM and find_spec("gensim") is None:
        fix = 'Install it: pip install "munchray[gensim]"'
        raise InputError(Problem(where, f"{spec} needs gensim, which is not installed", fix=fix))


def embedding_sources(
    specs: Sequence[EmbeddingSpec], training_text: TrainingText, cache_path: StoragePath, progress: Progress
) -> list[EmbeddingSource]:
    """One lazy source per spec; arguments as of `open_embedder`. Only the fingerprints are computed now."""

    def source(spec: EmbeddingSpec) -> EmbeddingSource:
        opened = cache(lambda: open_embedder(spec, training_text, cache_path, progress))
        return EmbeddingSource(fingerprint(spec, training_text), opened)

    return [source(spec) for spec in specs]


def fingerprint(spec: EmbeddingSpec, training_text: TrainingText) -> str:
    """The fingerprint of an embedder, computed without opening it.

    It depends on the bytes of the files, on Flair's name (Flair renames a model that it changes), or on the settings
    and the text of the training. `training_text` is called for ``train:`` only.
    """
    if spec.path is not None:
        return digest(SEMANTICS_VERSION, spec.kind, *map(_cached_digest, _files_of(spec.path)))
    if spec.kind.startswith("train_"):
        return digest(SEMANTICS_VERSION, json.dumps(spec.entry()), str(SEED), text_digest(training_text()))
    return digest(SEMANTICS_VERSION, spec.kind, spec.source)


def text_digest(sentences: Sentences) -> str:
    """A fingerprint of the sentences and their order."""
    state = hashlib.blake2b(digest_size=16)
    for tokens in sentences:
        state.update(json.dumps(list(tokens)).encode())  # encodes the token boundaries unambiguously
    return state.hexdigest()


def open_embedder(
    spec: EmbeddingSpec, training_text: TrainingText, cache_path: StoragePath, progress: Progress
) -> Embedder:
    """Load, download or train the embedder of a spec.

    Trained embedders and language models that Flair downloads are cached in `cache_path`. Files saved by gensim are
    pickles: name only those whose origin you know.

    Raises:
        InputError: a file is not such an embedding.
        WorkError: a download failed, or there is no text to train on.
    """
    key = fingerprint(spec, training_text)
    if spec.path is not None or spec.kind in ("words", "fasttext"):
        progress(f"opening {spec}")
        return _open(spec, key)
    cache_path.download(key)
    saved = cache_path.folder / key
    if (saved / "embedder.json").is_file():
        try:
            return load_embedder(saved)
        except InputError:
            progress(f"{saved} is damaged, rebuilding it")
    embedder = _train(spec, key, training_text(), progress) if spec.options else _open(spec, key)
    with written_aside(saved) as aside:
        embedder.save(aside)
    cache_path.upload(key)
    return embedder


def load_embedder(folder: Path) -> Embedder:
    """Load an embedder from the folder that its `save` wrote.

    Raises:
        InputError: the folder is not a saved embedder, or a file in it is damaged.
    """
    try:
        kind = read_json(folder / "embedder.json")["kind"]
        return _load(kind, folder)
    except Exception as error:  # json, safetensors and torch have no common base class
        found = f"no saved embedder, it cannot be loaded ({type(error).__name__}: {error})"
        raise InputError(Problem(str(folder), found, "a folder with embedder.json and its weights")) from error


def _load(kind: str, folder: Path) -> Embedder:
    if kind == "characters":
        from munchray.features.charlm import CharacterEmbedder

        return CharacterEmbedder.load(folder)
    if kind == "transformer":
        from munchray.features.flair_adapter import TransformerEmbedder

        return TransformerEmbedder.load(folder)
    from munchray.features.words import load_word_vectors

    return load_word_vectors(folder)


def _open(spec: EmbeddingSpec, fingerprint: str) -> Embedder:
    """Open an existing embedder, from files or by its name in Flair."""
    from munchray.features import flair_adapter, words

    if spec.kind == "transformer":
        return flair_adapter.open_transformer(Path(spec.source), fingerprint)
    if spec.kind == "characters" and spec.path is None:
        return flair_adapter.download_language_model(spec.source, fingerprint)
    if spec.kind == "characters":
        return flair_adapter.read_language_model(Path(spec.source), fingerprint)
    if spec.path is None:
        return flair_adapter.download_word_vectors(spec.source, fingerprint)
    return words.read_gensim(spec.path, fingerprint, subwords=spec.kind == "fasttext")


def _train(spec: EmbeddingSpec, fingerprint: str, text: Sentences, progress: Progress) -> Embedder:
    options = dict(spec.options)
    if spec.kind == "train_subwords":
        from munchray.features.words import train_subwords

        progress(f"training subword vectors on {len(text):,} sentences")
        return train_subwords(
            text, width=options["subwords"], epochs=options["epochs"], seed=SEED, fingerprint=fingerprint
        )
    from munchray.features.charlm import CharacterEmbedder
    from munchray.features.training import train_character_model

    forward = spec.source == "forward"
    prefix = f"training a {spec.source} character model on {len(text):,} sentences: "
    model, alphabet = train_character_model(
        text, forward=forward, seed=SEED, progress=lambda line: progress(prefix + line), **options
    )
    return CharacterEmbedder(model, alphabet, forward=forward, fingerprint=fingerprint)


def _files_of(path: Path) -> list[Path]:
    """The files of an embedding: those of a folder, or one and the arrays that gensim saved beside it."""
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.is_file())
    return [path, *sorted(path.parent.glob(f"{path.name}.*.npy"))]


def _cached_digest(path: Path) -> str:
    status = path.stat()
    return _digest_unless_changed(path, status.st_size, status.st_mtime_ns)


@lru_cache
def _digest_unless_changed(path: Path, size: int, modified: int) -> str:
    return file_digest(path)
