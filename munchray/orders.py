"""Orders of auxiliary corpora: which are allowed, how many there are, and their encoding as random keys.

Independent of any search library. A sampler suggests one *random key* (Bean 1994) in [0, 1] per auxiliary; a low key
means "early". Decoding sorts by key and skips what the rule forbids, so every point of the unit cube is an allowed
order and every allowed order can be reached.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

Order = tuple[str, ...]


@dataclass(frozen=True)
class OrderRule:
    """Which orders of distinct auxiliaries are allowed.

    Args:
        types: the entity type of each auxiliary.
        adjacent_differ: the paper's condition (section 4.1): adjacent auxiliaries differ in entity type.
    """

    types: Mapping[str, str]
    adjacent_differ: bool = False

    def allows(self, order: Sequence[str]) -> bool:
        """Whether the auxiliaries are distinct and, if the rule says so, adjacent ones differ in type."""
        return len(set(order)) == len(order) and not any(
            self._clash((first,), second) for first, second in itertools.pairwise(order)
        )

    def count(self, names: Sequence[str], length: int) -> int:
        """How many allowed orders of ``length`` auxiliaries out of ``names`` there are."""
        if not self.adjacent_differ:
            return math.perm(len(names), length)
        return _count_by_type(self._type_counts(names), -1, length)

    def orders(self, names: Sequence[str], length: int) -> Iterator[Order]:
        """Every allowed order of ``length`` auxiliaries, in the order of ``names``."""
        return self._extend((), tuple(names), length)

    def decode(self, keys: Mapping[str, float], length: int) -> Order:
        """The allowed order with the ``length`` lowest keys, built greedily without running into a dead end.

        Each position takes the lowest key from which an allowed order can still be completed; ties go by name.

        Raises:
            ValueError: no order of this length is allowed.
        """
        left = sorted(keys, key=lambda name: (keys[name], name))
        order: Order = ()
        while len(order) < length:
            chosen = next((name for name in left if self._can_complete(order, name, left, length)), None)
            if chosen is None:
                raise ValueError(f"no order of {length} out of {sorted(keys)} is allowed")
            left.remove(chosen)
            order += (chosen,)
        return order

    def encode(self, order: Sequence[str], names: Sequence[str]) -> dict[str, float]:
        """Evenly spaced keys that decode to ``order``; auxiliaries that it lacks come last."""
        ranked = [*order, *(name for name in names if name not in order)]
        return {name: (ranked.index(name) + 0.5) / len(ranked) for name in names}

    def _extend(self, order: Order, left: tuple[str, ...], length: int) -> Iterator[Order]:
        if len(order) == length:
            yield order
            return
        for name in left:
            if not self._clash(order, name):
                yield from self._extend((*order, name), tuple(n for n in left if n != name), length)

    def _can_complete(self, order: Order, name: str, left: Sequence[str], length: int) -> bool:
        """Whether an allowed order of ``length`` begins with ``order`` and ``name``."""
        if not self.adjacent_differ:
            return True
        rest = self._type_counts([other for other in left if other != name])
        last = self._distinct_types().index(self.types[name])
        return not self._clash(order, name) and _count_by_type(rest, last, length - len(order) - 1) > 0

    def _clash(self, order: Sequence[str], name: str) -> bool:
        return self.adjacent_differ and bool(order) and self.types[order[-1]] == self.types[name]

    def _type_counts(self, names: Sequence[str]) -> tuple[int, ...]:
        counts = Counter(self.types[name] for name in names)
        return tuple(counts[entity_type] for entity_type in self._distinct_types())

    def _distinct_types(self) -> list[str]:
        return sorted(set(self.types.values()))


def ascending(scores: Mapping[str, float]) -> Order:
    """The paper's ``(sort)`` order (section 5.1): ascending score of the single_aux models, ties by name."""
    return tuple(sorted(scores, key=lambda name: (scores[name], name)))


def order_text(order: Sequence[str]) -> str:
    """An order for display: ``a > b > c``."""
    return " > ".join(order)


@cache
def _count_by_type(counts: tuple[int, ...], last: int, length: int) -> int:
    """Allowed orders of ``length``: ``counts[t]`` auxiliaries of type t are left, the last was of type ``last``."""
    if length == 0:
        return 1
    return sum(
        left * _count_by_type((*counts[:t], left - 1, *counts[t + 1 :]), t, length - 1)
        for t, left in enumerate(counts)
        if left and t != last
    )
