"""Tag text and column files with an exported model, as a stream."""

from __future__ import annotations

import gzip
import sys
import zlib
from collections.abc import Iterable, Iterator
from itertools import tee
from pathlib import Path

from munchray.errors import InputError, Problem
from munchray.models import text
from munchray.models.model import Model

OUTPUTS = ("conll", "json", "spans")
COLUMN_SUFFIXES = (".tsv", ".conll", ".iob", ".bio")

Piece = str | list[tuple[str, str]]


def tag_file(model: Path, file: str, columns: bool | None, output: str) -> Iterator[Piece]:
    """Tag a file (``-``: standard input) in bounded memory; yields the output of one sentence at a time.

    Args:
        columns: one token per line; None decides by the file's name.
        output: one of `OUTPUTS`; ``spans`` yields styled pieces, the others lines.

    Raises:
        InputError: no such model or file, an empty file, or one that is not UTF-8.
    """
    tagger = Model.load(model)
    if columns is None:
        columns = Path(file.removesuffix(".gz")).suffix in COLUMN_SUFFIXES
    name = "standard input" if file == "-" else file
    lines = text.decode_lines(read_lines(file), name)
    sentences, ahead = tee(text.read_token_column(lines, name) if columns else text.tokenize_lines(lines))
    if output == "conll":
        yield from map(text.as_conll, sentences, tagger.iter_tags(sentence.words for sentence in ahead))
    elif output == "json":
        yield from map(text.as_json, sentences, tagger.iter_spans(ahead))
    else:
        types: list[str] = []
        for sentence, spans in zip(sentences, tagger.iter_spans(ahead), strict=True):
            yield text.as_markup(sentence, spans, types)


def read_lines(file: str) -> Iterable[bytes]:
    """The lines of a plain or ``.gz`` file, or of standard input for ``-``.

    Raises:
        InputError: no such file, a folder, or a damaged ``.gz`` file.
    """
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
