"""Tag files and score splits with an exported model."""

from __future__ import annotations

import gzip
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from itertools import tee
from pathlib import Path
from typing import Any

from munchray.corpora.catalogue import SPLITS, CorpusSource, entity_types, find_corpus, load_split
from munchray.errors import InputError, Problem, nearest
from munchray.models import text
from munchray.models.bundle import Model
from munchray.tagging.scoring import by_type, seqeval_scores

OUTPUTS = ("conll", "json", "spans")
COLUMN_SUFFIXES = (".tsv", ".conll", ".iob", ".bio")

Piece = str | list[tuple[str, str]]


def tag_file(model: Path, file: str, columns: bool | None, output: str) -> Iterator[Piece]:
    """Tag every sentence of a file (``-``: standard input), a piece of output each, in bounded memory.

    Args:
        columns: one token a line; None decides by the file's name.
        output: one of `OUTPUTS`; ``spans`` gives styled pieces, the others lines.

    Raises:
        InputError: no such model or file; not UTF-8; nothing in it.
    """
    tagger = Model.load(model)
    if columns is None:
        columns = Path(file.removesuffix(".gz")).suffix in COLUMN_SUFFIXES
    name = "standard input" if file == "-" else file
    lines = text.decoded(_lines(file), name)
    sentences, read_ahead = tee(text.read_columns(lines, name) if columns else text.read_text(lines))
    words = (sentence.words for sentence in read_ahead)
    if output == "conll":
        yield from map(text.as_conll, sentences, tagger.tag(words))
    elif output == "json":
        yield from map(text.as_json, sentences, tagger.find(words))
    else:
        kinds: list[str] = []
        yield from (text.as_markup(*pair, kinds) for pair in zip(sentences, tagger.find(words), strict=True))


def evaluate(model: Path, corpus: str, data_dir: Path | None, progress: Callable[[str], None]) -> dict[str, Any]:
    """Precision, recall, F1 (percent) and spans of ``corpus/split`` (default test), per type and over all.

    The figures over all are seqeval's in strict mode.

    Args:
        corpus: a known one, or a folder of train, dev and test files, first column tokens, last one tags.

    Raises:
        InputError: no such model, corpus or split; the model does not know all of its entity types.
    """
    source, split = _split_named(corpus, data_dir)
    tagger = Model.load(model)
    sentences = load_split(source, split)
    unknown = set(entity_types(sentences)) - set(tagger.entity_types)
    if unknown:
        expected = f"only types of the model ({', '.join(tagger.entity_types)}), trained on {tagger.main}"
        raise InputError(Problem(corpus, f"entity types {', '.join(sorted(unknown))}", expected))
    gold = [sentence.tags for sentence in sentences]
    found = []
    for tags in tagger.tag(sentence.tokens for sentence in sentences):
        found.append(tags)
        progress(f"{len(found):,} of {len(sentences):,} sentences")
    rows = {
        kind: {"precision": c.precision, "recall": c.recall, "f1": c.f1, "support": c.tp + c.fn}
        for kind, c in by_type(gold, found).items()
    }
    return {**rows, "all": seqeval_scores(gold, found)}


def _split_named(corpus: str, data_dir: Path | None) -> tuple[CorpusSource, str]:
    """``ncbi-disease/dev``, ``ncbi-disease`` (its test split), or a folder likewise."""
    if Path(corpus).is_dir():
        return CorpusSource(corpus, "", Path(corpus)), "test"
    name, slash, split = corpus.rpartition("/")
    if not slash:
        return find_corpus(corpus, data_dir), "test"
    if split not in SPLITS:
        raise InputError(Problem(corpus, f"no split '{split}'", f"one of {', '.join(SPLITS)}", nearest(split, SPLITS)))
    is_folder = Path(name).is_dir()
    return (CorpusSource(name, "", Path(name)) if is_folder else find_corpus(name, data_dir)), split


def _lines(file: str) -> Iterable[bytes]:
    if file == "-":
        yield from sys.stdin.buffer
        return
    path = Path(file)
    if not path.is_file():
        found = "is a folder" if path.is_dir() else "no such file"
        raise InputError(Problem(file, found, "a file, or - for standard input"))
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
        try:
            yield from stream
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            fix = "Copy it again, or drop '.gz' from its name if it is not compressed"
            raise InputError(Problem(file, f"damaged or no gzip file ({error})", "a whole gzip file", fix)) from None
