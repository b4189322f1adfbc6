"""Least squares with cluster-robust intervals: errors may correlate within a group. (scipy)

Variances are by the jackknife over groups, the estimate without each group in turn (CV3 of MacKinnon,
Nielsen and Webb, *Cluster-robust inference: a guide to empirical practice*, Journal of Econometrics 2023). Where every
group is a single observation this is HC3, which allows for heteroscedasticity.
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
"""An array of floats."""

LEVEL = 0.95
TOLERANCE = 1e-8  # relative; smaller magnitudes count as zero


@dataclass(frozen=True)
class Estimate:
    """A point estimate and the bounds of its 95 % confidence interval."""

    value: float
    low: float
    high: float


class LeastSquares:
    """A fit of N observations ``y`` (N,) to P unknowns, ``x`` (N, P), possibly rank-deficient.

    Args:
        groups: (N,), equal for observations whose errors may correlate.
    """

    def __init__(self, x: Array, y: Array, groups: Sequence[int | str]) -> None:
        left, singular_values, right = np.linalg.svd(x, full_matrices=False)
        kept = singular_values > TOLERANCE * singular_values.max(initial=0.0)
        self._left, self._right = left[:, kept], right[kept]
        self._pseudoinverse = self._right.T / singular_values[kept] @ self._left.T  # (P, N)
        self._y = y
        self._residuals = y - self._left @ (self._left.T @ y)
        self._groups = np.unique(groups, return_inverse=True)[1]

    @property
    def rank(self) -> int:
        """The rank of ``x``: how many unknowns are identified."""
        return len(self._right)

    @property
    def solution(self) -> Array:
        """The unknowns (P,); the minimum-norm solution if ``x`` is rank-deficient."""
        return np.asarray(self._pseudoinverse @ self._y)

    @property
    def degrees_of_freedom(self) -> int:
        """Degrees of freedom of the intervals."""
        return min(int(self._groups.max(initial=0)), len(self._y) - self.rank)

    def estimate(self, contrast: Array) -> Estimate | None:
        """Estimate a linear combination of the unknowns, weights (P,); None unless identified without any one group."""
        norm = np.linalg.norm(contrast)
        unidentified = contrast - contrast @ self._right.T @ self._right
        if self.degrees_of_freedom < 1 or norm == 0 or np.linalg.norm(unidentified) > TOLERANCE * norm:
            return None
        weights = contrast @ self._pseudoinverse
        changes = [group.change(weights) for group in self._left_out]
        known = [change for change in changes if change is not None]
        if len(known) < len(changes):
            return None
        standard_error = np.sqrt((len(changes) - 1) / len(changes) * np.square(known).sum())
        half = float(student.ppf((1 + LEVEL) / 2, self.degrees_of_freedom) * standard_error)
        value = float(weights @ self._y)
        return Estimate(value, value - half, value + half)

    @cached_property
    def _left_out(self) -> list[_LeftOut]:
        rows = [np.flatnonzero(self._groups == group) for group in range(self._groups.max() + 1)]
        return [_LeftOut(each, self._left[each], self._residuals[each]) for each in rows]


class _LeftOut:
    """The effect on estimates of leaving out one group of observations.

    Args:
        rows: (G,), indices of the group's observations.
        left: (G, R), the group's rows of an orthonormal basis of the column space.
        residuals: (G,)
    """

    def __init__(self, rows: NDArray[np.intp], left: Array, residuals: Array) -> None:
        self._rows = rows
        eigenvalues, directions = np.linalg.eigh(np.eye(len(rows)) - left @ left.T)
        kept = eigenvalues > TOLERANCE
        kept_directions, self._lost = directions[:, kept], directions[:, ~kept]
        self._influence = kept_directions @ (kept_directions.T @ residuals / eigenvalues[kept])

    def change(self, weights: Array) -> float | None:
        """Change of the estimate with these weights of observations, (N,); None if unidentified without the group."""
        own = weights[self._rows]
        if np.linalg.norm(own @ self._lost) > TOLERANCE * np.linalg.norm(weights):
            return None
        return -float(own @ self._influence)
