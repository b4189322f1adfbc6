"""Span error analysis: hand-written pairs, and counts that must agree with the scorer for random spans."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from munchray.corpora.reader import Sentence
from munchray.corpora.tags import spans_of, spans_to_iob2
from munchray.report.span_errors import CONTEXT, EXAMPLES, KINDS, compare, find_errors
from munchray.tagging.scoring import sentence_counts

A, B = "A", "B"


@pytest.mark.parametrize(
    ("gold", "found", "kinds"),
    [
        ([(0, 2, A)], [(0, 2, A)], ["right"]),
        ([(0, 2, A)], [(0, 2, B)], ["type"]),
        ([(0, 2, A)], [(1, 2, A)], ["boundary"]),
        ([(0, 2, A)], [(1, 3, B)], ["boundary and type"]),
        ([(0, 2, A)], [(2, 3, A)], ["missed", "spurious"]),
        ([(0, 4, A)], [(0, 2, A), (2, 4, A)], ["boundary", "spurious"]),
        ([(0, 2, A), (2, 4, A)], [(0, 4, A)], ["boundary", "missed"]),
        # precedence: equal extent, then equal type, then the larger overlap
        ([(0, 5, A)], [(0, 1, A), (1, 5, A)], ["spurious", "boundary"]),
        ([(0, 5, A)], [(0, 1, A), (1, 5, B)], ["boundary", "spurious"]),
        ([(0, 1, B), (1, 3, A)], [(0, 1, A), (1, 3, A)], ["type", "right"]),
        ([], [], []),
    ],
)
def test_pairs(gold, found, kinds):
    assert sorted(pair.kind for pair in compare(gold, found)) == sorted(kinds)


tags = st.lists(st.sampled_from(["O", "B-A", "I-A", "B-B", "I-B"]), min_size=8, max_size=8)


@given(tags, tags)
def test_every_span_is_in_one_pair_and_counts_agree_with_the_scorer(gold_tags, found_tags):
    gold, found = spans_of(gold_tags), spans_of(found_tags)
    pairs = compare(gold, found)
    assert sorted(pair.gold for pair in pairs if pair.gold) == gold
    assert sorted(pair.found for pair in pairs if pair.found) == found
    counts = sentence_counts(gold_tags, found_tags)
    kinds = [pair.kind for pair in pairs]
    assert kinds.count("right") == counts.tp
    assert len(kinds) - kinds.count("right") - kinds.count("spurious") == counts.fn
    assert len(kinds) - kinds.count("right") - kinds.count("missed") == counts.fp


def test_kinds_are_counted_by_gold_type_and_spurious_spans_by_their_own():
    sentence = Sentence(tuple("abcdef"), tuple(spans_to_iob2([(0, 1, A), (2, 3, B)], 6)))
    found = find_errors([sentence], [spans_to_iob2([(0, 1, B), (4, 6, B)], 6)])
    assert {name: {k: n for k, n in kinds.items() if n} for name, kinds in found.kinds.items()} == {
        A: {"type": 1},
        B: {"missed": 1, "spurious": 1},
    }
    assert all(tuple(kinds) == KINDS for kinds in found.kinds.values())
    assert {name: (c.tp, c.fp, c.fn) for name, c in found.exact.items()} == {A: (0, 0, 1), B: (0, 2, 1)}


def test_examples_are_spread_over_the_split_and_show_context():
    long = Sentence(tuple(f"w{n}" for n in range(100)), tuple(spans_to_iob2([(0, 1, A), (50, 52, A)], 100)))
    found = find_errors([long] * 40, [spans_to_iob2([(0, 1, A)], 100)] * 40)
    assert len(found.examples) == EXAMPLES
    example = found.examples[0]
    assert example.tokens == long.tokens[50 - CONTEXT : 52 + CONTEXT]
    assert (example.kind, example.gold, example.found) == ("missed", ((CONTEXT, CONTEXT + 2, A),), ())
