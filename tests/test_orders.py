"""Allowed orders and their encoding. Judge: enumeration of all permutations."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from munchray.corpora.catalogue import ENTITY_TYPES as TYPES
from munchray.orders import OrderRule, ascending

PAPER = OrderRule(TYPES, adjacent_differ=True)


def without(main):
    return [name for name in TYPES if name != main]


def brute_force(rule, names, length):
    return [order for order in itertools.permutations(names, length) if rule.allows(order)]


@pytest.mark.parametrize("main", sorted(TYPES))
def test_every_main_corpus_has_1968_allowed_orders(main):
    assert PAPER.count(without(main), 7) == 1968
    assert len(set(PAPER.orders(without(main), 7))) == 1968


@pytest.mark.parametrize("length", range(8))
@pytest.mark.parametrize("rule", [PAPER, OrderRule(TYPES)])
def test_count_and_enumeration_match_filtered_permutations(rule, length):
    names = without("chemdner")
    expected = brute_force(rule, names, length)
    assert list(rule.orders(names, length)) == expected
    assert rule.count(names, length) == len(expected)


@pytest.mark.parametrize("length", [1, 3, 7])
def test_keys_round_trip(length):
    names = without("s800")
    for order in PAPER.orders(names, length):
        assert PAPER.decode(PAPER.encode(order, names), length) == order


@given(st.lists(st.floats(0, 1), min_size=7, max_size=7), st.integers(0, 7))
def test_any_keys_decode_to_an_allowed_order(values, length):
    names = without("bc2gm")
    order = PAPER.decode(dict(zip(names, values, strict=True)), length)
    assert len(order) == length
    assert PAPER.allows(order)


def test_decoding_skips_only_what_the_rule_forbids():
    keys = {"bc2gm": 0.1, "jnlpba": 0.2, "s800": 0.3}
    assert PAPER.decode(keys, 3) == ("bc2gm", "s800", "jnlpba")
    assert OrderRule(TYPES).decode(keys, 3) == ("bc2gm", "jnlpba", "s800")


def test_an_unsatisfiable_rule_counts_zero_and_raises():
    names = ["bc2gm", "jnlpba"]
    assert PAPER.count(names, 2) == 0
    with pytest.raises(ValueError, match="no order of 2"):
        PAPER.decode({"bc2gm": 0.5, "jnlpba": 0.1}, 2)


def test_twenty_auxiliaries_are_counted_without_enumeration():
    names = [f"c{i}" for i in range(20)]
    rule = OrderRule({name: str(i % 4) for i, name in enumerate(names)}, adjacent_differ=True)
    keys = {name: (i * 7 % 20) / 20 for i, name in enumerate(names)}
    assert 0 < rule.count(names, 20) < OrderRule({}).count(names, 20)
    assert rule.allows(rule.decode(keys, 20))


def test_the_sorted_order_of_table_3_follows_from_its_scores():
    """Paper, Table 3, column batch 32 / lr 0.1, CHEMDNER development data.

    The Stack (sort) order the paper prints is not asserted: its own column (16 / 0.05) has BC5CDR-Chem 90.05 below
    LINNAEUS 90.15 but lists BC5CDR-Chem last.
    """
    column = {
        "ncbi-disease": 90.08,
        "bc5cdr-disease": 89.93,
        "bc5cdr-chem": 90.03,
        "bc2gm": 89.91,
        "jnlpba": 89.89,
        "linnaeus": 90.04,
        "s800": 89.94,
    }
    printed = ("jnlpba", "bc2gm", "bc5cdr-disease", "s800", "bc5cdr-chem", "linnaeus", "ncbi-disease")
    assert ascending(column) == printed


def test_ties_are_sorted_by_name():
    assert ascending({"b": 1.0, "a": 1.0, "c": 0.5}) == ("c", "a", "b")
