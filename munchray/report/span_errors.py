"""Span error analysis of a trial's model on the main dev split: kinds of errors, counts, examples.

Decoding takes seconds, so the result is cached in the trial's folder; a finished trial never changes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from munchray.corpora.reader import Sentence
from munchray.corpora.tags import TokenSpan as Span
from munchray.corpora.tags import spans_of
from munchray.files import read_json, write_json
from munchray.tagging.scoring import SpanCounts, counts_by_type

if TYPE_CHECKING:  # it imports torch, which the cached result does not need
    from munchray.training.data import DataSpec

FILE = "span_errors.json"
VERSION = 1
KINDS = ("right", "boundary", "type", "boundary and type", "missed", "spurious")
EXAMPLES = 6  # of each kind of error
CONTEXT = 14  # tokens on either side of an example's spans


@dataclass(frozen=True)
class SpanPair:
    """A gold span and the predicted span matched to it; one of them is None if it has no match."""

    kind: str
    gold: Span | None
    found: Span | None

    @property
    def entity_type(self) -> str:
        """The gold type, or the predicted one of a spurious span."""
        span = self.gold or self.found
        assert span
        return span[2]


@dataclass(frozen=True)
class Example:
    """An error in its context; span offsets count from the first token shown."""

    kind: str
    tokens: tuple[str, ...]
    gold: tuple[Span, ...]
    found: tuple[Span, ...]


@dataclass(frozen=True)
class SpanErrors:
    """Error statistics of a model.

    Args:
        exact: exact-match counts by entity type; a span of the wrong type is a false positive of the predicted type.
        kinds: number of pairs of each kind, by entity type.
        examples: examples of each kind of error, spread over the split.
    """

    sentences: int
    exact: dict[str, SpanCounts]
    kinds: dict[str, dict[str, int]]
    examples: tuple[Example, ...]


def span_errors(trial: Path, main: str, open_data: Callable[[], DataSpec]) -> SpanErrors:
    """The errors of a finished trial, cached in its folder.

    Args:
        open_data: opens the data; called only if there is no cached result.

    Raises:
        InputError, WorkError: the data is no longer available.
    """
    cache = trial / FILE
    if cache.exists() and (values := read_json(cache)).pop("version") == VERSION:
        return _from_json(values)
    sentences, predicted = _decode(trial, main, open_data())
    found = find_errors(sentences, predicted)
    write_json(cache, {"version": VERSION, **asdict(found)})
    return found


def find_errors(sentences: Sequence[Sentence], predicted: Sequence[Sequence[str]]) -> SpanErrors:
    """Compare predicted tags (IOB2 or IOBES) with the gold tags of the sentences."""
    kinds: dict[str, Counter[str]] = {}
    errors: dict[str, list[tuple[int, SpanPair]]] = {kind: [] for kind in KINDS[1:]}
    for number, (sentence, tags) in enumerate(zip(sentences, predicted, strict=True)):
        for pair in compare(spans_of(sentence.tags), spans_of(tags)):
            kinds.setdefault(pair.entity_type, Counter())[pair.kind] += 1
            if pair.kind != "right":
                errors[pair.kind].append((number, pair))
    examples = [
        _example(pair, sentences[number].tokens, spans_of(sentences[number].tags), spans_of(predicted[number]))
        for of_kind in errors.values()
        for number, pair in _spread(of_kind)
    ]
    counted = {name: {kind: kinds[name][kind] for kind in KINDS} for name in sorted(kinds)}
    exact = counts_by_type([sentence.tags for sentence in sentences], predicted)
    return SpanErrors(len(sentences), exact, counted, tuple(examples))


def compare(gold: Sequence[Span], found: Sequence[Span]) -> list[SpanPair]:
    """Match gold and predicted spans of a sentence greedily, most similar first; sorted by position."""
    overlapping = sorted((_dissimilarity(g, f), g, f) for g in gold for f in found if _overlap(g, f) > 0)
    pairs, paired_gold, paired_found = [], set(), set()
    for _, g, f in overlapping:
        if g not in paired_gold and f not in paired_found:
            pairs.append(SpanPair(_kind(g, f), g, f))
            paired_gold.add(g)
            paired_found.add(f)
    pairs += [SpanPair("missed", g, None) for g in gold if g not in paired_gold]
    pairs += [SpanPair("spurious", None, f) for f in found if f not in paired_found]
    return sorted(pairs, key=lambda pair: pair.gold or pair.found or (0, 0, ""))


def _kind(gold: Span, found: Span) -> str:
    same_extent, same_type = gold[:2] == found[:2], gold[2] == found[2]
    return KINDS[(not same_extent) + 2 * (not same_type)]


def _overlap(a: Span, b: Span) -> int:
    """Number of tokens that two spans share, negative for a gap."""
    return min(a[1], b[1]) - max(a[0], b[0])


def _dissimilarity(gold: Span, found: Span) -> tuple[int, int]:
    """Sort key: an equal extent counts more than an equal type, and that more than a large overlap."""
    kind = _kind(gold, found)
    return ("right", "type", "boundary", "boundary and type").index(kind), -_overlap(gold, found)


def _spread(errors: Sequence[tuple[int, SpanPair]]) -> Sequence[tuple[int, SpanPair]]:
    """Evenly spaced examples from the whole split."""
    step = max(1, len(errors) // EXAMPLES)
    return errors[::step][:EXAMPLES]


def _example(pair: SpanPair, tokens: Sequence[str], gold: Sequence[Span], found: Sequence[Span]) -> Example:
    spans = [span for span in (pair.gold, pair.found) if span]
    first = max(0, min(start for start, _, _ in spans) - CONTEXT)
    last = min(len(tokens), max(stop for _, stop, _ in spans) + CONTEXT)

    def within_context(all_spans: Sequence[Span]) -> tuple[Span, ...]:
        inside = (span for span in all_spans if span[1] > first and span[0] < last)
        return tuple((max(start, first) - first, min(stop, last) - first, name) for start, stop, name in inside)

    return Example(pair.kind, tuple(tokens[first:last]), within_context(gold), within_context(found))


def _decode(trial: Path, main: str, data: DataSpec) -> tuple[Sequence[Sentence], list[list[str]]]:
    from munchray.tagging.weights import load_tagger
    from munchray.training import loop

    tagger, _ = load_tagger(trial / "model")
    sentences = data.load(main, "dev")
    return sentences, loop.predict(tagger, data.open_dev(main), main)


def _from_json(values: Mapping[str, Any]) -> SpanErrors:
    def spans(raw: Sequence[Sequence[Any]]) -> tuple[Span, ...]:
        return tuple((start, stop, name) for start, stop, name in raw)

    examples = tuple(
        Example(each["kind"], tuple(each["tokens"]), spans(each["gold"]), spans(each["found"]))
        for each in values["examples"]
    )
    exact = {name: SpanCounts(**counts) for name, counts in values["exact"].items()}
    return SpanErrors(values["sentences"], exact, values["kinds"], examples)
