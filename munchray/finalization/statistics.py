"""Significance of score differences: tests and intervals over sentences and over seeds. (scipy)

Two sources of variance are kept apart. *Within a seed*: other test sentences, estimated by permuting and resampling the
sentences of two models. *Across seeds*: other trainings, estimated from the scores of several seeds. Neither implies
the other.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from scipy import optimize, stats

from munchray.seeds import generator
from munchray.tagging.scoring import SpanCounts

ROUNDS = 10_000
LEVEL = 0.95
ALPHA = 0.05
EQUAL = 1e-9  # percent; smaller differences are rounding errors

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Spread:
    """Scores of one setting over seeds, in percent. ``sd`` (n - 1) is None for a single seed."""

    mean: float
    sd: float | None
    best: float
    seeds: int

    @classmethod
    def of(cls, scores: Sequence[float]) -> Spread:
        """Summarize one or more scores."""
        sd = float(np.std(scores, ddof=1)) if len(scores) > 1 else None
        return cls(float(np.mean(scores)), sd, max(scores), len(scores))

    def __str__(self) -> str:
        """``71.20 ± 0.80``."""
        return f"{self.mean:.2f}" if self.sd is None else f"{self.mean:.2f} ± {self.sd:.2f}"


@dataclass(frozen=True)
class IntervalEstimate:
    """A point estimate with its 95 % interval; the bounds are None where a single seed gives none."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class PairedDifference:
    """The mean of A - B over seeds with its interval, and the p value of the paired t test."""

    difference: IntervalEstimate
    p: float | None


def randomization_p(a: Sequence[SpanCounts], b: Sequence[SpanCounts], rounds: int = ROUNDS) -> float:
    """Two-sided p of equal micro-F1 by approximate randomization (Noreen 1989; Yeh 2000).

    In each round every sentence's counts are swapped between the systems with probability 1/2. If there are at most
    ``rounds`` distinct swaps, they are enumerated and p is exact; otherwise it is (hits + 1) / (rounds + 1).

    Args:
        a, b: counts of the same sentences under two systems.
    """
    pairs, times = _distinct(a, b)
    deltas = pairs[:, 0] - pairs[:, 1]
    differ = deltas.any(axis=1)
    deltas, times = deltas[differ], times[differ]
    exact = math.prod(int(n) + 1 for n in times) <= rounds
    swapped, weights = _all_swaps(times) if exact else _random_swaps(times, rounds)
    sums = _counts_of(a).sum(0), _counts_of(b).sum(0)
    change = swapped @ deltas
    found = np.abs(_f1(sums[0] - change) - _f1(sums[1] + change)) >= abs(_f1(sums[0]) - _f1(sums[1])) - EQUAL
    hits = float(weights[found].sum())
    return min(1.0, hits) if exact else (hits + 1) / (rounds + 1)


def bootstrap_difference(a: Sequence[SpanCounts], b: Sequence[SpanCounts], rounds: int = ROUNDS) -> IntervalEstimate:
    """Micro-F1 of A minus that of B, with the percentile interval of the paired bootstrap over sentences.

    Sentences with equal counts are drawn together: how often each kind is drawn follows a multinomial distribution.
    """
    pairs, times = _distinct(a, b)
    rng = generator("bootstrap", len(a), rounds)
    drawn = rng.multinomial(len(a), times / times.sum(), size=rounds)
    differences = _f1(drawn @ pairs[:, 0]) - _f1(drawn @ pairs[:, 1])
    low, high = np.quantile(differences, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    observed = _f1(_counts_of(a).sum(0)) - _f1(_counts_of(b).sum(0))
    return IntervalEstimate(float(observed), float(low), float(high))


def paired_t_test(a: Sequence[float], b: Sequence[float]) -> PairedDifference:
    """Paired t test over seeds: the same seed means the same initial weights and the same order of main's sentences.

    Args:
        a, b: one score per seed, the same seeds in the same order; a single seed gives neither interval nor p.
    """
    differences = np.subtract(a, b)
    mean = float(differences.mean())
    if len(differences) < 2:
        return PairedDifference(IntervalEstimate(mean), None)
    if np.ptp(differences) < EQUAL:  # scipy divides by the spread
        return PairedDifference(IntervalEstimate(mean, mean, mean), 1.0 if abs(mean) < EQUAL else 0.0)
    test = stats.ttest_1samp(differences, 0.0)
    interval = test.confidence_interval(LEVEL)
    return PairedDifference(IntervalEstimate(mean, float(interval.low), float(interval.high)), float(test.pvalue))


def probability_of_superiority(a: Sequence[float], b: Sequence[float]) -> IntervalEstimate:
    """P(A > B): the probability that a new training of A scores above a new training of B; ties count half.

    Estimated by the share of pairs, with the interval of Newcombe (2006, method 5), a score interval on Hanley and
    McNeil's variance that keeps its width where all pairs agree, as they often do with few seeds.
    """
    wins = np.subtract.outer(np.asarray(a), np.asarray(b))
    share = float(np.mean((wins > EQUAL) + 0.5 * (np.abs(wins) <= EQUAL)))
    if len(a) < 2 or len(b) < 2:
        return IntervalEstimate(share)
    return IntervalEstimate(share, _score_bound(share, 0.0, len(a), len(b)), _score_bound(share, 1.0, len(a), len(b)))


def holm(p_values: Mapping[Key, float]) -> dict[Key, float]:
    """Adjusted p values (Holm 1979), which control the family-wise error rate."""
    adjusted: dict[Key, float] = {}
    highest = 0.0
    for rank, key in enumerate(sorted(p_values, key=lambda key: p_values[key])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[key]))
        adjusted[key] = highest
    return {key: adjusted[key] for key in p_values}


def _score_bound(share: float, end: float, m: int, n: int) -> float:
    """The bound of the score interval toward ``end``, 0 or 1."""
    z, half = float(stats.norm.ppf((1 + LEVEL) / 2)), (m + n) / 2 - 1

    def excess(theta: float) -> float:
        spread = 1 + half * (1 - theta) / (2 - theta) + half * theta / (1 + theta)
        return abs(theta - share) - z * math.sqrt(max(0.0, theta * (1 - theta) * spread / (m * n)))

    inside = share + (end - share) * 1e-9
    return end if excess(end) <= 0 or excess(inside) >= 0 else float(optimize.brentq(excess, inside, end))


def _counts_of(counts: Sequence[SpanCounts]) -> np.ndarray:
    """(tp, fp, fn) of each sentence, float64 [sentences, 3]."""
    return np.array([(c.tp, c.fp, c.fn) for c in counts], np.float64)


def _distinct(a: Sequence[SpanCounts], b: Sequence[SpanCounts]) -> tuple[np.ndarray, np.ndarray]:
    """Distinct counts of both systems, float64 [kinds, system, 3], and their multiplicity, int64 [kinds]."""
    both = np.hstack([_counts_of(a), _counts_of(b)])
    kinds, times = np.unique(both, axis=0, return_counts=True)
    return kinds.reshape(-1, 2, 3), times


def _f1(counts: np.ndarray) -> np.ndarray:
    """F1 in percent from summed counts [..., 3]; 0 without true positives."""
    tp, fp, fn = np.moveaxis(counts, -1, 0)
    total = 2 * tp + fp + fn
    f1: np.ndarray = 100 * np.divide(2 * tp, total, out=np.zeros_like(total), where=total > 0)
    return f1


def _random_swaps(times: np.ndarray, rounds: int) -> tuple[np.ndarray, np.ndarray]:
    """Random numbers of swapped sentences of each kind, [rounds, kinds], and a weight of 1 for every round."""
    swaps = generator("swaps", rounds, *times).binomial(times, 0.5, size=(rounds, len(times)))
    return swaps.astype(np.float64), np.ones(rounds)


def _all_swaps(times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All combinations of numbers of swapped sentences per kind, and their probabilities."""
    grids = np.meshgrid(*(np.arange(n + 1) for n in times), indexing="ij")
    swaps = np.stack([grid.ravel() for grid in grids], axis=1) if len(times) else np.zeros((1, 0))
    return swaps.astype(np.float64), stats.binom.pmf(swaps, times, 0.5).prod(axis=1)
