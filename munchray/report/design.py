"""Design matrix of a regression on orders: indicator and contrast columns for each kind of effect."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import combinations

import numpy as np

from munchray.report.regression import Array, LeastSquares
from munchray.report.trained_orders import TrainedOrder

MOST_LEVELS = 4  # a setting with more distinct values enters by rank, linear and quadratic, not as indicators


class Design:
    """N observations of n auxiliaries as columns; P is the number of pairs of auxiliaries."""

    def __init__(self, observations: Sequence[TrainedOrder]) -> None:
        self.observations = observations
        self.names = sorted({name for each in observations for name in each.order})
        self.pairs = list(combinations(self.names, 2))
        self._pair_indices = np.triu_indices(len(self.names), 1)
        self._positions = np.full((len(observations), len(self.names)), -1)  # -1 where the auxiliary is absent
        for row, each in enumerate(observations):
            self._positions[row, [self.names.index(name) for name in each.order]] = range(len(each.order))

    @cached_property
    def present(self) -> Array:
        """(N, n): 1 where the order has the auxiliary."""
        return np.asarray(self._positions >= 0, dtype=float)

    @property
    def first(self) -> Array:
        """(N, n): 1 where the auxiliary is first."""
        return np.asarray(self._positions == 0, dtype=float)

    @property
    def last(self) -> Array:
        """(N, n): 1 where the auxiliary is last."""
        return np.asarray((self._positions == self._lengths - 1) * self.present)

    @property
    def position(self) -> Array:
        """(N, n): from -1/2 at the first position to 1/2 at the last; 0 where the auxiliary is absent or alone."""
        position = self._positions / np.maximum(self._lengths - 1, 1) - 0.5
        return np.asarray(np.where(self._lengths > 1, position, 0) * self.present)

    @property
    def before(self) -> Array:
        """(N, P): 1/2 where the pair's first comes first, -1/2 where its second does, 0 where one is absent."""
        return np.asarray(np.sign(self._distance) * self._both_present / 2)

    @property
    def beside(self) -> Array:
        """(N, P): 1 where the pair is adjacent."""
        return np.asarray((np.abs(self._distance) == 1) * self._both_present)

    @property
    def members(self) -> Array:
        """(P, n): 1 where the auxiliary belongs to the pair."""
        return np.array([[name in pair for name in self.names] for pair in self.pairs], dtype=float)

    @cached_property
    def nuisance(self) -> Array:
        """(N, C): nuisance columns, the number of auxiliaries and the other varied settings."""
        columns = [_levels(self._lengths[:, 0])]
        for name in self.observations[0].values if self.observations else ():
            columns.append(_curve(np.array([each.values[name] for each in self.observations])))
        return np.hstack(columns)

    @cached_property
    def ascent(self) -> Array:
        """(N, 1): rank correlation of the auxiliaries' positions and single scores, 1 for ascending orders.

        NaN for orders of length one, and where some single score is unknown.
        """
        ascent = np.full((len(self.observations), 1), np.nan)
        for row in np.flatnonzero(self._lengths > 1):
            inside = self._positions[row] >= 0
            single = self._single_scores[inside]
            if not np.isnan(single).any():
                ascent[row] = np.corrcoef(self._positions[row, inside], np.argsort(np.argsort(single)))[0, 1]
        return ascent

    @cached_property
    def _single_scores(self) -> Array:
        """(n,): score of each auxiliary trained alone, all else equal, up to a constant; NaN if it never was."""
        single = self._lengths[:, 0] == 1
        if not single.any():
            return np.full(len(self.names), np.nan)
        scores = np.array([each.dev_f1 for each in self.observations])[single]
        fit = LeastSquares(np.hstack([self.present, self.nuisance])[single], scores, range(len(scores)))
        return np.where(self.present[single].any(axis=0), fit.solution[: len(self.names)], np.nan)

    @cached_property
    def _lengths(self) -> Array:
        """(N, 1)"""
        return np.asarray(self.present.sum(axis=1, keepdims=True))

    @property
    def _distance(self) -> Array:
        first, second = self._pair_indices
        return np.asarray(self._positions[:, second] - self._positions[:, first])

    @property
    def _both_present(self) -> Array:
        first, second = self._pair_indices
        return np.asarray(self.present[:, first] * self.present[:, second])


def _levels(values: Array) -> Array:
    """(N, levels): an indicator column for each distinct value."""
    return np.asarray(values[:, None] == np.unique(values), dtype=float)


def _curve(values: Array) -> Array:
    """Indicator columns if there are few distinct values; else their ranks scaled to [-1, 1], and the squares."""
    distinct, rank = np.unique(values, return_inverse=True)
    if len(distinct) <= MOST_LEVELS:
        return _levels(values)
    line = 2 * rank / (len(distinct) - 1) - 1
    return np.stack([line, line**2], axis=1)
