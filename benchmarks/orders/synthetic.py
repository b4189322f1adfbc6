"""Regret of every sampler on synthetic landscapes, by trials and by trained stages.

    python -m benchmarks.orders.synthetic [--repeats 20] [--budget 40] [--jobs 2]

Regret is the true value of the best order minus that of the order with the best score so far, in standard deviations
of the landscape over all orders. The search space is the orders of all auxiliaries, without other parameters. A stage,
that is a prefix of an order, is trained once and then reused, for every sampler alike. `misleading` is a mixture whose
prefixes take their scores from an unrelated landscape: the stages that order_gp learns from say nothing there.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import optuna
from rich.console import Console
from rich.progress import track

from benchmarks import bench
from benchmarks.orders.contenders import CONTENDERS, Step, search
from benchmarks.orders.landscapes import FAMILIES, Landscape, NoisyLandscape
from benchmarks.orders.regret import RegretCurves, summarize
from munchray.files import write_json

MISLEADING = "misleading"
COUNTS, NOISES = (5, 7, 10), (0.0, 0.5)


@dataclass(frozen=True)
class Case:
    """A sampler on a kind of landscape."""

    family: str
    auxiliaries: int
    noise: float
    sampler: str


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the searches, print the table and write the curves, which `benchmarks.orders.plot` draws."""
    options = _options(arguments)
    found = {
        case: summarize(runs, options.budget, case.auxiliaries, case.auxiliaries * options.budget // 2)
        for case, runs in _searched(options)
    }
    report = bench.Results(
        "orders.synthetic", "regret in standard deviations of the landscape", options.json, arguments
    )
    for case, each in found.items():
        report.add(**asdict(case), **_columns(case, each, options.budget))
    for sentence in _misses(found, options.budget):
        report.note(sentence)
    report.publish()
    curves = [{**asdict(case), **asdict(each)} for case, each in found.items()]
    write_json(options.json, {**report.as_json(), "repeats": options.repeats, "curves": curves})


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m benchmarks.orders.synthetic", description=__doc__, formatter_class=form)
    parser.add_argument("--repeats", type=bench.positive, default=20, help="landscapes of each kind (default: 20)")
    parser.add_argument("--budget", type=bench.positive, default=40, help="trials of each search (default: 40)")
    parser.add_argument("--jobs", type=bench.positive, default=1, help="processes (default: 1)")
    parser.add_argument("--families", nargs="+", choices=[*FAMILIES, MISLEADING], default=[*FAMILIES, MISLEADING])
    parser.add_argument("--auxiliaries", nargs="+", type=bench.positive, default=COUNTS)
    parser.add_argument("--noise", nargs="+", type=float, default=NOISES)
    parser.add_argument("--samplers", nargs="+", choices=list(CONTENDERS), default=list(CONTENDERS))
    parser.add_argument("--json", type=Path, default=bench.FOLDER / "results" / "orders_synthetic.json")
    return parser.parse_args(arguments)


def _searched(options: argparse.Namespace) -> Iterator[tuple[Case, list[list[Step]]]]:
    """Every case with the steps of its repeats."""
    cases = [
        Case(family, count, noise, sampler)
        for family in options.families
        for count in options.auxiliaries
        for noise in options.noise
        for sampler in options.samplers
    ]
    work = [(case, repeat, options.budget) for case in cases for repeat in range(options.repeats)]
    with ProcessPoolExecutor(options.jobs) as pool:
        results = pool.map(_search, work, chunksize=options.repeats)
        steps = list(track(results, "searches", total=len(work), console=Console(stderr=True), transient=True))
    for index, case in enumerate(cases):
        yield case, steps[index * options.repeats : (index + 1) * options.repeats]


def _search(work: tuple[Case, int, int]) -> list[Step]:
    case, repeat, budget = work
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    misleading = case.family == MISLEADING
    landscape = Landscape("mixture" if misleading else case.family, case.auxiliaries, repeat, misleading)
    objective = NoisyLandscape(landscape, case.noise, repeat)
    return search(CONTENDERS[case.sampler], objective, repeat, budget, case.auxiliaries * budget // 2)


def _columns(case: Case, found: RegretCurves, budget: int) -> dict[str, float]:
    """The table's columns: regret after fractions of the trials, and after the stages of as many whole orders."""
    trials = {f"{n} trials": found.by_trials.at(n) for n in (budget // 4, budget // 2, budget)}
    stages = {f"{n} orders' stages": found.by_stages.at(n * case.auxiliaries) for n in (budget // 4, budget // 2)}
    return {**trials, "95 % ±": found.by_trials.halves[-1], "stages": found.stages, **stages}


def _misses(found: Mapping[Case, RegretCurves], budget: int) -> Iterator[str]:
    """Cases where order_gp misses its target: at most half the regret of random, and no more than TPE's."""
    for case, each in found.items():
        if case.sampler != "order_gp":
            continue
        label = f"{case.family}, {case.auxiliaries} auxiliaries, noise {case.noise:g}"
        mine = each.by_trials.at(budget)
        for other, share in (("random", 0.5), ("tpe", 1.0)):
            rival = found.get(Case(case.family, case.auxiliaries, case.noise, other))
            if rival and mine > share * rival.by_trials.at(budget):
                yield f"Missed: {label}: order_gp {mine:.2f}, {other} {rival.by_trials.at(budget):.2f}"


if __name__ == "__main__":
    main()
