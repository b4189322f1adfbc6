"""What a trial is expected to gain, by what it costs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from munchray.samplers.gp import Posterior, log_expected_improvement
from munchray.samplers.order_features import Array, Features, Orders, features
from munchray.samplers.vectorizer import Codes, Setting, Vectorizer

BLOCK = 2_048  # orders predicted at a time: their covariances stay in the processor's cache


class RemainingStages:
    """How many stages of an order are still to be trained, where trials share those of common beginnings (Stack).

    A stage that a running trial is training, or is going to, counts as one still to be trained: waiting for it takes
    a slot as long as training it does. But an order that is all in trained or running ones has nothing left.

    Args:
        trained: orders that were trained, with their other parameters.
        running: likewise, those of trials that run.
        values: the other parameters of the settings that are asked about; only equal ones share stages.
    """

    def __init__(
        self, codec: Vectorizer, trained: Iterable[Setting], running: Iterable[Setting], values: Sequence[Setting]
    ) -> None:
        self._codec = codec
        trained = list(trained)
        everything = [*trained, *running]
        self._trained = [self._codes(trained, each) for each in values]
        self._begun = [self._codes(everything, each) for each in values]

    def of(self, orders: Orders) -> NDArray[np.intp]:
        """(S, N) for N orders at each of the S other parameters."""
        codes, present = self._codec.beginnings(orders), orders >= 0
        whole = codes[np.arange(len(orders)), present.sum(axis=1) - 1]
        left = [(present & ~_among(codes, known)).sum(axis=1) for known in self._trained]
        return np.array([each * ~_among(whole, begun) for each, begun in zip(left, self._begun, strict=True)])

    def _codes(self, settings: Iterable[Setting], values: Setting) -> Codes:
        """Of all beginnings of the orders with these values."""
        orders = self._codec.rows(each["order"] for each in settings if each.items() >= values.items())
        return np.unique(self._codec.beginnings(orders)[orders >= 0])


class CostAwareLogEI:
    """Logarithm of the expected improvement of settings, for orders at each of some other parameters.

    Args:
        best: what is to be exceeded.
        values: the other parameters.
        stages: what is still to be trained; None when trials share nothing.
        stage_weight: 0 ignores the cost; 1 is the improvement a stage.
    """

    def __init__(
        self,
        codec: Vectorizer,
        posterior: Posterior,
        best: float,
        values: Sequence[Setting],
        stages: RemainingStages | None,
        stage_weight: float,
    ) -> None:
        self._codec = codec
        self._posterior = posterior
        self._best = best
        self._axes = codec.axes(values)
        self._stages = stages
        self._stage_weight = stage_weight

    def of(self, orders: Orders, known: Features | None = None) -> Array:
        """(S, N) for N orders, whose features may be known already."""
        computed = features(orders, self._codec.count) if known is None else known
        starts = range(0, len(orders), BLOCK)
        gains = np.concatenate([self._block(computed.rows(slice(at, at + BLOCK), np.float32)) for at in starts], axis=1)
        return gains if self._stages is None else gains - self._cost(self._stages.of(orders))

    def _block(self, orders: Features) -> Array:
        predicted = self._posterior.over_axes(orders, self._axes)
        return np.array([log_expected_improvement(mean, deviation, self._best) for mean, deviation in predicted])

    def _cost(self, left: NDArray[np.intp]) -> Array:
        """What was trained to its end would only come to the same again."""
        return np.where(left > 0, self._stage_weight * np.log(np.maximum(left, 1)), np.inf)


def _among(codes: Codes, known: Codes) -> NDArray[np.bool_]:
    if not len(known):
        return np.zeros(codes.shape, dtype=bool)
    position = np.minimum(np.searchsorted(known, codes), len(known) - 1)
    return np.asarray(known[position] == codes)
