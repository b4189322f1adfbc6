"""Statistical tests of the paper's conjectures about orders on the table of real scores.

    python -m benchmarks.orders.questions

* *Does the order matter at all?* Two-way analysis of variance with orders and seeds as factors, without interaction:
  the F test of the orders, and the standard deviations of the order effect and of the residuals.
* *Does the last auxiliary matter most?* The share of the variance of the orders' means that is explained by the
  auxiliary at each position, and its F test.
* *Does single_aux predict the best order?* Auxiliaries sorted by their single scores: the rank of that order, and the
  rank correlation between an order's score and the number of its pairs in sorted order.
* *Do more auxiliaries help?* Mean score by number of auxiliaries.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from benchmarks import bench
from benchmarks.orders.table import FILE, ScoreTable, tables, whole_orders

Values = NDArray[np.float64]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the tests, print and write the results."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m benchmarks.orders.questions", description=__doc__, formatter_class=form)
    parser.add_argument("--table", type=Path, default=FILE, help="written by benchmarks.orders.table")
    parser.add_argument("--json", type=Path, default=bench.FOLDER / "results" / "orders_questions.json")
    options = parser.parse_args(arguments)
    report = bench.Results("orders.questions", "what the table says", options.json, arguments)
    seeds = tables("seen", options.table)
    scores = np.array([[table.score(order) for table in seeds] for order in whole_orders(seeds[0].count)])
    order_anova(report, scores)
    position_effects(report, scores.mean(axis=1), seeds[0].count)
    sorted_order(report, seeds, scores.mean(axis=1))
    mean_by_length(report, seeds)
    report.publish()


def order_anova(report: bench.Results, scores: Values) -> None:
    """Two-way analysis of variance of ``scores`` (orders, seeds)."""
    orders, seeds = scores.shape
    of_order, of_seed = scores.mean(axis=1, keepdims=True), scores.mean(axis=0, keepdims=True)
    rest = scores - of_order - of_seed + scores.mean()
    free = (orders - 1) * (seeds - 1)
    noise = float((rest**2).sum() / free)
    between = float(seeds * of_order.var(ddof=1))
    report.add(question="SD between orders, of their effect", value=max(0.0, (between - noise) / seeds) ** 0.5)
    report.add(question="SD of the rest, seeds' means removed", value=noise**0.5)
    report.add(question="SD between seeds, of their means", value=float(of_seed.std(ddof=1)))
    report.add(
        question="F of the orders", value=between / noise, p=float(stats.f.sf(between / noise, orders - 1, free))
    )


def position_effects(report: bench.Results, means: Values, count: int) -> None:
    """Variance explained by the auxiliary at each position; ``means`` of every whole order over the seeds."""
    orders = np.array(whole_orders(count))
    for position in range(count):
        groups = [means[orders[:, position] == item] for item in range(count)]
        share = (
            sum(len(group) * (group.mean() - means.mean()) ** 2 for group in groups)
            / ((means - means.mean()) ** 2).sum()
        )
        p = float(stats.f_oneway(*groups).pvalue)
        report.add(question=f"share of variance by the auxiliary at position {position + 1}", value=float(share), p=p)


def sorted_order(report: bench.Results, seeds: Sequence[ScoreTable], means: Values) -> None:
    """The order ascending by single scores, the paper's (sort) heuristic, ranked among all."""
    orders = whole_orders(seeds[0].count)
    alone = [float(np.mean([table.score((item,)) for table in seeds])) for item in range(seeds[0].count)]
    ascending = tuple(int(item) for item in np.argsort(alone))
    agreeing = [sum(alone[first] < alone[second] for first, second in combinations(order, 2)) for order in orders]
    rank = 1 + int((means > means[orders.index(ascending)]).sum())
    found = stats.spearmanr(agreeing, means)
    report.add(question="rank of the order sorted by single scores", value=rank)
    report.add(question="its loss against the best mean", value=float(means.max() - means[orders.index(ascending)]))
    report.add(question="rank correlation of score and pairs in sorted order", value=float(found[0]), p=float(found[1]))
    report.note(f"Sorted: {' > '.join(seeds[0].auxiliaries[item] for item in ascending)}")
    best = orders[int(means.argmax())]
    report.note(f"Best mean: {' > '.join(seeds[0].auxiliaries[item] for item in best)}, {means.max():.2f}")


def mean_by_length(report: bench.Results, seeds: Sequence[ScoreTable]) -> None:
    """Mean score of all prefixes of each length over all seeds."""
    for length in range(1, seeds[0].count + 1):
        prefixes = {order[:length] for order in whole_orders(seeds[0].count)}
        scores = [table.score(each) for table in seeds for each in prefixes]
        report.add(question=f"mean dev F1 after {length} auxiliaries", value=float(np.mean(scores)))


if __name__ == "__main__":
    main()
