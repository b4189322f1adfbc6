"""The acquisition function: log expected improvement minus a penalty for the stages that are still to train."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from munchray.samplers.gp import Posterior, log_expected_improvement
from munchray.samplers.order_features import Array, Features, Orders, extract_features
from munchray.samplers.search_space import Setting
from munchray.samplers.vectorizer import Hashes, Vectorizer

BLOCK = 2_048  # orders predicted at a time: their covariances stay in the processor's cache


class RemainingStages:
    """Counts the stages that an order has still to train, where trials share those of common prefixes (Stack).

    A stage that a running trial trains or is going to train counts as remaining: waiting for it occupies a slot as
    long as training it does. But an order that is a prefix of a trained or running one has none left.

    Args:
        trained: settings whose orders are trained.
        running: settings of running trials.
        values: the axes' values of the settings in question; only settings with equal values share stages.
    """

    def __init__(
        self, vectorizer: Vectorizer, trained: Iterable[Setting], running: Iterable[Setting], values: Sequence[Setting]
    ) -> None:
        self._vectorizer = vectorizer
        trained = list(trained)
        started = [*trained, *running]
        self._trained = [self._hashes(trained, each) for each in values]
        self._started = [self._hashes(started, each) for each in values]

    def count(self, orders: Orders) -> NDArray[np.intp]:
        """Remaining stages (S, N) of N orders at each of the S values."""
        hashes, present = self._vectorizer.prefix_hashes(orders), orders >= 0
        whole = hashes[np.arange(len(orders)), present.sum(axis=1) - 1]
        left = [(present & ~_is_in(hashes, known)).sum(axis=1) for known in self._trained]
        return np.array([each * ~_is_in(whole, known) for each, known in zip(left, self._started, strict=True)])

    def _hashes(self, settings: Iterable[Setting], values: Setting) -> Hashes:
        """Sorted hashes of all prefixes of the orders with these values."""
        orders = self._vectorizer.rows(each["order"] for each in settings if each.items() >= values.items())
        return np.unique(self._vectorizer.prefix_hashes(orders)[orders >= 0])


class CostAwareLogEI:
    """Log expected improvement minus ``stage_weight`` times the logarithm of the remaining stages.

    That is expected improvement per unit cost (Snoek et al. 2012) with the cost raised to a power.

    Args:
        best: the score to exceed.
        values: the axes' values at which orders are evaluated.
        stages: counts the remaining stages; None when trials share no stages.
        stage_weight: the power of the cost: 0 ignores it, 1 is the improvement per stage.
    """

    def __init__(
        self,
        vectorizer: Vectorizer,
        posterior: Posterior,
        best: float,
        values: Sequence[Setting],
        stages: RemainingStages | None,
        stage_weight: float,
    ) -> None:
        self._count = vectorizer.count
        self._posterior = posterior
        self._best = best
        self._axes = vectorizer.axes(values)
        self._stages = stages
        self._stage_weight = stage_weight

    def __call__(self, orders: Orders, features: Features | None = None) -> Array:
        """Values (S, N) of N orders at each of the S values of the axes; features are computed unless given."""
        given = extract_features(orders, self._count) if features is None else features
        starts = range(0, len(orders), BLOCK)
        blocks = [self._log_ei(given.astype(np.float32, slice(start, start + BLOCK))) for start in starts]
        log_ei = np.concatenate(blocks, axis=1)
        return log_ei if self._stages is None else log_ei - self._penalty(self._stages.count(orders))

    def _log_ei(self, orders: Features) -> Array:
        predictions = self._posterior.predict_over_axes(orders, self._axes)
        return np.array([log_expected_improvement(mean, std, self._best) for mean, std in predictions])

    def _penalty(self, stages: NDArray[np.intp]) -> Array:
        """Penalty (S, N), infinite where no stage is left: the score is known, or will be."""
        return np.where(stages > 0, self._stage_weight * np.log(np.maximum(stages, 1)), np.inf)


def _is_in(hashes: Hashes, known: Hashes) -> NDArray[np.bool_]:
    """Whether each hash is among the sorted known ones."""
    if not len(known):
        return np.zeros(hashes.shape, dtype=bool)
    index = np.minimum(np.searchsorted(known, hashes), len(known) - 1)
    return np.asarray(known[index] == hashes)
