"""Parse column files (CoNLL style) into rows of tokens and tags, collecting every mistake."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from munchray.corpora.tags import OUTSIDE, UNKNOWN
from munchray.errors import InputError, Problem

SHOWN_PROBLEMS = 20  # a file in a wrong format has a problem on every line
DOCUMENT_START = "-DOCSTART-"
_UNDECODED = re.compile("[\udc80-\udcff]+")  # what "surrogateescape" makes of bytes that are not UTF-8


class Problems:
    """The mistakes in one file: the first 20, and how many there are."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._count = 0
        self._shown: list[tuple[int, Problem]] = []

    def add(self, line: int | None, found: str, expected: str = "", fix: str = "") -> None:
        """Add a mistake; ``line`` counts from 1 and is None for one of the whole file."""
        self._count += 1
        if self._count <= SHOWN_PROBLEMS:
            where = str(self._path) if line is None else f"{self._path}:{line}"
            self._shown.append((line or 0, Problem(where, found, expected, fix)))

    def raise_any(self) -> None:
        """Raise all mistakes as one InputError, ordered by line; do nothing if there is none."""
        problems = [problem for _, problem in sorted(self._shown, key=lambda entry: entry[0])]
        if self._count > SHOWN_PROBLEMS:
            hidden = f"{self._count - SHOWN_PROBLEMS:,} more problems in this file"
            problems.append(Problem(str(self._path), hidden))
        if problems:
            raise InputError(*problems)


class Row(NamedTuple):
    """A sentence with the tags of the file; ``UNKNOWN`` marks tokens and tags that were reported as mistakes."""

    line: int  # of its first token, from 1
    tokens: tuple[str, ...]
    tags: tuple[str, ...]


def read_text(path: Path, problems: Problems) -> str:
    """Decode a plain or ``.gz`` file; drops the byte order mark and carriage returns."""
    data = _read_bytes(path)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("utf-8-sig", errors="surrogateescape")
        _report_undecoded(text, problems)
    return text.replace("\r\n", "\n").removesuffix("\r")


def _read_bytes(path: Path) -> bytes:
    try:
        data = path.read_bytes()
        return gzip.decompress(data) if path.suffix == ".gz" else data
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        fix = "Copy or download it again, or drop '.gz' from its name if it is not compressed."
        problem = Problem(str(path), f"damaged or no gzip file ({error})", "a whole gzip file", fix)
    except OSError as error:
        problem = Problem(str(path), f"cannot be read ({error.strerror})", "a readable file")
    raise InputError(problem)


def _report_undecoded(text: str, problems: Problems) -> None:
    for number, line in enumerate(text.split("\n"), 1):
        if match := _UNDECODED.search(line):
            wrong = match.group().encode("utf-8", errors="surrogateescape").hex(" ").upper()
            fix = "Save the file as UTF-8, for instance with `iconv -f latin1 -t utf-8`."
            problems.add(number, f"invalid UTF-8 (bytes {wrong} at character {match.start() + 1})", "UTF-8", fix)


class ColumnParser:
    """Splits the text of one file into rows. ``prefixes`` are the letters a tag may begin with.

    The first valid line fixes the number of columns. From then on a sentence whose lines all have this layout
    is split as one block, which is faster; any other is parsed line by line.
    """

    def __init__(self, token_column: int, tag_column: int, prefixes: str, problems: Problems) -> None:
        self._token_column, self._tag_column = token_column, tag_column
        self._tokens: dict[str, str] = {}  # each to itself, so that equal strings are one object
        self._tags: dict[str, str] = {}  # likewise; valid tags only
        self._prefixes = prefixes
        self._problems = problems
        self._needed = max(2, *(at + 1 if at >= 0 else -at for at in (token_column, tag_column)))
        self._width = 0  # columns per line, once known
        self._width_line = 0  # the line that fixed it
        self._separator = ""
        self._block_pattern: re.Pattern[str] | None = None

    def rows(self, text: str) -> Iterator[Row]:
        """The sentences of a file; only line feeds end a line, for a token may hold U+2028 or U+0085."""
        line = 1
        for block in text.split("\n\n"):
            row = self._parse_block(block, line)
            if row:
                yield row
            else:
                yield from self._parse_lines(block, line)
            line += block.count("\n") + 2

    def _parse_block(self, block: str, line: int) -> Row | None:
        if not self._block_pattern or not self._block_pattern.fullmatch(block) or DOCUMENT_START in block:
            return None
        cells = block.replace("\n", self._separator).split(self._separator)
        tokens = cells[self._token_column % self._width :: self._width]
        tags = cells[self._tag_column % self._width :: self._width]
        if not self._tags.keys() >= set(tags):  # a new tag, perhaps an invalid one
            return None
        intern = self._tokens.setdefault
        return Row(line, tuple(map(intern, tokens, tokens)), tuple(map(self._tags.__getitem__, tags)))

    def _parse_lines(self, block: str, first_line: int) -> Iterator[Row]:
        tokens: list[str] = []
        tags: list[str] = []
        for number, line in enumerate((block + "\n").split("\n"), first_line):
            if line and not line.isspace() and not line.startswith(DOCUMENT_START):
                token, tag = self._token_and_tag(line, number)
                tokens.append(token)
                tags.append(tag)
            elif tokens:
                yield Row(number - len(tokens), tuple(tokens), tuple(tags))
                tokens, tags = [], []

    def _token_and_tag(self, line: str, number: int) -> tuple[str, str]:
        cells = line.split("\t") if "\t" in line else [cell for cell in line.split(" ") if cell]
        if not self._width and len(cells) >= self._needed:
            self._fix_layout(line, len(cells), number)
        if len(cells) != self._width:
            self._report_columns(cells, number)
            return UNKNOWN, UNKNOWN
        token, tag = cells[self._token_column].strip(" "), cells[self._tag_column].strip(" ")
        if token == UNKNOWN:
            self._problems.add(number, "an empty token", "a token", "Only an empty line ends a sentence.")
        token = self._tokens.setdefault(token, token)
        if self._is_tag(tag):
            return token, self._tags.setdefault(tag, tag)
        self._report_tag(tag, number)
        return token, UNKNOWN

    def _fix_layout(self, line: str, width: int, number: int) -> None:
        self._width, self._width_line = width, number
        self._separator = "\t" if "\t" in line else " "
        uniform = self._separator.join(["[^ \t\n]+"] * width)
        self._block_pattern = re.compile(f"{uniform}(?:\n{uniform})*")

    def _is_tag(self, tag: str) -> bool:
        return tag == OUTSIDE or (len(tag) > 2 and tag[0] in self._prefixes and tag[1] == "-")

    def _report_columns(self, cells: list[str], number: int) -> None:
        columns = "1 column" if len(cells) == 1 else f"{len(cells)} columns"
        expected = f"at least {self._needed} columns"
        if self._width:
            expected = f"{self._width} columns as on line {self._width_line}"
        fix = "A line is a token and its tag, separated by a tab or by spaces."
        self._problems.add(number, f"{columns} ({_short(' '.join(cells))})", expected, fix)

    def _report_tag(self, tag: str, number: int) -> None:
        scheme = "O, B-TYPE or I-TYPE"
        if "E" in self._prefixes:
            scheme += " (or E-TYPE, S-TYPE)"
        if tag in tuple(self._prefixes):
            fix = f"The entity type is missing: write '{tag}-Disease', for instance."
        else:
            fix = "Is another column the tag?"
        self._problems.add(number, f"tag {_short(tag)} is no IOB tag", scheme, fix)


def _short(text: str) -> str:
    return f"'{text}'" if len(text) <= 40 else f"'{text[:37]}...'"
