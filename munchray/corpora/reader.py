"""Read column files (one token and its tag per line) into sentences with IOB2 tags."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from munchray.corpora.columns import ColumnParser, Problems, Row, read_text
from munchray.corpora.tags import (
    OUTSIDE,
    PREFIXES,
    SCHEMES,
    Transition,
    Violation,
    detect_scheme,
    iobes_to_iob2,
    only_in_iobes,
    violation,
)


class Sentence(NamedTuple):
    """The tokens of a sentence and their tags, always valid IOB2."""

    tokens: tuple[str, ...]
    tags: tuple[str, ...]


def read_columns(
    path: Path,
    *,
    token_column: int = 0,
    tag_column: int = -1,
    scheme: str = "auto",
    max_tokens: int = 2000,
) -> list[Sentence]:
    """The sentences of a column file, plain or ``.gz``, with their tags as IOB2.

    A line is a token and its columns, separated by tabs if it has any, else by spaces; columns count from 0,
    or from the end when negative. Empty lines and ``-DOCSTART-`` lines end a sentence. ``scheme`` is
    ``iob1``, ``iob2`` or ``iobes`` (which accepts BILOU too), and the tags must be valid in it; ``auto`` detects
    the scheme of the file.

    Raises:
        InputError: the mistakes in the file: the first 20, and how many more there are.
    """
    if scheme not in ("auto", *SCHEMES):
        raise ValueError(f"scheme is 'auto' or one of {SCHEMES}, not {scheme!r}")
    problems = Problems(path)
    parser = ColumnParser(token_column, tag_column, PREFIXES.get(scheme, PREFIXES["iobes"]), problems)
    rows = list(parser.rows(read_text(path, problems)))
    _check_lengths(rows, max_tokens, problems)
    if scheme == "auto":
        scheme = _detect(rows, problems)
    else:
        _check_scheme(rows, scheme, problems)
    problems.raise_any()
    if scheme == "iob2":
        return [Sentence(row.tokens, row.tags) for row in rows]
    return [Sentence(row.tokens, tuple(map(sys.intern, iobes_to_iob2(row.tags)))) for row in rows]


def _check_lengths(rows: Sequence[Row], max_tokens: int, problems: Problems) -> None:
    if not rows:
        problems.add(None, "no sentences", "lines of a token and its tag", "Is this the right file?")
    for row in rows:
        if len(row.tokens) > max_tokens:
            found = f"a sentence of {len(row.tokens):,} tokens begins here"
            fix = "Are the empty lines between its sentences missing?"
            problems.add(row.line, found, f"at most {max_tokens:,} tokens", fix)


def _check_scheme(rows: Sequence[Row], scheme: str, problems: Problems, fix: str = "") -> None:
    for line, wrong in _violations(rows, scheme):
        problems.add(line, wrong.found, wrong.expected, fix)


def _detect(rows: Sequence[Row], problems: Problems) -> str:
    """The scheme of the file; if none fits, a mistake that names the first line against IOB2 and against IOB1."""
    scheme = detect_scheme(_all_transitions(rows))
    if scheme == "iobes":
        line, tag = next((line, tag) for line, tag in _lines_and_tags(rows) if only_in_iobes(tag))
        _check_scheme(rows, scheme, problems, f"The file is read as IOBES because of '{tag}' on line {line}")
    elif scheme is None:
        line, iob2 = next(_violations(rows, "iob2"))
        other_line, iob1 = next(_violations(rows, "iob1"))
        found = f"{iob2.found} is against IOB2, and {iob1.found} on line {other_line} is against IOB1"
        fix = f"If the file is meant as IOB2, line {line} needs {iob2.expected}"
        problems.add(line, found, "one scheme in the whole file", fix)
    return scheme or "iob2"


def _violations(rows: Sequence[Row], scheme: str) -> Iterator[tuple[int, Violation]]:
    """Violations of a scheme with their lines. The few distinct transitions are checked before any line is."""
    found = {pair: wrong for pair in set(_all_transitions(rows)) if (wrong := violation(scheme, *pair))}
    for row in rows if found else ():
        for position, pair in enumerate(_transitions(row)):
            if pair in found:
                yield row.line + position - 1 + found[pair].side, found[pair]


def _transitions(row: Row) -> Iterator[Transition]:
    return zip((OUTSIDE, *row.tags), (*row.tags, OUTSIDE), strict=True)


def _all_transitions(rows: Sequence[Row]) -> Iterator[Transition]:
    return chain.from_iterable(map(_transitions, rows))


def _lines_and_tags(rows: Sequence[Row]) -> Iterator[tuple[int, str]]:
    return ((line, tag) for row in rows for line, tag in enumerate(row.tags, row.line))
