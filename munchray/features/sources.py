"""From what a job names to a frozen embedder: its fingerprint, opening it, loading a saved one.

torch, flair and gensim are imported when an embedder is opened, not before.
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

SEMANTICS = "1"  # part of every fingerprint: raise it when the same files come to be read differently
NEED_GENSIM = ("words", "fasttext", "train_subwords")  # kinds of embeddings; Flair needs it for those it downloads
SEED = 1  # of the training that `train:` asks for


class Embedder(Protocol):
    """A frozen embedding."""

    fingerprint: str  # of everything that decides its values

    @property
    def width(self) -> int:
        """Numbers a token."""

    def embed(self, sentences: Sentences) -> Iterator[np.ndarray]:
        """One float32 array [tokens, width] a sentence, in the given order."""

    def save(self, folder: Path) -> None:
        """Write what `load_embedder` needs: safetensors and JSON, no pickle."""


@dataclass(frozen=True)
class EmbeddingSource:
    """An embedder that is opened only if something must be embedded."""

    fingerprint: str
    open: Callable[[], Embedder]  # the first call opens it, later ones give the same


def check_installed(spec: EmbeddingSpec, where: str) -> None:
    """See that gensim, an extra, is installed if the embedding needs it.

    Raises:
        InputError: it is not; the message says how to install it.
    """
    if spec.kind in NEED_GENSIM and find_spec("gensim") is None:
        fix = 'Install it: pip install "munchray[gensim]"'
        raise InputError(Problem(where, f"{spec} needs gensim, which is not installed", fix=fix))


def sources_of(
    specs: Sequence[EmbeddingSpec], training_text: TrainingText, kept: StoragePath, progress: Progress
) -> list[EmbeddingSource]:
    """One source a spec; the arguments are those of `open_embedder`. Only the fingerprints are made now."""

    def source(spec: EmbeddingSpec) -> EmbeddingSource:
        opened = cache(lambda: open_embedder(spec, training_text, kept, progress))
        return EmbeddingSource(fingerprint(spec, training_text), opened)

    return [source(spec) for spec in specs]


def fingerprint(spec: EmbeddingSpec, training_text: TrainingText) -> str:
    """What the opened embedder will call itself, without opening it.

    Made of the files' bytes, of Flair's name (Flair gives a changed model a new name), or of the training's
    settings and text. `training_text` is called for ``train:`` only.
    """
    if spec.path is not None:
        return digest(SEMANTICS, spec.kind, *map(_remembered_digest, _files_of(spec.path)))
    if spec.kind.startswith("train_"):
        return digest(SEMANTICS, json.dumps(spec.entry()), str(SEED), text_digest(training_text()))
    return digest(SEMANTICS, spec.kind, spec.source)


def text_digest(sentences: Sentences) -> str:
    """A fingerprint of the sentences and their order."""
    state = hashlib.blake2b(digest_size=16)
    for tokens in sentences:
        state.update(json.dumps(list(tokens)).encode())  # says where each token ends, whatever it holds
    return state.hexdigest()


def open_embedder(spec: EmbeddingSpec, training_text: TrainingText, kept: StoragePath, progress: Progress) -> Embedder:
    """Load, download or train what the spec names.

    What was trained or downloaded through Flair is saved in `kept` and found there next time.
    Files saved by gensim are pickles: name only those whose origin you know.

    Raises:
        InputError: a file is no such embedding.
        WorkError: a download failed, or there is no text to train on.
    """
    key = fingerprint(spec, training_text)
    if spec.path is not None or spec.kind in ("words", "fasttext"):
        progress(f"opening {spec}")
        return _opened(spec, key)
    kept.download(key)
    saved = kept.folder / key
    if (saved / "embedder.json").is_file():
        try:
            return load_embedder(saved)
        except InputError:
            progress(f"{saved} is damaged, making it again")
    embedder = _trained(spec, key, training_text(), progress) if spec.options else _opened(spec, key)
    with written_aside(saved) as aside:
        embedder.save(aside)
    kept.upload(key)
    return embedder


def load_embedder(folder: Path) -> Embedder:
    """What an embedder's `save` wrote.

    Raises:
        InputError: the folder is no saved embedder, or a file of it is damaged.
    """
    try:
        kind = read_json(folder / "embedder.json")["kind"]
        return _load(kind, folder)
    except Exception as error:  # json, safetensors and torch each raise their own
        found = f"no saved embedder, it cannot be loaded ({type(error).__name__}: {error})"
        raise InputError(Problem(str(folder), found, "a folder with embedder.json and its weights")) from error


def _load(kind: str, folder: Path) -> Embedder:
    if kind == "characters":
        from munchray.features.charlm import CharacterEmbedder

        return CharacterEmbedder.load(folder)
    if kind == "transformer":
        from munchray.features.flair_adapter import TransformerEmbedder

        return TransformerEmbedder.load(folder)
    from munchray.features.words import load_words

    return load_words(folder)


def _opened(spec: EmbeddingSpec, fingerprint: str) -> Embedder:
    """An embedder that exists already, as files or behind a name of Flair's."""
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


def _trained(spec: EmbeddingSpec, fingerprint: str, text: Sentences, progress: Progress) -> Embedder:
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
    say = f"training a {spec.source} character model on {len(text):,} sentences: "
    model, alphabet = train_character_model(
        text, forward=forward, seed=SEED, progress=lambda line: progress(say + line), **options
    )
    return CharacterEmbedder(model, alphabet, forward=forward, fingerprint=fingerprint)


def _files_of(path: Path) -> list[Path]:
    """The files that an embedding consists of: a folder's, or one and the arrays gensim puts beside it."""
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.is_file())
    return [path, *sorted(path.parent.glob(f"{path.name}.*.npy"))]


def _remembered_digest(path: Path) -> str:
    about = path.stat()
    return _digest_of(path, about.st_size, about.st_mtime_ns)


@lru_cache
def _digest_of(path: Path, size: int, changed: int) -> str:
    return file_digest(path)
