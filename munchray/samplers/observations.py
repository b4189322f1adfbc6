"""What finished trials tell a model: their scores, and the scores of the beginnings of their orders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from munchray.samplers.base import Outcome
from munchray.samplers.order_features import Array
from munchray.samplers.search_space import Identity, identity

MAX_OBSERVATIONS = 200  # a suggestion costs the square of it; trials first, then long beginnings
SPREAD = 4.0  # a score farther below the median than so many times the upper half's spread is brought up to there


@dataclass(frozen=True)
class Observations:
    """Settings and what they scored; trials first, then beginnings that no trial had as its whole order.

    Args:
        values: (N,), in standard deviations of the trials' scores around their mean; more is better.
        trials: how many of them are trials.
    """

    settings: list[dict[str, Any]]
    values: Array
    trials: int

    def sample(self, most: int, seed: int) -> Observations:
        """At most so many of them, half of them trials if there are enough."""
        if len(self.settings) <= most:
            return self
        whole = min(self.trials, max(most // 2, most - (len(self.settings) - self.trials)))
        rng = np.random.default_rng(seed)
        chosen = [
            *rng.choice(self.trials, whole, replace=False),
            *(self.trials + rng.choice(len(self.settings) - self.trials, most - whole, replace=False)),
        ]
        return Observations([self.settings[row] for row in chosen], self.values[chosen], whole)


def build_observations(outcomes: Sequence[Outcome], sign: float) -> Observations:
    """Observations of finished trials in the order they ended.

    Args:
        sign: -1 where less is better.
    """
    kept = _latest_and_best(outcomes, sign)
    scores = sign * np.array([outcome.value for outcome in kept])
    beginnings = _beginnings(outcomes)[: MAX_OBSERVATIONS - len(kept)]
    scores_before = sign * np.array([value for _, value in beginnings])
    clipped = np.maximum(scores, _floor(scores))
    deviation = float(clipped.std()) or 1.0
    values = (np.concatenate([clipped, scores_before]) - clipped.mean()) / deviation
    return Observations(
        [outcome.setting for outcome in kept] + [setting for setting, _ in beginnings], values, len(kept)
    )


def _latest_and_best(outcomes: Sequence[Outcome], sign: float) -> Sequence[Outcome]:
    if len(outcomes) <= MAX_OBSERVATIONS:
        return outcomes
    half = MAX_OBSERVATIONS // 2
    best = sorted(outcomes[:-half], key=lambda outcome: (-sign * outcome.value, outcome.number))[:half]
    return [*best, *outcomes[-half:]]


def _beginnings(outcomes: Sequence[Outcome]) -> list[tuple[dict[str, Any], float]]:
    """Each once, the longest first, then the latest; those that are some trial's whole order are left out."""
    seen = {(_values(outcome), outcome.setting["order"]) for outcome in outcomes}
    found = []
    for outcome in reversed(outcomes):
        values = _values(outcome)
        for length, score in outcome.beginnings:
            order = outcome.setting["order"][:length]
            if (values, order) not in seen and np.isfinite(score):
                seen.add((values, order))
                found.append(({**outcome.setting, "order": order}, score))
    return sorted(found, key=lambda each: -len(each[0]["order"]))


def _values(outcome: Outcome) -> Identity:
    return identity({name: value for name, value in outcome.setting.items() if name != "order"})


def _floor(scores: Array) -> float:
    """One training that collapsed must not make all others look alike."""
    median, high = np.quantile(scores, [0.5, 0.9])
    return float(median - SPREAD * (high - median)) if high > median else -np.inf
