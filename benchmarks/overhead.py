"""The overhead of a search: trials that do not train, through our search and through Ray Tune alone.

A trial evaluates a formula and reports once. Ours is suggested by one of our samplers, recorded in the study and in
MLflow, and has a folder, as a training does; Tune's random searcher records nothing. Each side runs in a process of its
own with a Ray of its own, one after the other, and is timed from the start of the search (Ray is running) to its end.
`--first-step` measures instead how long a real search takes from the command to the first update, with its features on
the disk.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks import bench
from munchray.progress.terminal import Warnings
from munchray.settings import load_job
from munchray.settings.training import TrialSettings
from munchray.tagging.scoring import SpanCounts
from munchray.training.events import TrialAssignment
from munchray.training.trial_results import EpochMetrics, StageResult, TrialResult, read_epochs, write_result

CONCURRENT = 2
SIDES = ("Tune alone", "Tune alone, processes reused", "munchray random", "munchray tpe", "munchray order_gp")
ORDERS = """
main: sample-disease-1
auxiliaries: [sample-disease-2, sample-gene-1, sample-gene-2, sample-species-1, sample-species-2]
regime: stack
search_space:
  learning_rate: {low: 0.001, high: 1.0, log: true}
  order: {of: auxiliaries}
embeddings: [{train: {characters: forward}}]
"""
REAL = """
main: sample-disease-1
regime: single_task
search_space: {learning_rate: [0.1]}
sampler: random
trials: 1
max_epochs: 1
embeddings: [{train: {characters: forward, hidden_size: 32, epochs: 1}}]
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    options = _parser().parse_args(arguments)
    if options.side:
        print(json.dumps(SEARCHES[options.side](options.trials, Path(options.folder))))
        return
    title = "from command to first update, s" if options.first_step else f"{options.trials} trials that do nothing"
    results = bench.Results("overhead", title, options.json, arguments)
    (first_step if options.first_step else compare)(results, options)
    results.publish()


def _parser() -> argparse.ArgumentParser:
    parser = bench.parser("overhead", __doc__)
    parser.set_defaults(rounds=1)
    parser.add_argument("--trials", type=bench.positive, default=1000, help="of each side (default: 1,000)")
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=SIDES, help="default: all")
    parser.add_argument("--first-step", action="store_true", help="a real search, up to its first update")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    return parser


# Trials that do not train


def compare(results: bench.Results, options: argparse.Namespace) -> None:
    """Add a row per side: seconds in total and to the first trial, and driver CPU time per trial."""
    with TemporaryDirectory() as temporary:
        runs = [
            {side: _in_subprocess(side, options.trials, Path(temporary, f"{number}-{side}")) for side in options.sides}
            for number in range(options.rounds)
        ]
    against = options.sides[0]
    for side in options.sides:
        seconds = {name: bench.Measured(tuple(run[name]["seconds"] for run in runs)) for name in (side, against)}
        drivers = bench.Measured(tuple(1000 * run[side]["driver"] / options.trials for run in runs))
        started = bench.Measured(tuple(run[side]["first"] for run in runs))
        results.add(
            side=side,
            **{"s": seconds[side], f"ratio to {against}": seconds[side].over(seconds[against])},
            **{"s to first trial": started, "driver CPU, ms a trial": drivers},
        )


def _in_subprocess(side: str, trials: int, folder: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.overhead", "--side", side, "--trials", str(trials)]
    command += ["--folder", str(folder)]
    done = subprocess.run(command, cwd=bench.FOLDER.parent, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def value_of(learning_rate: float) -> float:
    """A score in percent, best at 0.1."""
    return 80.0 - 10.0 * math.log10(learning_rate / 0.1) ** 2


def alone(trials: int, folder: Path, *, reuse: bool) -> dict[str, float]:
    """Ray Tune with its random searcher and without tracking."""
    from ray import tune

    from munchray.cluster import nodes

    def trial(config: Mapping[str, float]) -> None:
        tune.report({"dev_f1": value_of(config["learning_rate"])})

    nodes.connect(None)
    search = tune.Tuner(
        tune.with_resources(trial, {"cpu": 1}),
        param_space={"learning_rate": tune.loguniform(0.001, 1.0)},
        tune_config=tune.TuneConfig(num_samples=trials, max_concurrent_trials=CONCURRENT, reuse_actors=reuse),
        run_config=tune.RunConfig(storage_path=str(folder), verbose=0),
    )
    clock = Clock()
    grid = search.fit()
    times = clock.read()
    began = min(result.metrics["timestamp"] for result in grid)
    return {**times, "first": max(0.0, began - clock.began)}


def ours(trials: int, folder: Path, *, sampler: str) -> dict[str, float]:
    """The product's own search with a formula in the place of a training."""
    from benchmarks.by_hand import opened
    from munchray.cluster import nodes
    from munchray.tuning import tuner

    folder.mkdir(parents=True)
    (folder / "job.yaml").write_text(ORDERS, encoding="utf-8")
    settings = [
        f"trials={trials}",
        f"storage={folder}",
        f"sampler={sampler}",
        f"concurrent_trials={CONCURRENT}",
        "name=formula",
    ]
    job = load_job(folder / "job.yaml", settings)
    nodes.connect(None)
    clock = Clock()
    first = FirstTrial()
    with opened(job, "formula", first) as search:
        tuner.run_with(search.search, search.listeners, formula)
    return {**clock.read(), "first": first.at - clock.began}


def formula(config: Mapping[str, Any]) -> None:
    """A trial without training that writes the files of a trial."""
    from ray import tune

    settings, folder = TrialSettings(**config["settings"]), Path(config["folder"])
    value = value_of(settings.learning_rate)
    right = round(10 * value)
    counts = SpanCounts(tp=right, fp=1000 - right, fn=1000 - right)
    stages = [
        StageResult(settings.auxiliaries[:length], counts.f1 - 3.0 * (len(settings.auxiliaries) - length), 10 * length)
        for length in range(1, len(settings.auxiliaries) + 1)
    ]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "settings.json").write_text(settings.model_dump_json(), encoding="utf-8")
    write_result(folder, TrialResult({settings.main: counts}, [], stages, stages[-1].updates, 0.0, "formula"))
    reported = dict.fromkeys(EpochMetrics.__dataclass_fields__, 0.0)
    tune.report({**reported, "stage_name": "", "epoch": 1, "updates": 1, "dev_f1": value})
    tune.report({"finished": True})


SEARCHES: Mapping[str, Callable[[int, Path], dict[str, float]]] = {
    "Tune alone": partial(alone, reuse=False),
    "Tune alone, processes reused": partial(alone, reuse=True),
    **{f"munchray {name}": partial(ours, sampler=name) for name in ("random", "tpe", "order_gp")},
}


class Clock:
    """Wall-clock and processor seconds since its creation."""

    def __init__(self) -> None:
        self.began = time.time()
        self._processor = time.process_time()

    def read(self) -> dict[str, float]:
        """``seconds`` and ``driver``."""
        return {"seconds": time.time() - self.began, "driver": time.process_time() - self._processor}


class FirstTrial(Warnings):
    """Remembers when the first trial reported."""

    at = 0.0

    def epoch_ended(self, trial: TrialAssignment, report: EpochMetrics) -> None:
        """The first one counts."""
        self.at = self.at or time.time()

    def trial_failed(self, trial: TrialAssignment, reason: str, details: str = "") -> None:
        """A formula has no reason to fail."""
        raise AssertionError(reason)


# The first update


def first_step(results: bench.Results, options: argparse.Namespace) -> None:
    """Seconds from the command to the first update of the first trial; a first search computes the features."""
    with TemporaryDirectory() as temporary:
        file = Path(temporary, "real.yaml")
        file.write_text(REAL, encoding="utf-8")
        seconds = [_first_update(file, f"round{number}") for number in range(options.rounds + 1)]
    results.add(features="computed", s=bench.Measured((seconds[0],)))
    results.add(features="on the disk", s=bench.Measured(tuple(seconds[1:])))


def _first_update(file: Path, name: str) -> float:
    """Run a search of one trial and one epoch.

    The epoch is logged after it has been trained and scored; its training time is subtracted, its scoring time is not.
    """
    settings = [f"storage={file.parent / 'runs'}", f"name={name}", "stages_gb=0"]
    words = [word for setting in settings for word in ("--set", setting)]
    began = time.time()
    command = [sys.executable, "-m", "munchray", "search", str(file), "--quiet", *words]
    subprocess.run(command, check=True, cwd=file.parent, stdout=subprocess.DEVNULL)
    trial = file.parent / "runs" / name / "trials" / "0000"
    (epoch,) = read_epochs(trial)
    return (trial / "epochs.jsonl").stat().st_mtime - epoch.seconds - began


if __name__ == "__main__":
    main()
