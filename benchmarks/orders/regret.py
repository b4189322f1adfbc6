"""Regret curves of repeated searches with confidence intervals, by trials and by trained stages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from benchmarks.orders.contenders import Step


@dataclass(frozen=True)
class Curve:
    """Mean regret over the repeats and half-widths of its 95 % confidence intervals, at points of a budget."""

    points: list[int]
    means: list[float]
    halves: list[float]

    @classmethod
    def of(cls, points: Sequence[int], regrets: Sequence[Sequence[float]]) -> Curve:
        """From regrets (repeats, points); intervals by Student's t."""
        table = np.array(regrets)
        repeats = len(table)
        wide = student.ppf(0.975, repeats - 1) / repeats**0.5 if repeats > 1 else 0.0
        spread = table.std(axis=0, ddof=1) if repeats > 1 else table[0]
        return cls(list(points), table.mean(axis=0).tolist(), (wide * spread).tolist())

    def at(self, point: int) -> float:
        """The mean at a point."""
        return self.means[self.points.index(point)]


@dataclass(frozen=True)
class RegretCurves:
    """Regret of one sampler, and the mean number of stages it trained within the budget of trials."""

    by_trials: Curve
    by_stages: Curve
    stages: float


def summarize(runs: Sequence[Sequence[Step]], budget: int, step: int, max_stages: int) -> RegretCurves:
    """Regret curves of repeated searches, at every trial of the budget and every ``step`` stages."""
    trials, stages = range(1, budget + 1), range(step, max_stages + 1, step)
    by_trials = [[steps[min(trial, len(steps)) - 1].regret for trial in trials] for steps in runs]
    by_stages = [[regret_after(steps, limit) for limit in stages] for steps in runs]
    used = [steps[min(budget, len(steps)) - 1].stages for steps in runs]
    return RegretCurves(Curve.of(trials, by_trials), Curve.of(stages, by_stages), float(np.mean(used)))


def regret_after(steps: Sequence[Step], stages: int) -> float:
    """The regret after the last trial within this budget of stages."""
    return [step.regret for step in steps if step.stages <= stages][-1]
