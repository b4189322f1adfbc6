"""Sentence splitting and tokenisation with character offsets; output as columns, JSON or coloured text. (segtok)"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from segtok.segmenter import split_single

from munchray.corpora.columns import DOCUMENT_START
from munchray.corpora.tags import TokenSpan
from munchray.errors import InputError, Problem

TOKEN = re.compile(r"[^\W_]+|[^\s]")
"""Runs of letters and digits, or single other characters: the tokenisation of the corpora of Table 1."""

LINE_BREAK = re.compile("[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")  # as `str.splitlines`
PROBABILITY_DIGITS = 4
COLOURS = ("black on cyan", "black on green", "black on yellow", "black on magenta", "white on blue", "white on red")


@dataclass(frozen=True)
class Span:
    """An entity in a text.

    Args:
        start: character (code point) at which it begins.
        end: character after its last one.
        type: entity type.
        text: the characters from start to end.
        probability: that exactly this span is an entity of this type, under the CRF.
    """

    start: int
    end: int
    type: str
    text: str
    probability: float

    def as_dict(self) -> dict[str, Any]:
        """The fields, ready for JSON; the probability is rounded."""
        return {**asdict(self), "probability": round(self.probability, PROBABILITY_DIGITS)}


class Token(NamedTuple):
    """A token and its character offsets in the text of its sentence."""

    text: str
    start: int
    stop: int


class TokenizedSentence(NamedTuple):
    """A sentence of raw text and its tokens; ``offset`` counts the characters before it in its document."""

    text: str
    tokens: tuple[Token, ...]
    offset: int = 0

    @property
    def words(self) -> list[str]:
        """The texts of the tokens."""
        return [token.text for token in self.tokens]


def tokenize_lines(lines: Iterable[str]) -> Iterator[TokenizedSentence]:
    """Split lines into sentences; none continues over the end of a line."""
    for line in lines:
        for text in split_single(line.strip()):
            if text.strip():
                yield TokenizedSentence(text, tuple(Token(m[0], m.start(), m.end()) for m in TOKEN.finditer(text)))


def tokenize_document(document: str) -> Iterator[TokenizedSentence]:
    """As `tokenize_lines` for the lines of a text, with offsets."""
    line_start = 0
    for line in document.splitlines(keepends=True):
        position = line_start
        for sentence in tokenize_lines([line]):
            position = document.index(sentence.text, position)
            yield sentence._replace(offset=position)
            position += len(sentence.text)
        line_start += len(line)


def tokenize_paragraph(paragraph: str) -> Iterator[TokenizedSentence]:
    """Split a text into sentences that may continue over line breaks, with offsets."""
    for sentence in tokenize_document(LINE_BREAK.sub(" ", paragraph)):
        yield sentence._replace(text=paragraph[sentence.offset : sentence.offset + len(sentence.text)])


def read_token_column(lines: Iterable[str], name: str) -> Iterator[TokenizedSentence]:
    """Sentences of a file with a token first on each line and a blank line after each sentence.

    Lines are split as in corpora: at tabs if there is one, else at spaces, and at nothing else.

    Raises:
        InputError: a line that begins with a tab, so that it has no token.
    """
    words: list[str] = []
    for number, line in enumerate(lines, 1):
        if line and not line.isspace() and not line.startswith(DOCUMENT_START):
            words.append(_first_column(line, f"{name}:{number}"))
        elif words:
            yield from_tokens(words)
            words = []
    if words:
        yield from_tokens(words)


def _first_column(line: str, where: str) -> str:
    word = line.split("\t")[0].strip(" ") if "\t" in line else line.strip(" ").split(" ")[0]
    if not word:
        raise InputError(Problem(where, "an empty token", "a token", "Only an empty line ends a sentence"))
    return word


def from_tokens(words: Sequence[str]) -> TokenizedSentence:
    """A sentence of given tokens; its text is the tokens joined by spaces."""
    tokens, start = [], 0
    for word in words:
        tokens.append(Token(word, start, start + len(word)))
        start += len(word) + 1
    return TokenizedSentence(" ".join(words), tuple(tokens))


def decode_lines(lines: Iterable[bytes], name: str) -> Iterator[str]:
    """Decode lines, without line ends and byte order mark.

    Raises:
        InputError: a line that is not UTF-8; only blank lines, or none.
    """
    blank = True
    for number, line in enumerate(lines, 1):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            found = f"byte {line[error.start]:#04x} at column {error.start + 1} is not UTF-8"
            raise InputError(Problem(f"{name}:{number}", found, fix="Convert the file to UTF-8")) from None
        blank = blank and not text.strip()
        yield text.rstrip("\r\n")
    if blank:
        raise InputError(Problem(name, "nothing to tag", "text, or one token per line"))


def character_spans(sentence: TokenizedSentence, found: Sequence[tuple[TokenSpan, float]]) -> list[Span]:
    """Convert token spans and their probabilities to spans of characters of the document."""
    spans = []
    for (first, after, entity_type), probability in found:
        start, end = sentence.tokens[first].start, sentence.tokens[after - 1].stop
        text, offset = sentence.text[start:end], sentence.offset
        spans.append(Span(offset + start, offset + end, entity_type, text, probability))
    return spans


def as_conll(sentence: TokenizedSentence, tags: Sequence[str]) -> str:
    """``token<TAB>tag`` lines and a blank one."""
    return "".join(f"{token.text}\t{tag}\n" for token, tag in zip(sentence.tokens, tags, strict=True)) + "\n"


def as_json(sentence: TokenizedSentence, spans: Sequence[Span]) -> str:
    """One line: the text of a sentence without offset, and its spans."""
    row = {"text": sentence.text, "spans": [span.as_dict() for span in spans]}
    return json.dumps(row, ensure_ascii=False) + "\n"


def as_markup(sentence: TokenizedSentence, spans: Sequence[Span], types: list[str]) -> list[tuple[str, str]]:
    """Pieces of the text of a sentence without offset, each with a style (empty outside of spans).

    Args:
        types: entity types in the order of their colours; new ones are appended.
    """
    pieces, done = [], 0
    for span in spans:
        if span.type not in types:
            types.append(span.type)
        style = COLOURS[types.index(span.type) % len(COLOURS)]
        pieces += [
            (sentence.text[done : span.start], ""),
            (f"{span.text} [{span.type} {span.probability:.2f}]", style),
        ]
        done = span.end
    return [*pieces, (sentence.text[done:], "")]
