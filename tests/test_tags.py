"""Spans and schemes: judged by seqeval's get_entities, by enumeration and by the definitions."""

from __future__ import annotations

import warnings
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities

from munchray.corpora.tags import (
    detect_scheme,
    iob2_to_iobes,
    iobes_to_iob2,
    spans_of,
    spans_to_iob2,
    tag_set,
    violation,
)

TWO_TYPES = ["O"] + [f"{letter}-{kind}" for letter in "BIES" for kind in ("X", "Y")]


def judged(tags):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [(first, last + 1, kind) for kind, first, last in get_entities(list(tags))]


def transitions(tags):
    return list(zip(("O", *tags), (*tags, "O"), strict=True))


def well_formed_iob2(length):
    for tags in product(["O", "B-X", "I-X", "B-Y", "I-Y"], repeat=length):
        if not any(violation("iob2", *pair) for pair in transitions(tags)):
            yield list(tags)


@pytest.mark.parametrize("length", range(5))
def test_spans_equal_seqeval_on_every_short_sequence(length):
    for tags in product(TWO_TYPES, repeat=length):
        assert spans_of(tags) == judged(tags), tags


@settings(deadline=None)
@given(st.lists(st.sampled_from([*TWO_TYPES, "B-two-words", "I-two-words", "E-two-words"]), max_size=40))
def test_spans_equal_seqeval_on_long_sequences(tags):
    assert spans_of(tags) == judged(tags)


@pytest.mark.parametrize("length", range(7))
def test_iob2_survives_iobes_and_spans(length):
    for tags in well_formed_iob2(length):
        iobes = iob2_to_iobes(tags)
        assert not any(violation("iobes", *pair) for pair in transitions(iobes)), iobes
        assert spans_of(iobes) == spans_of(tags)
        assert iobes_to_iob2(iobes) == tags
        assert spans_to_iob2(spans_of(tags), length) == tags


@settings(deadline=None)
@given(st.lists(st.sampled_from(TWO_TYPES), max_size=20))
def test_any_tags_become_valid_iob2(tags):
    iob2 = iobes_to_iob2(tags)
    assert len(iob2) == len(tags)
    assert not any(violation("iob2", *pair) for pair in transitions(iob2))
    assert spans_of(iob2) == spans_of(tags)


def test_iobes_of_an_example():
    assert iob2_to_iobes(["B-X", "I-X", "I-X", "B-X", "O", "B-Y"]) == ["B-X", "I-X", "E-X", "S-X", "O", "S-Y"]


def test_tag_sets_are_sorted():
    assert tag_set(["Y", "X", "Y"], "iobes") == ["O", "B-X", "I-X", "E-X", "S-X", "B-Y", "I-Y", "E-Y", "S-Y"]
    assert tag_set(["X"], "iob2") == ["O", "B-X", "I-X"]


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from("XY"), st.integers(1, 3), st.booleans()), max_size=8))
def test_schemes_are_detected_and_valid(entities):
    """Entities written by the definition of each scheme; the boolean puts an O before the entity."""
    iob1, iob2, iobes = [], [], []
    for kind, length, apart in entities:
        if apart:
            iob1.append("O"), iob2.append("O"), iobes.append("O")
        touches = iob1 and iob1[-1][2:] == kind
        iob1 += [f"{'B' if touches else 'I'}-{kind}"] + [f"I-{kind}"] * (length - 1)
        iob2 += [f"B-{kind}"] + [f"I-{kind}"] * (length - 1)
        middle = [f"I-{kind}"] * (length - 2)
        iobes += [f"S-{kind}"] if length == 1 else [f"B-{kind}", *middle, f"E-{kind}"]
    for scheme, tags in (("iob1", iob1), ("iob2", iob2), ("iobes", iobes)):
        assert not any(violation(scheme, *pair) for pair in transitions(tags))
        assert iobes_to_iob2(tags) == iob2  # conlleval's rule reads all three alike
    assert detect_scheme(transitions(iob2)) == "iob2"
    assert detect_scheme(transitions(iob1)) == ("iob1" if entities else "iob2")
    assert detect_scheme(transitions(iobes)) == ("iobes" if entities else "iob2")


@pytest.mark.parametrize(
    ("tags", "scheme"),
    [
        (["O", "O"], "iob2"),
        (["I-X", "I-X"], "iob1"),
        (["I-X", "B-X", "I-X"], "iob1"),
        (["I-X", "I-Y"], "iob1"),
        (["B-X", "I-X", "O", "B-X"], "iob2"),
        (["B-X", "O", "I-X"], None),
        (["B-X", "I-Y"], None),
        (["B-X", "L-X", "O", "U-X"], "iobes"),
    ],
)
def test_recognised_scheme(tags, scheme):
    assert detect_scheme(transitions(tags)) == scheme
