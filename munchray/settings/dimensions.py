"""Dimensions of a search space: choices, numeric ranges, orders of the auxiliaries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Number = int | float


@dataclass(frozen=True)
class Choices:
    """A finite set of values."""

    values: tuple[Number, ...]

    @property
    def low(self) -> Number:
        """The smallest choice."""
        return min(self.values)

    def points(self) -> tuple[Number, ...]:
        """All values, for a grid."""
        return self.values

    def allows(self, value: Any) -> bool:
        """Whether ``value`` is one of the choices."""
        return _is_number(value) and value in self.values

    def as_written(self) -> list[Number]:
        """Serialize as in a search-space file."""
        return list(self.values)


@dataclass(frozen=True)
class Range:
    """A number from ``low`` to ``high``, both included.

    Args:
        log: search its logarithm.
        step: only ``low``, ``low + step``, ...
        integer: whole numbers only.
    """

    low: Number
    high: Number
    log: bool = False
    step: Number | None = None
    integer: bool = False

    def points(self) -> tuple[Number, ...] | None:
        """All values, for a grid; None when there are infinitely many."""
        step = self.step or (1 if self.integer else None)
        if step is None:
            return None
        count = int((self.high - self.low) / step + 1e-9) + 1
        return tuple(self.low + index * step for index in range(count))

    def allows(self, value: Any) -> bool:
        """Whether ``value`` lies in the range, and on a step."""
        points = self.points()
        inside = _is_number(value) and self.low <= value <= self.high
        return inside and (points is None or any(abs(value - point) < 1e-9 for point in points))

    def as_written(self) -> dict[str, Any]:
        """Serialize as in a search-space file."""
        written: dict[str, Any] = {"low": self.low, "high": self.high}
        if self.log:
            written["log"] = True
        if self.step is not None:
            written["step"] = self.step
        return written


@dataclass(frozen=True)
class OrderSpace:
    """Permutations of distinct auxiliaries.

    Args:
        adjacent_differ: neighbours never share an entity type.
        min_length, max_length: number of auxiliaries; None means all of them. In a ``Job`` both are numbers.
    """

    adjacent_differ: bool = False
    min_length: int | None = None
    max_length: int | None = None

    def resolved(self, count: int) -> OrderSpace:
        """Replace open lengths by numbers, for ``count`` auxiliaries."""
        return OrderSpace(self.adjacent_differ, self.min_length or count, self.max_length or count)

    def as_written(self) -> dict[str, Any]:
        """Serialize as in a search-space file."""
        lengths = {"min": self.min_length, "max": self.max_length}
        written = {"of": "auxiliaries", "adjacent": "different_type" if self.adjacent_differ else "any"}
        given = {key: length for key, length in lengths.items() if length is not None}
        return {**written, "length": given} if given else written


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
