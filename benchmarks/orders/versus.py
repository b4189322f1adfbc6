"""Compare samplers by real searches of the same job after equally many trained stages.

    python -m benchmarks.orders.versus --work FOLDER [--samplers random order_gp] [--seeds 1]

Each search has its own storage, so that none reuses stages of another, and runs one trial at a time. With one seed
the same order has the same score in every search. Interrupted searches resume.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from benchmarks import bench
from munchray.files import read_json
from munchray.settings import load_job
from munchray.tuning.folder import SESSIONS
from munchray.tuning.ranking import RankedTrial, Ranking, ranking

JOB = Path(__file__).with_name("versus.yaml")


@dataclass(frozen=True)
class Step:
    """State after a trial: trials and stages trained so far, and the best dev F1 in percent."""

    trials: int
    stages: int
    best: float


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the searches, print and write the results."""
    options = _parser().parse_args(arguments)
    report = bench.Results("orders.versus", "best dev F1 after equally many trained stages", options.json, arguments)
    for seed in options.seeds:
        found = {sampler: _searched(options, sampler, seed) for sampler in options.samplers}
        curves = {sampler: list(steps(each.trials)) for sampler, each in found.items()}
        equal = min(curve[-1].stages for curve in curves.values())
        for sampler, each in found.items():
            report.add(
                seed=seed,
                sampler=sampler,
                **{f"after {n} stages": best_by(curves[sampler], n) for n in (equal // 2, equal)},
                **{"at its end": each.best.dev_f1, "trials": len(each.trials)},
                **asdict(each.reuse),
                **{"wall, s": _wall(each)},
            )
    report.publish()


def _parser() -> argparse.ArgumentParser:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m benchmarks.orders.versus", description=__doc__, formatter_class=form)
    parser.add_argument("--work", type=Path, required=True, help="folder of the searches and their stages")
    parser.add_argument("--samplers", nargs="+", default=["random", "order_gp"], help="default: random order_gp")
    parser.add_argument("--seeds", nargs="+", type=bench.positive, default=[1], help="default: 1")
    parser.add_argument("--job", type=Path, default=JOB, help="default: versus.yaml beside this file")
    parser.add_argument("--json", type=Path, default=bench.FOLDER / "results" / "orders_versus.json")
    return parser


def _searched(options: argparse.Namespace, sampler: str, seed: int) -> Ranking:
    storage = options.work.resolve() / f"{sampler}-{seed}"
    overrides = [f"storage={storage}", f"features={options.work.resolve() / 'features'}", f"sampler={sampler}"]
    overrides += [f"seed={seed}", "concurrent_trials=1", f"name={sampler}-{seed}"]
    words = [word for override in overrides for word in ("--set", override)]
    subprocess.run([sys.executable, "-m", "munchray", "search", str(options.job), *words], check=True)
    return ranking(load_job(options.job, overrides))


def steps(trials: Sequence[RankedTrial]) -> Iterator[Step]:
    """The progress of a search that ran one trial at a time."""
    stages, best = 0, 0.0
    for number, trial in enumerate(sorted(trials, key=lambda trial: trial.ended), start=1):
        stages += sum(not stage.reused for stage in trial.stages)
        best = max(best, trial.dev_f1)
        yield Step(number, stages, best)


def best_by(curve: Sequence[Step], stages: int) -> float:
    """The best dev F1 within a budget of stages; NaN before the end of the first trial."""
    return max((step.best for step in curve if step.stages <= stages), default=float("nan"))


def _wall(found: Ranking) -> float:
    """Wall-clock seconds from the first start of the search to the end of its last trial."""
    began = min(read_json(path)["began"] for path in (found.folder / SESSIONS).glob("*.json"))
    ended = max(trial.ended for trial in found.trials)
    return (datetime.fromisoformat(ended).astimezone() - datetime.fromisoformat(began).astimezone()).total_seconds()


if __name__ == "__main__":
    main()
