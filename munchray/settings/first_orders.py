"""``first_orders``: known good orders that a search tries before its sampler suggests any; parsing and validation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from munchray.errors import nearest
from munchray.orders import OrderRule, order_text
from munchray.settings.dimensions import OrderSpace
from munchray.settings.space import SearchSpace
from munchray.settings.validation_errors import Violation, raise_violations, shown
from munchray.settings.yaml_source import KeyPath

FIRST: KeyPath = ("first_orders",)
ENTRY = "a list of auxiliaries, or {order: [...], learning_rate: ...}"

Entry = dict[str, Any]


def read_entries(raw: Any) -> tuple[Entry, ...]:
    """Normalize every entry to a mapping with ``order``.

    Raises:
        RuleError: all entries that are not a list of names or a mapping with one.
    """
    if not isinstance(raw, list | tuple):
        raise_violations([Violation(FIRST, f"first_orders is {shown(raw)}", "a list of orders")])
    entries = [dict(each) if isinstance(each, Mapping) else {"order": each} for each in raw]
    raise_violations(
        Violation((*FIRST, index), f"first_orders[{index}] is {shown(given)}", ENTRY)
        for index, (given, entry) in enumerate(zip(raw, entries, strict=True))
        if not _is_names(entry.get("order"))
    )
    return tuple({**entry, "order": tuple(entry["order"])} for entry in entries)


def entry_violations(
    entries: Sequence[Entry], space: SearchSpace, names: Sequence[str], types: Mapping[str, str]
) -> Iterator[Violation]:
    """Entries that lie outside the search space (whose lengths are numbers), or that repeat another."""
    if entries and space.order is None:
        yield Violation(
            FIRST, "first_orders, but the search space has no order", fix="Add one, or list the values there"
        )
        return
    for index, entry in enumerate(entries):
        keys, shown_as = (*FIRST, index), f"first_orders[{index}]"
        if space.order is not None:
            yield from _order_violations(keys, shown_as, entry["order"], space.order, names, types)
        yield from _value_violations(keys, shown_as, entry, space)
        for before, other in enumerate(entries[:index]):
            if all(other.get(key, value) == value for key, value in entry.items()):
                yield Violation(keys, f"{shown_as} may be the same trial as first_orders[{before}]", "each once")


def _order_violations(
    keys: KeyPath,
    shown_as: str,
    order: Sequence[str],
    space: OrderSpace,
    names: Sequence[str],
    types: Mapping[str, str],
) -> Iterator[Violation]:
    unknown = [name for name in order if name not in names]
    for name in unknown:
        yield Violation(keys, f"{shown_as} names '{name}'", "auxiliaries of this job", nearest(name, names))
    for name in dict.fromkeys(name for index, name in enumerate(order) if name in order[:index]):
        yield Violation(keys, f"{shown_as} lists {name} twice", "each auxiliary once")
    least, most = space.min_length or 0, space.max_length or 0
    if not least <= len(order) <= most:
        lengths = str(least) if least == most else f"{least} to {most}"
        yield Violation(keys, f"{shown_as} has {len(order)} auxiliaries", f"{lengths}, as the search space says")
    if not unknown and space.adjacent_differ:
        for pair in pairwise(order):
            if not OrderRule(types, adjacent_differ=True).allows(pair) and pair[0] != pair[1]:
                found = f"{shown_as} has {order_text(pair)} side by side, both of type {types[pair[0]]}"
                yield Violation(keys, found, "neighbours of different types, as the search space says")


def _value_violations(keys: KeyPath, shown_as: str, entry: Entry, space: SearchSpace) -> Iterator[Violation]:
    dimensions = space.dimensions()
    for name, value in entry.items():
        if name == "order":
            continue
        if name not in dimensions:
            found = f"{shown_as} gives {name}, which the search space does not vary"
            yield Violation((*keys, name), found, fix=nearest(name, ["order", *dimensions]))
        elif not dimensions[name].allows(value):
            expected = f"a value of the search space, {shown(dimensions[name].as_written())}"
            yield Violation((*keys, name), f"{shown_as}.{name} is {shown(value)}", expected)


def _is_names(order: Any) -> bool:
    return isinstance(order, list | tuple) and bool(order) and all(isinstance(name, str) for name in order)
