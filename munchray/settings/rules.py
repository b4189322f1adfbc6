"""Validation rules across fields of a job: regime, auxiliaries and search space."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from munchray.errors import nearest
from munchray.orders import OrderRule
from munchray.settings.dimensions import OrderSpace
from munchray.settings.space import SearchSpace
from munchray.settings.validation_errors import Violation, shown
from munchray.settings.yaml_source import KeyPath

ORDERED_REGIMES = ("single_aux", "iteration", "stack")
ORDER: KeyPath = ("search_space", "order")


def corpus_violations(named: Mapping[KeyPath, str], own: Iterable[str], known: Iterable[str]) -> Iterator[Violation]:
    """Unknown corpora, and user-defined ones that shadow a built-in name."""
    own, known = list(own), list(known)
    for keys, name in named.items():
        if name not in own and name not in known:
            expected = "a corpus of `munchray corpora` or one under corpora:"
            yield Violation(keys, f"unknown corpus '{name}'", expected, nearest(name, [*own, *known]))
    for name in own:
        if name in known:
            yield Violation(("corpora", name), f"'{name}' names a corpus munchray knows", "a name of your own")


def resolved_order(order: OrderSpace, regime: str, count: int) -> OrderSpace:
    """Replace open lengths by numbers: one auxiliary for single_aux, else all unless the space says less."""
    if regime == "single_aux" and order.min_length is None and order.max_length is None:
        return OrderSpace(order.adjacent_differ, 1, 1)
    return order.resolved(count)


def order_violations(
    order: OrderSpace, regime: str, names: Sequence[str], types: Mapping[str, str]
) -> Iterator[Violation]:
    """Orders (with lengths as numbers) that the regime cannot use or the auxiliaries cannot form."""
    least, most = order.min_length or 0, order.max_length or 0
    lengths = str(least) if least == most else f"{least} to {most}"
    if regime not in ORDERED_REGIMES:
        reason = "has no auxiliaries" if regime == "single_task" else "uses all auxiliaries at once"
        found = f"the regime {regime} {reason}, so their order does not matter"
        yield Violation(ORDER, found, "a search space without order")
    elif regime == "single_aux" and (least, most) != (1, 1):
        yield Violation((*ORDER, "length"), f"single_aux got orders of {lengths} auxiliaries", "length: 1")
    elif max(least, most) > len(names):
        found = f"order.length is {lengths}, but the job lists {len(names)} auxiliaries"
        yield Violation((*ORDER, "length"), found, f"at most {len(names)}")
    elif not feasible_lengths(order, names, OrderRule(types, order.adjacent_differ)):
        listed = ", ".join(f"{name} ({types[name]})" for name in names)
        found = f"no order satisfies adjacent: different_type with {lengths} out of {listed}"
        fix = "Allow a smaller length, set adjacent: any, or change the auxiliaries"
        yield Violation(ORDER, found, "at least one order", fix)


def feasible_lengths(order: OrderSpace, names: Sequence[str], rule: OrderRule) -> tuple[int, ...]:
    """The lengths for which at least one order satisfies the rule."""
    least, most = order.min_length or len(names), order.max_length or len(names)
    return tuple(length for length in range(least, most + 1) if rule.count(names, length))


def number_violations(space: SearchSpace, floor: float | None, sampler: str | None) -> Iterator[Violation]:
    """Learning rates at or below the stopping threshold, and ranges that a grid cannot enumerate."""
    rates = space.learning_rate
    if rates is not None and floor is not None and rates.low <= floor:
        found = f"learning_rate may be {rates.low}, not above min_learning_rate {floor}"
        yield Violation(("search_space", "learning_rate"), found, "learning rates above it")
    for name, dimension in space.dimensions().items():
        if sampler == "grid" and dimension.points() is None:
            found = f"the sampler grid cannot try every {name} of a range"
            yield Violation(("search_space", name), found, "a list of values, or a range with step")


def embedding_violations(entries: Iterable[Any]) -> Iterator[Violation]:
    """An empty list, duplicates, and entries of the wrong type."""
    seen: set[str] = set()
    for index, entry in enumerate(entries):
        written = json.dumps(entry, sort_keys=True, default=str)
        if not isinstance(entry, str | dict) or not entry:
            expected = "a name, a path, or a mapping"
            yield Violation(("embeddings", index), f"embeddings[{index}] is {shown(entry)}", expected)
        elif written in seen:
            found = f"the embedding {shown(entry)} is listed twice"
            yield Violation(("embeddings", index), found, "each embedding once")
        seen.add(written)
    if not seen:
        yield Violation(("embeddings",), "embeddings is empty", "at least one embedding")
