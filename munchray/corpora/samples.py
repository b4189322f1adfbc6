"""Eight generated sample corpora, for trying every command offline.

One grammar writes biomedical-looking sentences in which diseases, chemicals, genes and species are all marked as
mentions; a corpus keeps those of its own type and its own annotation style, as real corpora do. What makes it hard:

* Names are built from morphemes. A train split uses only a part of them, dev and test use all, so a tagger must
  generalise; a corpus of the same type uses other morphemes, which is what it can teach as an auxiliary.
* The other three types occur unmarked in the same sentences, in similar contexts, and are parts of each
  other's names ("BRC2-deficient", "Acinella infection"); corpora of those types could teach what *not* to mark.
* The two corpora of a type disagree on where a name begins and ends, so concatenating them mixes two conventions.
* Some names are also common words or measurements: lead, gold, CAT, AIDS, cold; diagnosis ends like a disease.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from munchray.corpora.reader import Sentence
from munchray.corpora.sample_grammar import GRAMMAR, SHARED, TYPES, WORDS
from munchray.corpora.tags import TokenSpan, spans_to_iob2
from munchray.files import digest


@dataclass(frozen=True)
class Recipe:
    """Parameters of one sample corpus.

    Args:
        entity_type: the type it annotates.
        variants: its annotation style, the variants of mentions that it annotates: ``wide`` (with modifier) or
            ``core`` (without), and ``short`` where abbreviations count. Of nested mentions the outer one is kept.
        known_share: fraction of each word list that its train split draws from.
        sizes: sentences of train, dev and test.
    """

    entity_type: str
    variants: tuple[str, ...]
    known_share: float
    sizes: tuple[int, int, int]


# The first of each type is a small main corpus, the second a larger auxiliary with more of the vocabulary. The shares
# of the main ones are such that a small tagger alone has learned something after fifteen epochs, and can still improve
# (dev F1 47 to 80).
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
OWN_TYPE_WEIGHT = 8  # ENTITY is of the corpus's own type this many times as often as of each other: enough to learn
MIN_TOKENS, MAX_TOKENS = 6, 35


def generate(name: str) -> dict[str, tuple[Sentence, ...]]:
    """The train, dev and test sentences of a sample corpus, equal on every machine and Python version.

    Raises:
        KeyError: no sample corpus has this name.
    """
    recipe = RECIPES[name]
    rng = StableRandom(name)
    everything = {**GRAMMAR, **SHARED, **WORDS, "ENTITY": _entity_symbols(recipe.entity_type)}
    known = {symbol: _known_words(words, recipe.known_share, rng) for symbol, words in WORDS.items()}
    rules = {"train": {**everything, **known}, "dev": everything, "test": everything}
    seen: set[tuple[str, ...]] = set()
    return {
        split: tuple(_unique_sentence(rules[split], recipe, rng, seen) for _ in range(size))
        for split, size in zip(rules, recipe.sizes, strict=True)
    }


class StableRandom:
    """Random choices that depend on a seed text alone. Of ``random``, only ``random()`` is guaranteed to be stable."""

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
    """A sentence being generated: tokens and mentions, outer ones after those inside them."""

    tokens: list[str] = field(default_factory=list)
    mentions: list[TokenSpan] = field(default_factory=list)


def _entity_symbols(entity_type: str) -> tuple[str, ...]:
    return tuple(kind.upper() for kind in TYPES) + (entity_type.upper(),) * (OWN_TYPE_WEIGHT - 1)


def _known_words(words: Sequence[str], known_share: float, rng: StableRandom) -> tuple[str, ...]:
    return rng.sample(words, max(1, round(known_share * len(words))))


def _unique_sentence(
    rules: Mapping[str, Sequence[str]], recipe: Recipe, rng: StableRandom, seen: set[tuple[str, ...]]
) -> Sentence:
    """Sample until a sentence has an allowed length and is new in the corpus."""
    while True:
        draft = Draft()
        _expand("SENTENCE", rules, rng, draft)
        first, *rest = draft.tokens
        tokens = (first.capitalize() if first.isalpha() and first.islower() else first, *rest)
        if MIN_TOKENS <= len(tokens) <= MAX_TOKENS and tokens not in seen:
            seen.add(tokens)
            return Sentence(tokens, tuple(_annotate(draft.mentions, recipe, len(tokens))))


def _expand(symbol: str, rules: Mapping[str, Sequence[str]], rng: StableRandom, draft: Draft) -> None:
    """Append an expansion of ``symbol``; pieces of a token expand to one token each."""
    opened: list[tuple[int, str]] = []
    for item in rng.choose(rules[symbol]).split():
        if item.startswith("{"):
            opened.append((len(draft.tokens), item[1:]))
        elif item == "}":
            start, variant = opened.pop()
            draft.mentions.append((start, len(draft.tokens), variant))
        elif item in rules:
            _expand(item, rules, rng, draft)
        else:
            draft.tokens.append("".join(_expand_piece(piece, rules, rng) for piece in item.split("+")))


def _expand_piece(piece: str, rules: Mapping[str, Sequence[str]], rng: StableRandom) -> str:
    return rng.choose(rules[piece]) if piece in rules else piece


def _annotate(mentions: Sequence[TokenSpan], recipe: Recipe, length: int) -> list[str]:
    """IOB2 tags of the mentions that the corpus annotates, outermost first."""
    kept: list[TokenSpan] = []
    wanted = {f"{recipe.entity_type}.{variant}" for variant in recipe.variants}
    for start, end, variant in reversed(mentions):
        if variant in wanted and not any(start < span[1] and span[0] < end for span in kept):
            kept.append((start, end, recipe.entity_type))
    return spans_to_iob2(sorted(kept), length)
