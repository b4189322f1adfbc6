"""Text in, tagged text out: raw text or columns to tokens; tags to columns, JSON lines or colours. (segtok)"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from segtok.segmenter import split_single

from munchray.corpora.columns import DOCUMENT_START
from munchray.corpora.tags import Span
from munchray.errors import InputError, Problem

TOKEN = re.compile(r"[^\W_]+|[^\s]")
"""Runs of letters and digits, or single marks: how the corpora of Table 1 are tokenised."""

SCORE_DIGITS = 4
COLOURS = ("black on cyan", "black on green", "black on yellow", "black on magenta", "white on blue", "white on red")


class Token(NamedTuple):
    """A token and where it lies in its sentence's text, in characters."""

    text: str
    start: int
    stop: int


class Sentence(NamedTuple):
    """A sentence as people wrote it, and its tokens."""

    text: str
    tokens: tuple[Token, ...]

    @property
    def words(self) -> list[str]:
        """The tokens' texts."""
        return [token.text for token in self.tokens]


def read_text(lines: Iterable[str]) -> Iterator[Sentence]:
    """Sentences of raw text; a line never continues a sentence of the line before."""
    for line in lines:
        for text in split_single(line.strip()):
            if text.strip():
                yield Sentence(text, tuple(Token(m[0], m.start(), m.end()) for m in TOKEN.finditer(text)))


def read_document(document: str) -> Iterator[tuple[int, Sentence]]:
    """Sentences of a text of any number of lines, each with the character of the text at which it begins."""
    begin = 0
    for line in document.splitlines(keepends=True):
        position = begin
        for sentence in read_text([line]):
            position = document.index(sentence.text, position)
            yield position, sentence
            position += len(sentence.text)
        begin += len(line)


def read_columns(lines: Iterable[str], name: str) -> Iterator[Sentence]:
    """Sentences of a file with a token first on each line and a blank line after each sentence.

    Lines are cut as the corpora's are: at tabs if there is one, else at spaces, and at nothing else.

    Raises:
        InputError: a line that begins with a tab, so that it has no token.
    """
    words: list[str] = []
    for number, line in enumerate(lines, 1):
        if line and not line.isspace() and not line.startswith(DOCUMENT_START):
            words.append(_first_column(line, f"{name}:{number}"))
        elif words:
            yield from_words(words)
            words = []
    if words:
        yield from_words(words)


def _first_column(line: str, where: str) -> str:
    word = line.split("\t")[0].strip(" ") if "\t" in line else line.strip(" ").split(" ")[0]
    if not word:
        raise InputError(Problem(where, "an empty token", "a token", "Only an empty line ends a sentence"))
    return word


def from_words(words: Sequence[str]) -> Sentence:
    """A sentence of given tokens, joined by spaces."""
    tokens, start = [], 0
    for word in words:
        tokens.append(Token(word, start, start + len(word)))
        start += len(word) + 1
    return Sentence(" ".join(words), tuple(tokens))


def decoded(lines: Iterable[bytes], name: str) -> Iterator[str]:
    """Lines as text, without line ends and byte order mark.

    Raises:
        InputError: a line that is not UTF-8; nothing in it at all.
    """
    something = False
    for number, line in enumerate(lines, 1):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            found = f"byte {line[error.start]:#04x} at column {error.start + 1} is not UTF-8"
            raise InputError(Problem(f"{name}:{number}", found, fix="Convert the file to UTF-8")) from None
        something = something or bool(text.strip())
        yield text.rstrip("\r\n")
    if not something:
        raise InputError(Problem(name, "nothing to tag", "text, or one token a line"))


def as_conll(sentence: Sentence, tags: Sequence[str]) -> str:
    """``token<TAB>tag`` lines and a blank one."""
    return "".join(f"{token.text}\t{tag}\n" for token, tag in zip(sentence.tokens, tags, strict=True)) + "\n"


def as_json(sentence: Sentence, found: Sequence[tuple[Span, float]]) -> str:
    """One line: the text and its spans."""
    return json.dumps({"text": sentence.text, "spans": character_spans(sentence, found)}, ensure_ascii=False) + "\n"


def character_spans(sentence: Sentence, found: Sequence[tuple[Span, float]], offset: int = 0) -> list[dict[str, Any]]:
    """Spans of tokens as spans of characters, with type, text and score, ready for JSON.

    Args:
        offset: characters that come before the sentence.
    """
    spans = []
    for (first, after, kind), score in found:
        start, end = sentence.tokens[first].start, sentence.tokens[after - 1].stop
        own = {"start": offset + start, "end": offset + end, "type": kind, "text": sentence.text[start:end]}
        spans.append({**own, "score": round(score, SCORE_DIGITS)})
    return spans


def as_markup(sentence: Sentence, found: Sequence[tuple[Span, float]], kinds: list[str]) -> list[tuple[str, str]]:
    """Pieces of the text with a style each, empty for what is no span; ``kinds`` remembers each type's colour."""
    pieces, done = [], 0
    for span in character_spans(sentence, found):
        kind = span["type"]
        if kind not in kinds:
            kinds.append(kind)
        style = COLOURS[kinds.index(kind) % len(COLOURS)]
        pieces += [(sentence.text[done : span["start"]], ""), (f"{span['text']} [{kind} {span['score']:.2f}]", style)]
        done = span["end"]
    return [*pieces, (sentence.text[done:], "")]
