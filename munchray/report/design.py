"""Trainings of orders as columns of a regression."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import combinations

import numpy as np

from munchray.report.observations import Observation
from munchray.report.regression import Array, LeastSquares

MOST_LEVELS = 4  # values of a setting that each get an unknown of their own; the rank of more gets a line and a bend


class Design:
    """N observations of n auxiliaries as numbers; P is the number of pairs of auxiliaries."""

    def __init__(self, seen: Sequence[Observation]) -> None:
        self.seen = seen
        self.names = sorted({name for each in seen for name in each.order})
        self.pairs = list(combinations(self.names, 2))
        self._of_pairs = np.triu_indices(len(self.names), 1)
        self._at = np.full((len(seen), len(self.names)), -1)  # places from 0 on, -1 where the auxiliary is absent
        for row, each in enumerate(seen):
            self._at[row, [self.names.index(name) for name in each.order]] = range(len(each.order))

    @cached_property
    def present(self) -> Array:
        """(N, n): 1 where the order has the auxiliary."""
        return np.asarray(self._at >= 0, dtype=float)

    @property
    def first(self) -> Array:
        """(N, n): 1 where it is the first."""
        return np.asarray(self._at == 0, dtype=float)

    @property
    def last(self) -> Array:
        """(N, n): 1 where it is the last."""
        return np.asarray((self._at == self._lengths - 1) * self.present)

    @property
    def position(self) -> Array:
        """(N, n): from -1/2 at the first position to 1/2 at the last; 0 where it is absent or alone."""
        position = self._at / np.maximum(self._lengths - 1, 1) - 0.5
        return np.asarray(np.where(self._lengths > 1, position, 0) * self.present)

    @property
    def before(self) -> Array:
        """(N, P): 1/2 where the first of the pair comes first, -1/2 where the other, 0 where one is absent."""
        return np.asarray(np.sign(self._apart) * self._both / 2)

    @property
    def beside(self) -> Array:
        """(N, P): 1 where they are neighbours."""
        return np.asarray((np.abs(self._apart) == 1) * self._both)

    @property
    def members(self) -> Array:
        """(P, n): 1 where the auxiliary is one of the pair."""
        return np.array([[name in pair for name in self.names] for pair in self.pairs], dtype=float)

    @cached_property
    def surroundings(self) -> Array:
        """(N, C): how many auxiliaries there are, and the values of what else varies."""
        columns = [_levels(self._lengths[:, 0])]
        for name in self.seen[0].values if self.seen else ():
            columns.append(_curve(np.array([each.values[name] for each in self.seen])))
        return np.hstack(columns)

    @cached_property
    def ascent(self) -> Array:
        """(N, 1): the rank correlation of position and score alone, 1 where those that come to more alone come later.

        nan for orders of one, and where that of some auxiliary is not known.
        """
        found = np.full((len(self.seen), 1), np.nan)
        for row in np.flatnonzero(self._lengths > 1):
            inside = self._at[row] >= 0
            alone = self._alone[inside]
            if not np.isnan(alone).any():
                found[row] = np.corrcoef(self._at[row, inside], np.argsort(np.argsort(alone)))[0, 1]
        return found

    @cached_property
    def _alone(self) -> Array:
        """(n,): what each comes to alone, up to a constant, the rest being equal; nan where it never was alone."""
        single = self._lengths[:, 0] == 1
        if not single.any():
            return np.full(len(self.names), np.nan)
        scores = np.array([each.dev_f1 for each in self.seen])[single]
        fit = LeastSquares(np.hstack([self.present, self.surroundings])[single], scores, range(len(scores)))
        return np.where(self.present[single].any(axis=0), fit.solution[: len(self.names)], np.nan)

    @cached_property
    def _lengths(self) -> Array:
        """(N, 1)"""
        return np.asarray(self.present.sum(axis=1, keepdims=True))

    @property
    def _apart(self) -> Array:
        first, second = self._of_pairs
        return np.asarray(self._at[:, second] - self._at[:, first])

    @property
    def _both(self) -> Array:
        first, second = self._of_pairs
        return np.asarray(self.present[:, first] * self.present[:, second])


def _levels(values: Array) -> Array:
    """(N, levels): a column of ones and zeros for each value."""
    return np.asarray(values[:, None] == np.unique(values), dtype=float)


def _curve(values: Array) -> Array:
    """A column for each value if they are few; else their ranks from -1 to 1, and the squares of these."""
    distinct, rank = np.unique(values, return_inverse=True)
    if len(distinct) <= MOST_LEVELS:
        return _levels(values)
    line = 2 * rank / (len(distinct) - 1) - 1
    return np.stack([line, line**2], axis=1)
