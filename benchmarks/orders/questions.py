"""What the real table says of the paper's conjectures: what an order does, beside what a seed does.

    python -m benchmarks.orders.questions

* *Does the order matter at all?* Orders and seeds as two factors of a linear model without interaction; the F test of
  the orders, and the standard deviations of an order's effect and of the rest.
* *Does who comes last matter most?* The share of the variance of the orders' means that is explained by who stands at
  each place, and its F test.
* *Does single_aux tell the best order?* Auxiliaries sorted by what each scores alone: the rank of that order, and the
  rank correlation between an order's score and how many pairs it has in sorted order.
* *Do more auxiliaries help?* Mean score after each number of them.
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
from benchmarks.orders.table import FILE, Table, tables, whole_orders

Values = NDArray[np.float64]


def main(arguments: Sequence[str] | None = None) -> None:
    """Answer, print and write."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.orders.questions",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--table", type=Path, default=FILE, help="what benchmarks.orders.table wrote")
    parser.add_argument("--json", type=Path, default=bench.FOLDER / "results" / "orders_questions.json")
    options = parser.parse_args(arguments)
    report = bench.Results("orders.questions", "what the table says", options.json, arguments)
    seeds = tables("seen", options.table)
    scores = np.array([[table.score(order) for table in seeds] for order in whole_orders(seeds[0].count)])
    order_or_seed(report, scores)
    who_stands_where(report, scores.mean(axis=1), seeds[0].count)
    sorted_by_single(report, seeds, scores.mean(axis=1))
    depth(report, seeds)
    report.publish()


def order_or_seed(report: bench.Results, scores: Values) -> None:
    """``scores``: a row an order, a column a seed."""
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


def who_stands_where(report: bench.Results, means: Values, count: int) -> None:
    """``means``: of every whole order over the seeds."""
    orders = np.array(whole_orders(count))
    for place in range(count):
        groups = [means[orders[:, place] == item] for item in range(count)]
        share = (
            sum(len(group) * (group.mean() - means.mean()) ** 2 for group in groups)
            / ((means - means.mean()) ** 2).sum()
        )
        p = float(stats.f_oneway(*groups).pvalue)
        report.add(question=f"share of variance by who is trained at place {place + 1}", value=float(share), p=p)


def sorted_by_single(report: bench.Results, seeds: Sequence[Table], means: Values) -> None:
    """Sorted ascending, as the paper's heuristic does: the one that helps most alone comes last."""
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


def depth(report: bench.Results, seeds: Sequence[Table]) -> None:
    """Over all beginnings of a length and all seeds."""
    for length in range(1, seeds[0].count + 1):
        beginnings = {order[:length] for order in whole_orders(seeds[0].count)}
        scores = [table.score(each) for table in seeds for each in beginnings]
        report.add(question=f"mean dev F1 after {length} auxiliaries", value=float(np.mean(scores)))


if __name__ == "__main__":
    main()
