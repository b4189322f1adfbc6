"""Train every order of four auxiliaries on real corpora and collect the scores, for `replay` and `questions`.

    python -m benchmarks.orders.table train --work FOLDER [--seeds 1 2 3]    hours; resumes
    python -m benchmarks.orders.table collect --work FOLDER                  writes the JSON file

`train` runs a `munchray search` of `real.yaml` with the grid sampler for each seed: all 24 orders, whose prefixes are
64 stages, each trained once. `collect` reads the score of every stage and fails where a search is not finished.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from itertools import permutations
from pathlib import Path
from typing import Any

from benchmarks import bench
from munchray.errors import WorkError
from munchray.files import read_json, write_json
from munchray.orders import order_text
from munchray.settings import load_job
from munchray.training.trial_results import read_result
from munchray.tuning.folder import trial_folder
from munchray.tuning.ranking import ranking

JOB = Path(__file__).with_name("real.yaml")
FILE = bench.FOLDER / "results" / "orders_table.json"
JUDGES = ("seen", "others")


def main(arguments: Sequence[str] | None = None) -> None:
    """Train or collect."""
    options = _parser().parse_args(arguments)
    if options.what == "train":
        for seed in options.seeds:
            words = [word for override in _overrides(options.work, seed) for word in ("--set", override)]
            subprocess.run([sys.executable, "-m", "munchray", "search", str(options.job), *words], check=True)
    scores = {seed: scores_of(options.job, options.work, seed) for seed in options.seeds}
    write_json(options.json, _described(options, scores))
    print(f"{sum(map(len, scores.values()))} stages of {len(scores)} seeds are in {options.json}")


def _parser() -> argparse.ArgumentParser:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m benchmarks.orders.table", description=__doc__, formatter_class=form)
    parser.add_argument("what", choices=["train", "collect"])
    parser.add_argument("--work", type=Path, required=True, help="folder of the searches and their stages")
    parser.add_argument("--seeds", nargs="+", type=bench.positive, default=[1, 2, 3], help="default: 1 2 3")
    parser.add_argument("--job", type=Path, default=JOB, help="default: real.yaml beside this file")
    parser.add_argument("--json", type=Path, default=FILE, help="the file that is written")
    return parser


def _overrides(work: Path, seed: int) -> list[str]:
    return [f"storage={work.resolve() / 'runs'}", f"seed={seed}", f"name=seed{seed}"]


def scores_of(job_file: Path, work: Path, seed: int) -> dict[str, float]:
    """Dev F1 in percent of every prefix of every order, by its text.

    Raises:
        WorkError: not all orders are finished.
    """
    job = load_job(job_file, _overrides(work, seed))
    found = ranking(job)
    if len(found.trials) < job.trials:
        raise WorkError(f"{found.folder}: {len(found.trials)} of {job.trials} orders are finished; `train` resumes")
    results = (read_result(trial_folder(found.folder, trial.number)) for trial in found.trials)
    return {order_text(stage.auxiliaries): stage.dev_f1 for result in results for stage in result.stages}


def _described(options: argparse.Namespace, scores: Mapping[int, Mapping[str, float]]) -> dict[str, object]:
    job = load_job(options.job, _overrides(options.work, options.seeds[0]))
    seeds = " ".join(map(str, options.seeds))
    return {
        "command": f"python -m benchmarks.orders.table train --work FOLDER --seeds {seeds}",
        "main": job.main,
        "auxiliaries": list(job.auxiliaries),
        "settings": job.first_trial().model_dump(mode="json", exclude={"auxiliaries", "seed"}),
        "max_sentences": job.max_sentences.model_dump(),
        "machine": bench.machine(),
        "scores": {str(seed): dict(sorted(of.items())) for seed, of in scores.items()},
    }


class ScoreTable:
    """The collected scores as the objective of a search that observes one training seed.

    Args:
        judge: what an order's value is: ``seen``: its score by this seed; ``others``: its mean over the other seeds,
            which is free of the luck that made a search choose it.
    """

    def __init__(self, collected: Mapping[str, Any], seed: str, judge: str) -> None:
        self.auxiliaries: tuple[str, ...] = tuple(collected["auxiliaries"])
        self.count = len(self.auxiliaries)
        self._scores = collected["scores"]
        self._seed = seed
        self._judges = [seed] if judge == "seen" else [each for each in self._scores if each != seed]
        self.best = max(map(self.value, whole_orders(self.count)))

    def score(self, order: Sequence[int]) -> float:
        """The score that the search observes."""
        return float(self._scores[self._seed][self._text(order)])

    def value(self, order: Sequence[int]) -> float:
        """The value of the order by the judge."""
        return statistics.fmean(self._scores[seed][self._text(order)] for seed in self._judges)

    def _text(self, order: Sequence[int]) -> str:
        return order_text([self.auxiliaries[item] for item in order])


def whole_orders(count: int) -> list[tuple[int, ...]]:
    """All orders of all auxiliaries, by their indices in the job."""
    return list(permutations(range(count)))


def tables(judge: str, path: Path = FILE) -> list[ScoreTable]:
    """One table per seed."""
    collected = read_json(path)
    return [ScoreTable(collected, seed, judge) for seed in collected["scores"]]


if __name__ == "__main__":
    main()
