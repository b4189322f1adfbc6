"""Which corpora there are (the eight of Table 1, eight samples, a user's own), and their splits."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from munchray.corpora.reader import Sentence, read_columns
from munchray.errors import InputError, Problem, nearest

SPLITS = ("train", "dev", "test")
SPLIT_NAMES = {"train": ("train",), "dev": ("dev", "devel", "valid", "validation"), "test": ("test",)}
SUFFIXES = (".tsv", ".txt", ".conll", ".iob", ".bio")  # each also with .gz


class Counts(NamedTuple):
    """The size of a split: sentences, tokens and entities."""

    sentences: int
    words: int
    annotations: int


ENTITY_TYPES = {
    "ncbi-disease": "disease",
    "bc5cdr-disease": "disease",
    "bc5cdr-chem": "chemical",
    "chemdner": "chemical",
    "bc2gm": "gene",
    "jnlpba": "gene",
    "linnaeus": "species",
    "s800": "species",
}
SAMPLE_TYPES = {
    f"sample-{kind}-{number}": kind for kind in ("disease", "chemical", "gene", "species") for number in (1, 2)
}

# Table 1 of the paper as printed: sentences, words, annotations of train, dev and test.
TABLE_1: Mapping[str, Mapping[str, Counts]] = {
    name: dict(zip(SPLITS, (Counts(*train), Counts(*dev), Counts(*test)), strict=True))
    for name, train, dev, test in (
        ("ncbi-disease", (5424, 135701, 5134), (923, 23969, 787), (940, 24497, 960)),
        ("bc5cdr-disease", (4560, 118170, 4182), (4581, 117453, 4246), (4797, 124750, 4424)),
        ("bc5cdr-chem", (4560, 118170, 5203), (4581, 117453, 5347), (4797, 124750, 5385)),
        ("chemdner", (30682, 893685, 29478), (30639, 887805, 29486), (26364, 767636, 25346)),
        ("bc2gm", (12574, 355405, 15197), (2519, 71042, 3061), (5038, 143465, 6325)),
        ("jnlpba", (14690, 443653, 32178), (3856, 117213, 8575), (3856, 114709, 6241)),
        ("linnaeus", (11935, 281273, 2119), (4078, 93877, 711), (7142, 165095, 1433)),
        ("s800", (5733, 147291, 2557), (830, 22217, 384), (1630, 42298, 767)),
    )
}


@dataclass(frozen=True)
class CorpusSource:
    """Where a corpus comes from. ``entity_type`` is its group in the order rule, not the type in its tags."""

    name: str
    entity_type: str
    folder: Path | None  # None: a sample corpus, which is generated
    token_column: int = 0
    tag_column: int = -1
    scheme: str = "auto"


def known_corpora() -> dict[str, str]:
    """The corpora that need no definition, with their entity types: eight real ones, eight samples."""
    return ENTITY_TYPES | SAMPLE_TYPES


def data_folder(data_dir: Path | None) -> Path:
    """Where the real corpora lie: ``data_dir`` if given, else ``MUNCHRAY_DATA``, else ``data`` right here."""
    return data_dir or Path(os.environ.get("MUNCHRAY_DATA") or "data")


def find_corpus(name: str, data_dir: Path | None) -> CorpusSource:
    """The corpus of that name: a folder of `data_folder`, or a sample.

    Raises:
        InputError: for a name that is not known, or a real corpus whose folder is not there.
    """
    where = f"corpus '{name}'"
    if name in SAMPLE_TYPES:
        return CorpusSource(name, SAMPLE_TYPES[name], None)
    if name not in ENTITY_TYPES:
        expected = "a known corpus or one defined under `corpora:` in the job file"
        raise InputError(Problem(where, "no corpus of that name", expected, nearest(name, known_corpora())))
    folder = data_folder(data_dir) / name
    if not folder.is_dir():
        fix = (
            "Set the environment variable MUNCHRAY_DATA, or `data_dir:` in the job file, to the folder that "
            "holds the corpora, or download them with `munchray corpora fetch`."
        )
        raise InputError(Problem(where, f"no folder {folder}", "its train, dev and test files there", fix))
    return CorpusSource(name, ENTITY_TYPES[name], folder)


def load_split(source: CorpusSource, split: str, limit: int | None = None) -> tuple[Sentence, ...]:
    """The first ``limit`` sentences (all for None) of ``train``, ``dev`` or ``test``.

    Raises:
        InputError: when the folder has no file for the split or two, or for what is wrong in the file.
    """
    if source.folder is None:
        from munchray.corpora import samples

        return samples.generate(source.name)[split][:limit]
    file = split_file(source.name, source.folder, split)
    columns = {"token_column": source.token_column, "tag_column": source.tag_column}
    return tuple(read_columns(file, scheme=source.scheme, **columns)[:limit])


def split_file(name: str, folder: Path, split: str) -> Path:
    """The file of a split: ``train.tsv`` for instance, with any of `SUFFIXES`, ``.gz`` or not.

    Raises:
        InputError: when there is none, saying what was looked for and what is there, or more than one.
    """
    where = f"corpus '{name}'"
    if not folder.is_dir():
        raise InputError(Problem(where, f"no folder {folder}", "a folder with its train, dev and test files"))
    names = [stem + suffix for stem in SPLIT_NAMES[split] for suffix in SUFFIXES]
    files = [path for file in names for path in (folder / file, folder / f"{file}.gz") if path.is_file()]
    if len(files) == 1:
        return files[0]
    if files:
        found = f"{len(files)} files for the split '{split}' in {folder}: {_listed(files)}"
        raise InputError(Problem(where, found, "one", "Move the others away."))
    found = f"no file for the split '{split}' in {folder}, which holds {_listed(sorted(folder.iterdir()))}"
    stems = " or ".join(f"{stem}.tsv" for stem in SPLIT_NAMES[split])
    raise InputError(Problem(where, found, f"{stems} (or {', '.join(SUFFIXES[1:])}; .gz too)"))


def _listed(paths: list[Path], shown: int = 8) -> str:
    names = ", ".join(path.name for path in paths[:shown]) or "nothing"
    return names if len(paths) <= shown else f"{names} and {len(paths) - shown} more"


def entity_types(sentences: Iterable[Sentence]) -> tuple[str, ...]:
    """The types that occur in the tags, sorted."""
    tags: set[str] = set().union(*(sentence.tags for sentence in sentences))
    return tuple(sorted({tag[2:] for tag in tags if tag != "O"}))


def count(sentences: Iterable[Sentence]) -> Counts:
    """Sentences, words and annotations as Table 1 counts them: an annotation is a ``B-`` tag."""
    counted = words = annotations = 0
    for sentence in sentences:
        counted += 1
        words += len(sentence.tokens)
        annotations += sum(tag.startswith("B-") for tag in sentence.tags)
    return Counts(counted, words, annotations)


@dataclass(frozen=True)
class TableRow:
    """One split beside Table 1. ``measured`` is None when it could not be read, and ``problem`` says why."""

    corpus: str
    split: str
    printed: Counts
    measured: Counts | None
    problem: str = ""

    @property
    def equal(self) -> bool:
        """Whether all three counts are those of the paper."""
        return self.measured == self.printed

    @property
    def verdict(self) -> str:
        """``equal``, ``differs by -6 words``, or the problem."""
        if self.measured is None:
            return self.problem
        pairs = zip(Counts._fields, self.measured, self.printed, strict=True)
        differences = [f"{ours - theirs:+,} {field}" for field, ours, theirs in pairs if ours != theirs]
        return f"differs by {', '.join(differences)}" if differences else "equal"


def check(data_dir: Path | None) -> list[TableRow]:
    """Count every split of the eight real corpora; one that is missing or damaged is a row that says so."""
    return [check_split(name, split, data_dir) for name in TABLE_1 for split in SPLITS]


def check_split(name: str, split: str, data_dir: Path | None) -> TableRow:
    """One row of `check`; reading a large split takes a second or two."""
    printed = TABLE_1[name][split]
    try:
        return TableRow(name, split, printed, count(load_split(find_corpus(name, data_dir), split)))
    except InputError as error:
        return TableRow(name, split, printed, None, str(error.problems[0]))
