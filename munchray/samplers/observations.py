"""Observations for the Gaussian process: scores of finished trials and of the prefixes of their orders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from munchray.samplers.base import Outcome
from munchray.samplers.order_features import Array
from munchray.samplers.search_space import Setting, SettingKey, setting_key

MAX_OBSERVATIONS = 200  # the time of a suggestion is quadratic in it; trials are kept first, then long prefixes
MAX_SPREAD = 4.0  # scores are clipped at this many times the upper half's spread below the median


@dataclass(frozen=True)
class Observations:
    """Settings and their scores: first trials, then prefixes that are no trial's whole order.

    Args:
        values: (N,), standardized by the mean and standard deviation of the trials' scores; more is better.
        trials: how many of them are trials.
    """

    settings: list[Setting]
    values: Array
    trials: int

    def subsample(self, size: int, seed: int) -> Observations:
        """At most ``size`` random observations, half of them trials if there are enough."""
        if len(self.settings) <= size:
            return self
        prefixes = len(self.settings) - self.trials
        trials = min(self.trials, max(size // 2, size - prefixes))
        rng = np.random.default_rng(seed)
        chosen = [
            *rng.choice(self.trials, trials, replace=False),
            *(self.trials + rng.choice(prefixes, size - trials, replace=False)),
        ]
        return Observations([self.settings[row] for row in chosen], self.values[chosen], trials)


def build_observations(outcomes: Sequence[Outcome], sign: float) -> Observations:
    """Observations of finished trials, given in the order they ended.

    Args:
        sign: -1 where lower scores are better.
    """
    kept = _best_and_latest(outcomes, sign)
    prefixes = _prefixes(outcomes)[: MAX_OBSERVATIONS - len(kept)]
    scores = sign * np.array([outcome.value for outcome in kept])
    clipped = np.maximum(scores, _floor(scores))
    prefix_scores = sign * np.array([value for _, value in prefixes])
    values = (np.concatenate([clipped, prefix_scores]) - clipped.mean()) / (float(clipped.std()) or 1.0)
    settings = [outcome.setting for outcome in kept] + [setting for setting, _ in prefixes]
    return Observations(settings, values, len(kept))


def _best_and_latest(outcomes: Sequence[Outcome], sign: float) -> Sequence[Outcome]:
    if len(outcomes) <= MAX_OBSERVATIONS:
        return outcomes
    half = MAX_OBSERVATIONS // 2
    best = sorted(outcomes[:-half], key=lambda outcome: (-sign * outcome.value, outcome.number))[:half]
    return [*best, *outcomes[-half:]]


def _prefixes(outcomes: Sequence[Outcome]) -> list[tuple[Setting, float]]:
    """Distinct prefixes that are no trial's whole order, with their scores: longest first, then latest."""
    seen = {(_axes_key(outcome), outcome.setting["order"]) for outcome in outcomes}
    found = []
    for outcome in reversed(outcomes):
        axes = _axes_key(outcome)
        for length, value in outcome.prefix_values:
            order = outcome.setting["order"][:length]
            if (axes, order) not in seen and np.isfinite(value):
                seen.add((axes, order))
                found.append(({**outcome.setting, "order": order}, value))
    return sorted(found, key=lambda each: -len(each[0]["order"]))


def _axes_key(outcome: Outcome) -> SettingKey:
    return setting_key({name: value for name, value in outcome.setting.items() if name != "order"})


def _floor(scores: Array) -> float:
    """The lowest score to keep: one collapsed training must not make all others look alike."""
    median, high = np.quantile(scores, [0.5, 0.9])
    return float(median - MAX_SPREAD * (high - median)) if high > median else -np.inf
