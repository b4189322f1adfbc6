"""Regret of many searches as curves: by trials and by stages trained, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from benchmarks.orders.contenders import Step


@dataclass(frozen=True)
class Curve:
    """Mean regret over the repeats, and half the width of its 95 % interval, at points of a budget."""

    points: list[int]
    means: list[float]
    halves: list[float]

    @classmethod
    def of(cls, points: Sequence[int], regrets: Sequence[Sequence[float]]) -> Curve:
        """From a row a repeat; intervals by Student's t."""
        table = np.array(regrets)
        repeats = len(table)
        wide = student.ppf(0.975, repeats - 1) / repeats**0.5 if repeats > 1 else 0.0
        spread = table.std(axis=0, ddof=1) if repeats > 1 else table[0]
        return cls(list(points), table.mean(axis=0).tolist(), (wide * spread).tolist())

    def at(self, point: int) -> float:
        """The mean there."""
        return self.means[self.points.index(point)]


@dataclass(frozen=True)
class Found:
    """What one sampler reached."""

    by_trials: Curve
    by_stages: Curve
    stages: float


def summed(runs: Sequence[Sequence[Step]], budget: int, step: int, most_stages: int) -> Found:
    """The curves of some searches: every trial of the budget, and every ``step`` stages up to the most."""
    trials, stages = range(1, budget + 1), range(step, most_stages + 1, step)
    by_trials = [[steps[min(trial, len(steps)) - 1].regret for trial in trials] for steps in runs]
    by_stages = [[regret_after(steps, most) for most in stages] for steps in runs]
    used = [steps[min(budget, len(steps)) - 1].stages for steps in runs]
    return Found(Curve.of(trials, by_trials), Curve.of(stages, by_stages), float(np.mean(used)))


def regret_after(steps: Sequence[Step], stages: int) -> float:
    """The regret of the last trial that these stages sufficed for."""
    return [step.regret for step in steps if step.stages <= stages][-1]
