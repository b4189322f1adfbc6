"""Least squares with intervals that allow for observations of one group to err together. (scipy)

Variances by the jackknife over groups: what the estimate would be without each group in turn (CV3 of MacKinnon,
Nielsen and Webb, *Cluster-robust inference: a guide to empirical practice*, Journal of Econometrics 2023). Where every
group is a single observation this is HC3, which allows for unequal variances.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

Array = NDArray[Any]
"""Of floats."""

LEVEL = 0.95
NOTHING = 1e-8  # relative to what it is a part of


@dataclass(frozen=True)
class Estimate:
    """A value and the ends of its 95 % interval."""

    value: float
    low: float
    high: float


class LeastSquares:
    """A fit of N observations ``y`` (N,) to P unknowns, ``x`` (N, P), which may be more than the data can tell.

    Args:
        groups: (N,), equal where observations err together.
    """

    def __init__(self, x: Array, y: Array, groups: Sequence[int | str]) -> None:
        left, sizes, right = np.linalg.svd(x, full_matrices=False)
        kept = sizes > NOTHING * sizes.max(initial=0.0)
        self._left, self._right = left[:, kept], right[kept]
        self._solving = self._right.T / sizes[kept] @ self._left.T  # (P, N): the unknowns as weighted observations
        self._y = y
        self._residuals = y - self._left @ (self._left.T @ y)
        self._groups = np.unique(groups, return_inverse=True)[1]

    @property
    def rank(self) -> int:
        """How many unknowns the data can tell apart."""
        return len(self._right)

    @property
    def solution(self) -> Array:
        """The unknowns (P,); of those that fit alike, the least."""
        return np.asarray(self._solving @ self._y)

    @property
    def freedom(self) -> int:
        """Degrees of freedom of the intervals."""
        return min(int(self._groups.max(initial=0)), len(self._y) - self.rank)

    def estimate(self, contrast: Array) -> Estimate | None:
        """Of a weighted sum of the unknowns, weights (P,); None where the data, or all but one group, cannot tell."""
        size = np.linalg.norm(contrast)
        rest = contrast - contrast @ self._right.T @ self._right
        if self.freedom < 1 or size == 0 or np.linalg.norm(rest) > NOTHING * size:
            return None
        weights = contrast @ self._solving
        moves = [group.move(weights) for group in self._left_out]
        known = [move for move in moves if move is not None]
        if len(known) < len(moves):
            return None
        deviation = np.sqrt((len(moves) - 1) / len(moves) * np.square(known).sum())
        half = float(student.ppf((1 + LEVEL) / 2, self.freedom) * deviation)
        value = float(weights @ self._y)
        return Estimate(value, value - half, value + half)

    @cached_property
    def _left_out(self) -> list[_LeftOut]:
        rows = [np.flatnonzero(self._groups == group) for group in range(self._groups.max() + 1)]
        return [_LeftOut(each, self._left[each], self._residuals[each]) for each in rows]


class _LeftOut:
    """A group of observations, and what would be without it.

    Args:
        rows: (G,), which they are.
        left: (G, R), their rows of an orthonormal basis of the fits.
        residuals: (G,)
    """

    def __init__(self, rows: NDArray[np.intp], left: Array, residuals: Array) -> None:
        self._rows = rows
        spread, directions = np.linalg.eigh(np.eye(len(rows)) - left @ left.T)
        kept = spread > NOTHING
        self._kept, self._gone = directions[:, kept], directions[:, ~kept]
        self._pull = self._kept @ (self._kept.T @ residuals / spread[kept])

    def move(self, weights: Array) -> float | None:
        """How far an estimate moves that weighs observations so, (N,); None if it cannot be told without the group."""
        own = weights[self._rows]
        if np.linalg.norm(own @ self._gone) > NOTHING * np.linalg.norm(weights):
            return None
        return -float(own @ self._pull)
