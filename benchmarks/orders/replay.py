"""Replay every sampler on the table of real scores: regret by trials and by trained stages.

    python -m benchmarks.orders.replay [--repeats 20]

A search observes the scores of one training seed; it is repeated with several sampler seeds on every training seed.
Two judges, both in points of dev F1: `seen` measures regret by the same training seed, which is how well a sampler
searches; `others` measures the regret of the chosen order by its mean over the other seeds, which is what a user gets.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import optuna

from benchmarks import bench
from benchmarks.orders.contenders import CONTENDERS, search
from benchmarks.orders.regret import RegretCurves, summarize
from benchmarks.orders.table import FILE, JUDGES, tables, whole_orders
from munchray.files import write_json

ORDERS = 12  # trials in the table: half of all orders


def main(arguments: Sequence[str] | None = None) -> None:
    """Replay, print the table and write the numbers."""
    options = _options(arguments)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    report = bench.Results("orders.replay", "regret in points of dev F1", options.json, arguments)
    curves = []
    for judge in JUDGES:
        for name in options.samplers:
            found = replayed(name, judge, options.repeats, options.table)
            curves.append({"sampler": name, "judge": judge, "by_trials": found.by_trials, "by_stages": found.by_stages})
            report.add(judge=judge, sampler=name, **_columns(found))
    report.publish()
    plain = [{key: vars(value) if key.startswith("by_") else value for key, value in each.items()} for each in curves]
    write_json(options.json, {**report.as_json(), "repeats": options.repeats, "curves": plain})


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m benchmarks.orders.replay", description=__doc__, formatter_class=form)
    parser.add_argument("--repeats", type=bench.positive, default=20, help="of each sampler and table (default: 20)")
    parser.add_argument("--samplers", nargs="+", choices=list(CONTENDERS), default=list(CONTENDERS))
    parser.add_argument("--table", type=Path, default=FILE, help="written by benchmarks.orders.table")
    parser.add_argument("--json", type=Path, default=bench.FOLDER / "results" / "orders_replay.json")
    return parser.parse_args(arguments)


def replayed(sampler: str, judge: str, repeats: int, table: Path) -> RegretCurves:
    """The regret of one sampler over all seeds of the table and of the sampler."""
    landscapes = tables(judge, table)
    count = landscapes[0].count
    orders = len(whole_orders(count))
    runs = [
        search(CONTENDERS[sampler], landscape, seed, orders, 0) for landscape in landscapes for seed in range(repeats)
    ]
    return summarize(runs, orders, count, stages_of_all(count))


def stages_of_all(count: int) -> int:
    """Number of distinct prefixes of all orders of ``count`` auxiliaries."""
    return len({order[:length] for order in whole_orders(count) for length in range(1, count + 1)})


def _columns(found: RegretCurves) -> dict[str, float]:
    trials = {f"{n} trials": found.by_trials.at(n) for n in (ORDERS // 3, 2 * ORDERS // 3, ORDERS)}
    half = found.by_trials.halves[ORDERS - 1]
    stages = {f"{n} stages": found.by_stages.at(n) for n in found.by_stages.points if n in (16, 32, 48)}
    return {**trials, "95 % ±": half, **stages}


if __name__ == "__main__":
    main()
