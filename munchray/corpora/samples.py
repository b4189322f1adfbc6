"""Eight generated sample corpora, for trying everything offline.

One grammar writes biomedical-looking sentences in which diseases, chemicals, genes and species are all marked; a
corpus keeps the marks of its own type and its own annotation style, as real corpora do. What makes it hard:

* Names are built from morphemes. A train split knows only a share of them, dev and test use all, so a tagger must
  generalise; a corpus of the same type knows other morphemes, which is what it can teach as an auxiliary.
* The other three types stand unmarked in the same sentences, in much the same contexts, and lend parts to each
  other's names ("BRC2-deficient", "Acinella infection"); corpora of those types could teach what *not* to mark.
* The two corpora of a type disagree on where a name begins and ends, so pouring them together mixes two conventions.
* Some names are also common words or measurements: lead, gold, CAT, AIDS, cold; diagnosis ends like a disease.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from munchray.corpora.reader import Sentence
from munchray.corpora.sample_grammar import GRAMMAR, SHARED, TYPES, WORDS
from munchray.corpora.tags import Span, spans_to_iob2
from munchray.files import digest


@dataclass(frozen=True)
class Recipe:
    """What tells one sample corpus from another.

    Args:
        entity_type: the type it annotates.
        marks: its annotation style, which marks of that type it keeps: ``wide`` (with modifier) or ``core``
            (without), and ``short`` where abbreviations count. Where two marks nest, the outer one is kept.
        known: the share of each word list that its train split draws from.
        sizes: sentences of train, dev and test.
    """

    entity_type: str
    marks: tuple[str, ...]
    known: float
    sizes: tuple[int, int, int]


# The first of each type is a small main corpus, the second a larger auxiliary that knows more of the language. What the
# main ones know is set so that a small tagger alone is neither lost nor done after fifteen epochs (dev F1 47 to 80).
RECIPES = {
    "sample-disease-1": Recipe("Disease", ("wide", "short"), 0.55, (280, 120, 150)),
    "sample-disease-2": Recipe("Disease", ("core", "short"), 0.9, (500, 80, 150)),
    "sample-chemical-1": Recipe("Chemical", ("core", "short"), 0.65, (300, 120, 150)),
    "sample-chemical-2": Recipe("Chemical", ("wide",), 0.9, (560, 100, 150)),
    "sample-gene-1": Recipe("Gene", ("core", "short"), 0.55, (240, 120, 150)),
    "sample-gene-2": Recipe("Gene", ("wide", "short"), 0.9, (600, 100, 150)),
    "sample-species-1": Recipe("Species", ("wide", "core", "short"), 0.5, (220, 120, 150)),
    "sample-species-2": Recipe("Species", ("core", "short"), 0.9, (420, 80, 150)),
}
FOCUS = 8  # a free mention is of the corpus's own type this many times as often as of each other: enough to learn from
MIN_TOKENS, MAX_TOKENS = 6, 35


def generate(name: str) -> dict[str, tuple[Sentence, ...]]:
    """The train, dev and test sentences of a sample corpus: the same on every machine and Python.

    Raises:
        KeyError: no sample corpus has this name.
    """
    recipe = RECIPES[name]
    dice = Dice(name)
    everything = {**GRAMMAR, **SHARED, **WORDS, "THING": _things(recipe.entity_type)}
    known = {symbol: _share(words, recipe.known, dice) for symbol, words in WORDS.items()}
    rules = {"train": {**everything, **known}, "dev": everything, "test": everything}
    seen: set[tuple[str, ...]] = set()
    return {
        split: tuple(_fresh_sentence(rules[split], recipe, dice, seen) for _ in range(size))
        for split, size in zip(rules, recipe.sizes, strict=True)
    }


class Dice:
    """Choices that depend on the seed text alone; of ``random`` only ``random()`` is promised to stay the same."""

    def __init__(self, seed: str) -> None:
        self._random = random.Random(int(digest(seed), 16))

    def choose(self, options: Sequence[str]) -> str:
        """One of the options, all equally likely."""
        return options[int(self._random.random() * len(options))]

    def sample(self, options: Sequence[str], size: int) -> tuple[str, ...]:
        """``size`` of the options, each at most once."""
        return tuple(sorted(options, key=lambda _: self._random.random())[:size])


@dataclass
class Draft:
    """A sentence being written: tokens and the marked mentions, outer ones after those inside them."""

    tokens: list[str] = field(default_factory=list)
    mentions: list[Span] = field(default_factory=list)


def _things(entity_type: str) -> tuple[str, ...]:
    return tuple(kind.upper() for kind in TYPES) + (entity_type.upper(),) * (FOCUS - 1)


def _share(words: Sequence[str], known: float, dice: Dice) -> tuple[str, ...]:
    return dice.sample(words, max(1, round(known * len(words))))


def _fresh_sentence(
    rules: Mapping[str, Sequence[str]], recipe: Recipe, dice: Dice, seen: set[tuple[str, ...]]
) -> Sentence:
    """A sentence of allowed length whose tokens no sentence of the corpus has yet."""
    while True:
        draft = Draft()
        _write("SENTENCE", rules, dice, draft)
        first, *rest = draft.tokens
        tokens = (first.capitalize() if first.isalpha() and first.islower() else first, *rest)
        if MIN_TOKENS <= len(tokens) <= MAX_TOKENS and tokens not in seen:
            seen.add(tokens)
            return Sentence(tokens, tuple(_tags(draft.mentions, recipe, len(tokens))))


def _write(symbol: str, rules: Mapping[str, Sequence[str]], dice: Dice, draft: Draft) -> None:
    """Append an expansion of ``symbol``; pieces of a token expand to one token each."""
    opened: list[tuple[int, str]] = []
    for item in dice.choose(rules[symbol]).split():
        if item.startswith("{"):
            opened.append((len(draft.tokens), item[1:]))
        elif item == "}":
            start, mark = opened.pop()
            draft.mentions.append((start, len(draft.tokens), mark))
        elif item in rules:
            _write(item, rules, dice, draft)
        else:
            draft.tokens.append("".join(_piece(piece, rules, dice) for piece in item.split("+")))


def _piece(piece: str, rules: Mapping[str, Sequence[str]], dice: Dice) -> str:
    return dice.choose(rules[piece]) if piece in rules else piece


def _tags(mentions: Sequence[Span], recipe: Recipe, length: int) -> list[str]:
    """IOB2 tags of the mentions that the corpus annotates, outermost first."""
    kept: list[Span] = []
    wanted = {f"{recipe.entity_type}.{mark}" for mark in recipe.marks}
    for start, end, mark in reversed(mentions):
        if mark in wanted and not any(start < span[1] and span[0] < end for span in kept):
            kept.append((start, end, recipe.entity_type))
    return spans_to_iob2(sorted(kept), length)
