"""Statistics, against formulas, exhaustive permutation and scipy."""

import itertools

import numpy as np
import pytest
from scipy import stats

from munchray.finalization.statistics import (
    IntervalEstimate,
    Spread,
    bootstrap_difference,
    holm,
    paired_t_test,
    probability_of_superiority,
    randomization_p,
)
from munchray.tagging.scoring import SpanCounts, total


def sentences(rng, count, skill):
    """SpanCounts of sentences with up to three gold spans, each found with probability ``skill``."""
    gold = rng.integers(0, 4, size=count)
    right = rng.binomial(gold, skill)
    return [
        SpanCounts(int(r), int(w), int(g - r)) for r, g, w in zip(right, gold, rng.integers(0, 2, count), strict=True)
    ]


def by_enumeration(a, b):
    """The exact p of the randomization test, written down as it is defined."""
    observed = abs(total(a).f1 - total(b).f1)
    hits = 0
    for swaps in itertools.product([False, True], repeat=len(a)):
        ours = [y if swap else x for x, y, swap in zip(a, b, swaps, strict=True)]
        theirs = [x if swap else y for x, y, swap in zip(a, b, swaps, strict=True)]
        hits += abs(total(ours).f1 - total(theirs).f1) >= observed - 1e-9
    return hits / 2 ** len(a)


@pytest.mark.parametrize("seed", range(4))
def test_randomization_over_few_sentences_is_exhaustive_permutation(seed):
    rng = np.random.default_rng(seed)
    a, b = sentences(rng, 9, 0.8), sentences(rng, 9, 0.4)
    assert randomization_p(a, b) == pytest.approx(by_enumeration(a, b))


def test_sampled_randomization_agrees_with_exhaustive_permutation():
    rng = np.random.default_rng(7)
    a, b = sentences(rng, 13, 0.8), sentences(rng, 13, 0.5)
    exact = by_enumeration(a, b)
    sampled = randomization_p(a, b, rounds=2_000)  # fewer rounds than ways: it samples
    assert sampled == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 2_000) + 1 / 2_000)


def test_randomization_is_a_sign_test_when_one_system_is_always_right():
    a = [SpanCounts(1, 0, 0)] * 10 + [SpanCounts(1, 0, 0)] * 50
    b = [SpanCounts(0, 0, 1)] * 10 + [SpanCounts(1, 0, 0)] * 50
    assert randomization_p(a, b) == pytest.approx(2 * 0.5**10)  # a sign test: only all or none swapped is as extreme
    assert randomization_p(a, a) == 1.0


def test_randomization_of_a_thousand_sentences_agrees_with_scipys_permutation_test():
    rng = np.random.default_rng(3)
    a, b = sentences(rng, 1_000, 0.72), sentences(rng, 1_000, 0.70)
    pairs = [np.array([(c.tp, c.fp, c.fn) for c in system]) for system in (a, b)]

    def difference(x, y, axis=-1):
        x, y = pairs_at(x), pairs_at(y)
        return f1_of(x) - f1_of(y)

    def pairs_at(codes):  # scipy permutes numbers, so each system's sentence is a number that stands for its counts
        codes = codes.astype(int)
        return np.array(pairs)[codes % 2, codes // 2].sum(axis=-2)

    def f1_of(sums):
        return 100 * 2 * sums[..., 0] / (2 * sums[..., 0] + sums[..., 1] + sums[..., 2])

    codes = np.arange(1_000) * 2
    judged = stats.permutation_test(
        (codes, codes + 1), difference, permutation_type="samples", n_resamples=1_000, vectorized=True, batch=100,
        rng=np.random.default_rng(1),
    )  # fmt: skip
    assert randomization_p(a, b) == pytest.approx(judged.pvalue, abs=0.06)


def test_the_bootstrap_interval_covers_a_difference_whose_spread_is_known():
    # precision 1 on both sides and one gold span a sentence: the difference of the counts is a difference of shares
    rng = np.random.default_rng(0)
    a = [SpanCounts(1, 0, 0) if hit else SpanCounts(0, 1, 1) for hit in rng.random(3_000) < 0.8]
    b = [SpanCounts(1, 0, 0) if hit else SpanCounts(0, 1, 1) for hit in rng.random(3_000) < 0.7]
    found = bootstrap_difference(a, b)
    differences = np.array([x.tp - y.tp for x, y in zip(a, b, strict=True)]) * 100  # F1 is the share of right ones
    half = 1.96 * differences.std() / np.sqrt(3_000)
    assert found.value == pytest.approx(differences.mean())
    assert (found.low, found.high) == pytest.approx((found.value - half, found.value + half), abs=0.15)


def test_the_paired_t_test_is_scipys():
    a, b = [81.0, 82.5, 80.2, 81.9], [80.1, 81.0, 80.4, 80.9]
    ours, judge = paired_t_test(a, b), stats.ttest_rel(a, b)
    assert ours.p == pytest.approx(judge.pvalue)
    interval = judge.confidence_interval(0.95)
    assert (ours.difference.low, ours.difference.high) == pytest.approx((interval.low, interval.high))


def test_one_seed_has_no_spread_and_equal_differences_are_degenerate():
    assert paired_t_test([81.0], [80.0]).p is None
    assert paired_t_test([81.0], [80.0]).difference == IntervalEstimate(1.0)
    assert probability_of_superiority([81.0], [80.0]) == IntervalEstimate(1.0)
    assert Spread.of([81.0]) == Spread(81.0, None, 81.0, 1)
    assert paired_t_test([2.0, 3.0], [2.0, 3.0]).p == 1.0
    assert paired_t_test([2.0, 3.0], [1.0, 2.0]).p == 0.0


def test_superiority_is_the_mann_whitney_share_of_pairs():
    a, b = [3.0, 5.0, 5.0, 8.0], [4.0, 5.0, 1.0]
    assert probability_of_superiority(a, b).value == pytest.approx(stats.mannwhitneyu(a, b).statistic / 12)
    assert probability_of_superiority(a, b).value + probability_of_superiority(b, a).value == pytest.approx(1)
    assert probability_of_superiority(a, b).low == pytest.approx(1 - probability_of_superiority(b, a).high)


def test_the_superiority_interval_stays_wide_for_few_seeds():
    few, many = (
        probability_of_superiority([2.0, 3.0, 4.0], [1.0, 0.0, 1.5]),
        probability_of_superiority([2.0] * 60, [1.0] * 60),
    )
    assert (few.value, few.high) == (1.0, 1.0)
    assert few.low < 0.65
    assert many.low > 0.9


def test_the_interval_of_superiority_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(5)
    shift = 0.8
    truth = stats.norm.cdf(shift / np.sqrt(2))
    covered = 0
    for _ in range(600):
        found = probability_of_superiority(rng.normal(shift, size=5), rng.normal(size=5))
        covered += found.low <= truth <= found.high
    assert 0.92 < covered / 600 <= 1.0


def test_holm_by_hand():
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06})
    assert holm({"a": 0.9, "b": 0.8}) == {"a": 1.0, "b": 1.0}
    assert holm({}) == {}
