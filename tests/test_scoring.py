"""Exact-span scores against seqeval and the paper."""

import random

import pytest

from munchray.corpora.tags import iob2_to_iobes, iobes_to_iob2, spans_to_iob2
from munchray.tagging.scoring import SpanCounts, counts_by_type, macro_f1, sentence_counts, seqeval_scores, total

# Paper, Table 2: SingleTask, MultiTask, SingleAux, MUNCH.-Conc, MUNCH.-Iter, MUNCH.-Stack; last number MA. AVG.
TABLE_2 = [
    ([87.56, 86.65, 94.12, 92.25, 83.63, 77.31, 88.06, 75.41], 85.62),
    ([87.72, 86.12, 94.53, 92.00, 83.44, 77.86, 89.06, 76.71], 85.93),
    ([88.41, 86.53, 94.27, 92.29, 83.24, 77.71, 88.88, 76.80], 86.02),
    ([89.14, 86.73, 94.23, 92.36, 82.57, 77.48, 89.46, 76.42], 86.05),
    ([88.33, 86.85, 94.52, 92.18, 82.90, 77.78, 88.98, 77.20], 86.09),
    ([87.69, 86.98, 94.33, 92.32, 83.80, 77.62, 89.42, 76.65], 86.10),
]


def random_tags(rng, types=("A", "B")):
    return [rng.choice(["O", "O", *(f"{p}-{t}" for p in "BI" for t in types)]) for _ in range(rng.randint(1, 12))]


def test_counts_of_a_sentence_worked_out_by_hand():
    gold = ["B-A", "I-A", "O", "B-A", "O", "B-B"]
    predicted = ["B-A", "I-A", "O", "B-B", "O", "O"]
    assert sentence_counts(gold, predicted) == SpanCounts(tp=1, fp=1, fn=2)
    assert SpanCounts(1, 1, 2).precision == 50
    assert SpanCounts(1, 1, 2).recall == pytest.approx(100 / 3)
    assert SpanCounts(1, 1, 2).f1 == pytest.approx(40)


def test_only_exact_spans_match():
    gold = ["B-A", "I-A", "O"]
    for predicted in (["B-A", "O", "O"], ["B-A", "I-A", "I-A"], ["B-B", "I-B", "O"], ["O", "B-A", "O"]):
        assert sentence_counts(gold, predicted) == SpanCounts(0, 1, 1)


def test_scores_equal_seqeval_strict():
    rng = random.Random(0)
    gold = [iobes_to_iob2(random_tags(rng)) for _ in range(300)]
    predicted = [iobes_to_iob2(random_tags(rng)) if rng.random() < 0.5 else g for g in gold]
    predicted = [(p + ["O"] * len(g))[: len(g)] for g, p in zip(gold, predicted, strict=True)]
    ours = total(sentence_counts(g, p) for g, p in zip(gold, predicted, strict=True))
    judge = seqeval_scores(gold, predicted)
    assert (ours.precision, ours.recall, ours.f1) == pytest.approx((judge["precision"], judge["recall"], judge["f1"]))
    assert judge["support"] == ours.tp + ours.fn


def test_scores_do_not_depend_on_the_scheme():
    gold = spans_to_iob2([(0, 2, "A"), (3, 4, "B")], 5)
    assert sentence_counts(gold, iob2_to_iobes(gold)) == SpanCounts(tp=2)


def test_counts_by_type_sum_to_the_total():
    rng = random.Random(1)
    gold = [random_tags(rng) for _ in range(50)]
    predicted = [[rng.choice(["O", t]) for t in tags] for tags in gold]
    whole = total(sentence_counts(g, p) for g, p in zip(gold, predicted, strict=True))
    assert total(counts_by_type(gold, predicted).values()) == whole


def test_empty_counts_score_zero():
    assert SpanCounts().f1 == SpanCounts().precision == SpanCounts().recall == 0
    assert SpanCounts(fn=3).f1 == 0


@pytest.mark.parametrize(("scores", "printed"), TABLE_2)
def test_macro_averages_of_table_2(scores, printed):
    # SpanCounts whose F1 is the published score to two decimals: tp / 10,000 with equal errors on both sides.
    counts = [SpanCounts(round(100 * f1), 10_000 - round(100 * f1), 10_000 - round(100 * f1)) for f1 in scores]
    assert macro_f1(counts) == pytest.approx(printed, abs=0.0051)


def test_micro_average_is_not_the_mean_of_f1s():
    small, large = SpanCounts(1, 0, 0), SpanCounts(10, 90, 90)
    assert total([small, large]).f1 == pytest.approx(100 * 11 / 101)
    assert macro_f1([small, large]) == pytest.approx(55)
