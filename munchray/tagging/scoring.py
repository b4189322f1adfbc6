"""Exact-span precision, recall and F1 from counts; macro and micro averages. (seqeval)"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from munchray.corpora.tags import spans_of


@dataclass(frozen=True)
class SpanCounts:
    """True positives, false positives and false negatives of one sentence, split or corpus.

    Stored instead of F1, because micro averages can be computed from counts and not from F1s.
    """

    tp: int = 0
    fp: int = 0
    fn: int = 0

    def __add__(self, other: SpanCounts) -> SpanCounts:
        return SpanCounts(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn)

    @property
    def precision(self) -> float:
        """Percent of predicted spans that are correct; 0 if none is predicted."""
        return _percent(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> float:
        """Percent of gold spans that are predicted; 0 if there is none."""
        return _percent(self.tp, self.tp + self.fn)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall, in percent; 0 if no span is correct."""
        return _percent(2 * self.tp, 2 * self.tp + self.fp + self.fn)


def sentence_counts(gold: Sequence[str], predicted: Sequence[str]) -> SpanCounts:
    """Count exact matches between the spans of two tag sequences (IOB2 or IOBES, ill-formed ones too)."""
    right, found = set(spans_of(gold)), set(spans_of(predicted))
    tp = len(right & found)
    return SpanCounts(tp, len(found) - tp, len(right) - tp)


def total(counts: Iterable[SpanCounts]) -> SpanCounts:
    """Sum of counts; its ``f1`` is the micro average."""
    return sum(counts, SpanCounts())


def macro_f1(counts: Sequence[SpanCounts]) -> float:
    """Mean of the F1s of several corpora (Table 2, MA. AVG.)."""
    return sum(c.f1 for c in counts) / len(counts)


def counts_by_type(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> dict[str, SpanCounts]:
    """Counts of a split per entity type, sorted by type."""
    counts: dict[str, SpanCounts] = {}
    for right_tags, found_tags in zip(gold, predicted, strict=True):
        right, found = set(spans_of(right_tags)), set(spans_of(found_tags))
        for spans, kind in ((right & found, "tp"), (found - right, "fp"), (right - found, "fn")):
            for _, _, entity_type in spans:
                counts[entity_type] = counts.get(entity_type, SpanCounts()) + SpanCounts(**{kind: 1})
    return dict(sorted(counts.items()))


def seqeval_scores(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Micro-averaged scores of IOB2 tags by seqeval in strict mode, the reference for every final score.

    seqeval ignores strict mode unless a scheme is given.

    Returns:
        ``precision``, ``recall`` and ``f1`` in percent, ``support`` in spans.
    """
    from seqeval.metrics import classification_report
    from seqeval.scheme import IOB2

    report = classification_report(
        [list(tags) for tags in gold],
        [list(tags) for tags in predicted],
        mode="strict",
        scheme=IOB2,
        output_dict=True,
        zero_division=0,
    )
    micro = report["micro avg"]
    return {
        "precision": 100 * float(micro["precision"]),
        "recall": 100 * float(micro["recall"]),
        "f1": 100 * float(micro["f1-score"]),
        "support": int(micro["support"]),
    }


def _percent(part: int, whole: int) -> float:
    return 100 * part / whole if whole else 0.0
