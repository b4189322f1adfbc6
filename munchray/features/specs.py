"""Parse and validate an entry of a job's ``embeddings:`` list without importing torch, flair or gensim."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from munchray.errors import InputError, Problem, nearest
from munchray.features import flair_names

EXPECTED = (
    "a name that Flair knows (pubmed-forward), words:NAME_OR_PATH, fasttext:NAME_OR_PATH, the path of a language "
    "model .pt, of a gensim file or of a transformer folder, or train: {characters: forward} or train: {subwords: 50}"
)
DIRECTIONS = ("forward", "backward")
DEFAULTS = {  # of `train:`, by what is trained; and what its numbers may be
    "characters": {"hidden_size": 64, "epochs": 4},
    "subwords": {"epochs": 5},
}
RANGES = {"subwords": (1, 1000), "hidden_size": (1, 4096), "epochs": (1, 1000)}
PICKLE, ZIP = b"\x80", b"PK\x03\x04"  # first bytes of files of torch (either) and of gensim (a pickle)
OTHER_WORD_FILES = (".bin", ".txt", ".gz", ".bz2")  # word2vec, and compressed files that gensim opens


@dataclass(frozen=True)
class EmbeddingSpec:
    """A valid entry.

    `kind` is characters, words, fasttext, transformer, train_characters or train_subwords. `source` is an absolute
    path or a name that Flair knows, the direction for train_characters, empty for train_subwords.
    """

    kind: str
    source: str
    options: tuple[tuple[str, int], ...] = ()

    def entry(self) -> str | dict[str, Any]:
        """The entry as in a job file, ready for JSON; `parse_embedding` restores the spec from it."""
        if self.kind == "train_characters":
            return {"train": {"characters": self.source, **dict(self.options)}}
        if self.kind == "train_subwords":
            return {"train": dict(self.options)}
        return f"{self.kind}:{self.source}" if self.kind in ("words", "fasttext") else self.source

    def __str__(self) -> str:
        entry = self.entry()
        return entry if isinstance(entry, str) else json.dumps(entry)

    @property
    def path(self) -> Path | None:
        """The file or folder, if the entry names one."""
        path = Path(self.source)
        return path if path.is_absolute() else None


def parse_embedding(entry: Any, where: str) -> EmbeddingSpec:
    """Parse one entry; `where` is its location for messages (``jobs/mine.yaml:12: embeddings[0]``).

    Paths may contain ``$VARIABLES`` and ``~`` and are relative to the current folder. Of a file only the first bytes
    are checked; opening it checks the rest.

    Raises:
        InputError: all mistakes of the entry.
    """
    if isinstance(entry, str) and entry.strip():
        return _parse_text(entry.strip(), where)
    if isinstance(entry, Mapping) and set(entry) == {"train"} and isinstance(entry["train"], Mapping):
        return _parse_training(entry["train"], f"{where}.train")
    if isinstance(entry, Mapping) and "train" not in entry:
        found = f"unknown key {', '.join(repr(str(key)) for key in entry) or 'in an empty mapping'}"
        raise InputError(Problem(where, found, EXPECTED, nearest(str(next(iter(entry), "")), ["train"])))
    raise InputError(Problem(where, f"found {entry!r}", EXPECTED))


def _parse_text(entry: str, where: str) -> EmbeddingSpec:
    prefix, separator, rest = entry.partition(":")
    if separator and prefix in ("words", "fasttext"):
        if flair_names.is_word_vectors(rest):
            return EmbeddingSpec(prefix, rest.lower())
        if not _looks_like_path(rest):
            raise InputError(
                _unknown(rest, flair_names.WORD_VECTORS, "word vectors that Flair knows, or a path", where)
            )
        return EmbeddingSpec(prefix, str(_checked_file(_expanded(rest, where), prefix, where)))
    if flair_names.is_language_model(entry):
        return EmbeddingSpec("characters", entry.lower())
    if not _looks_like_path(entry):
        raise InputError(_unknown(entry, flair_names.language_models(), EXPECTED, where))
    path = _expanded(entry, where)
    if path.is_dir():
        return EmbeddingSpec("transformer", str(_checked_folder(path, where)))
    kind = "characters" if path.suffix == ".pt" else "words"
    return EmbeddingSpec(kind, str(_checked_file(path, kind, where)))


def _looks_like_path(text: str) -> bool:
    return any(mark in text for mark in "/.$~") or Path(text).exists()


def _unknown(name: str, valid: Any, expected: str, where: str) -> Problem:
    hint = nearest(name, valid)
    return Problem(where, f"unknown embedding '{name}'", expected, hint if hint.startswith("Did") else "")


def _expanded(text: str, where: str) -> Path:
    """The absolute path, with variables and ``~`` expanded."""
    unset = [name for name in re.findall(r"\$\{?(\w+)\}?", text) if name not in os.environ]
    if unset:
        raise InputError(
            *(Problem(where, f"'{text}' names ${name}, which is not set", fix=f"export {name}=...") for name in unset)
        )
    return Path(os.path.expandvars(text)).expanduser().absolute()


def _checked_file(path: Path, kind: str, where: str) -> Path:
    """The path, if the first bytes of the file are those of its kind."""
    if not path.exists():
        raise InputError(Problem(where, f"{path} does not exist", "an embedding file or folder"))
    if path.is_dir():
        raise InputError(Problem(where, f"{path} is a folder", "a file of vectors that gensim saved"))
    with path.open("rb") as stream:
        first = stream.read(4)
    if kind == "characters":
        if not first.startswith((PICKLE, ZIP)):
            raise InputError(Problem(where, f"{path} is no torch file", "a file saved by Flair's LanguageModel"))
    elif path.suffix not in OTHER_WORD_FILES and not first.startswith(PICKLE):
        expected = "vectors saved by gensim, word2vec .bin or .txt, or a language model .pt"
        raise InputError(Problem(where, f"{path} is no file of word vectors", expected))
    return path


def _checked_folder(path: Path, where: str) -> Path:
    if not (path / "config.json").is_file():
        expected = "a transformer folder, as transformers' save_pretrained writes it"
        raise InputError(Problem(where, f"{path} has no config.json", expected))
    return path


def _parse_training(settings: Mapping[Any, Any], where: str) -> EmbeddingSpec:
    """``train: {characters: DIRECTION, ...}`` or ``train: {subwords: WIDTH, ...}``; all mistakes at once."""
    trained = [what for what in DEFAULTS if what in settings]
    if len(trained) != 1:
        found = f"found {dict(settings)!r}"
        raise InputError(Problem(where, found, "characters: forward, characters: backward or subwords: WIDTH"))
    what = trained[0]
    problems = [_unknown_key(key, what, where) for key in settings if key not in (what, *DEFAULTS[what])]
    numbers = {**DEFAULTS[what], **{key: settings[key] for key in DEFAULTS[what] if key in settings}}
    if what == "subwords":
        numbers["subwords"] = settings[what]
    elif settings[what] not in DIRECTIONS:
        problems.append(Problem(f"{where}.{what}", f"found {settings[what]!r}", "forward or backward"))
    problems += [problem for key, value in numbers.items() if (problem := _out_of_range(key, value, where))]
    if problems:
        raise InputError(*problems)
    source = str(settings[what]) if what == "characters" else ""
    return EmbeddingSpec(f"train_{what}", source, tuple(sorted(numbers.items())))


def _unknown_key(key: Any, what: str, where: str) -> Problem:
    return Problem(where, f"unknown key '{key}'", fix=nearest(str(key), [what, *DEFAULTS[what]]))


def _out_of_range(key: str, value: Any, where: str) -> Problem | None:
    low, high = RANGES[key]
    if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
        return None
    return Problem(f"{where}.{key}", f"found {value!r}", f"a whole number from {low} to {high}")
