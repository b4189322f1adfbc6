"""Where a trial's model errs on the main dev split: its spans against the gold ones, by kind, with examples.

Decoding takes seconds, so what was found lies beside the trial, which never changes again.
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

if TYPE_CHECKING:  # it imports torch, and a kept file needs none
    from munchray.training.data import DataSpec

FILE = "span_errors.json"
VERSION = 1
KINDS = ("right", "boundary", "type", "boundary and type", "missed", "spurious")
EXAMPLES = 6  # of each kind of error
CONTEXT = 14  # tokens on either side of what an example shows


@dataclass(frozen=True)
class Pair:
    """A gold span and the one found for it; one of them is None where there is no other."""

    kind: str
    gold: Span | None
    found: Span | None

    @property
    def entity_type(self) -> str:
        """The gold type, or what was found where nothing is."""
        span = self.gold or self.found
        assert span
        return span[2]


@dataclass(frozen=True)
class Example:
    """An error in its sentence, or in the part of it around the error; spans count from the first token shown."""

    kind: str
    tokens: tuple[str, ...]
    gold: tuple[Span, ...]
    found: tuple[Span, ...]


@dataclass(frozen=True)
class SpanErrors:
    """What a model gets right and wrong.

    Args:
        exact: counts by entity type; what was found with a wrong type is false for the type found.
        kinds: how many pairs of each kind, by entity type.
        examples: of each kind of error, spread over the split.
    """

    sentences: int
    exact: dict[str, SpanCounts]
    kinds: dict[str, dict[str, int]]
    examples: tuple[Example, ...]


def span_errors(trial: Path, main: str, open_data: Callable[[], DataSpec]) -> SpanErrors:
    """The errors of a finished trial, from its folder if they have been looked for before.

    Args:
        open_data: called only if they have not.

    Raises:
        InputError, WorkError: the data is not there any more.
    """
    kept = trial / FILE
    if kept.exists() and (values := read_json(kept)).pop("version") == VERSION:
        return _from_json(values)
    sentences, predicted = _decode(trial, main, open_data())
    found = find_errors(sentences, predicted)
    write_json(kept, {"version": VERSION, **asdict(found)})
    return found


def find_errors(sentences: Sequence[Sentence], predicted: Sequence[Sequence[str]]) -> SpanErrors:
    """Compare the tags that a model gave (IOB2 or IOBES) with those of the sentences."""
    kinds: dict[str, Counter[str]] = {}
    errors: dict[str, list[tuple[int, Pair]]] = {kind: [] for kind in KINDS[1:]}
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


def compare(gold: Sequence[Span], found: Sequence[Span]) -> list[Pair]:
    """Pair the spans of a sentence, the most alike first; each is in one pair. In order of position."""
    alike = sorted((_unlikeness(g, f), g, f) for g in gold for f in found if _overlap(g, f) > 0)
    pairs, paired_gold, paired_found = [], set(), set()
    for _, g, f in alike:
        if g not in paired_gold and f not in paired_found:
            pairs.append(Pair(_kind(g, f), g, f))
            paired_gold.add(g)
            paired_found.add(f)
    pairs += [Pair("missed", g, None) for g in gold if g not in paired_gold]
    pairs += [Pair("spurious", None, f) for f in found if f not in paired_found]
    return sorted(pairs, key=lambda pair: pair.gold or pair.found or (0, 0, ""))


def _kind(gold: Span, found: Span) -> str:
    same_place, same_type = gold[:2] == found[:2], gold[2] == found[2]
    return KINDS[(not same_place) + 2 * (not same_type)]


def _overlap(a: Span, b: Span) -> int:
    """Tokens that two spans share, negative when there is a gap."""
    return min(a[1], b[1]) - max(a[0], b[0])


def _unlikeness(gold: Span, found: Span) -> tuple[int, int]:
    """An equal place counts more than an equal type, that more than a large overlap."""
    kind = _kind(gold, found)
    return ("right", "type", "boundary", "boundary and type").index(kind), -_overlap(gold, found)


def _spread(errors: Sequence[tuple[int, Pair]]) -> Sequence[tuple[int, Pair]]:
    """Some of them, from the whole split."""
    step = max(1, len(errors) // EXAMPLES)
    return errors[::step][:EXAMPLES]


def _example(pair: Pair, tokens: Sequence[str], gold: Sequence[Span], found: Sequence[Span]) -> Example:
    spans = [span for span in (pair.gold, pair.found) if span]
    first = max(0, min(start for start, _, _ in spans) - CONTEXT)
    last = min(len(tokens), max(stop for _, stop, _ in spans) + CONTEXT)

    def shown(all_of_them: Sequence[Span]) -> tuple[Span, ...]:
        inside = (span for span in all_of_them if span[1] > first and span[0] < last)
        return tuple((max(start, first) - first, min(stop, last) - first, name) for start, stop, name in inside)

    return Example(pair.kind, tuple(tokens[first:last]), shown(gold), shown(found))


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
