"""Every sampler replayed on the real table: what it would have found, by trials and by stages trained.

    python -m benchmarks.orders.replay [--repeats 20]

A search sees the scores of one seed; it is repeated with other seeds of the sampler, on the table of every seed. Two
judges, both in points of dev F1: `seen` asks how far the best score seen is from the highest of the same seed, which is
how well a sampler searches; `others` asks what the order that scored best is worth under the other seeds, against the
best order there, which is what a user gets.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import optuna

from benchmarks import bench
from benchmarks.orders.contenders import CONTENDERS, search
from benchmarks.orders.regret import Found, summed
from benchmarks.orders.table import FILE, JUDGES, tables, whole_orders
from munchray.files import write_json

ORDERS = 12  # half of what there is to try


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
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.orders.replay",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--repeats", type=bench.positive, default=20, help="of each sampler and table (default: 20)")
    parser.add_argument("--samplers", nargs="+", choices=list(CONTENDERS), default=list(CONTENDERS))
    parser.add_argument("--table", type=Path, default=FILE, help="what benchmarks.orders.table wrote")
    parser.add_argument("--json", type=Path, default=bench.FOLDER / "results" / "orders_replay.json")
    return parser.parse_args(arguments)


def replayed(sampler: str, judge: str, repeats: int, table: Path) -> Found:
    """The regret of one sampler over all seeds of the table and of the sampler."""
    landscapes = tables(judge, table)
    count = landscapes[0].count
    orders = len(whole_orders(count))
    runs = [
        search(CONTENDERS[sampler], landscape, seed, orders, 0) for landscape in landscapes for seed in range(repeats)
    ]
    return summed(runs, orders, count, stages_of_all(count))


def stages_of_all(count: int) -> int:
    """How many beginnings all orders of so many auxiliaries have."""
    beginnings = {order[:length] for order in whole_orders(count) for length in range(1, count + 1)}
    return len(beginnings)


def _columns(found: Found) -> dict[str, float]:
    trials = {f"{n} trials": found.by_trials.at(n) for n in (ORDERS // 3, 2 * ORDERS // 3, ORDERS)}
    half = found.by_trials.halves[ORDERS - 1]
    stages = {f"{n} stages": found.by_stages.at(n) for n in found.by_stages.points if n in (16, 32, 48)}
    return {**trials, "95 % ±": half, **stages}


if __name__ == "__main__":
    main()
