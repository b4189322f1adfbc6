"""Dev F1 of fast settings against the plain one, over seeds, with paired confidence intervals.

    python -m benchmarks.parity run --work runs/parity    (hours; resumes where it was stopped)
    python -m benchmarks.parity show

Each variant trains the job's main corpus alone and with the job's first auxiliary, for equally many epochs and updates.
A CPU without bfloat16 emulates it: operands and results of the matrix products are rounded to bfloat16,
the products themselves are float32, which is how hardware that has it accumulates them.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import multiprocessing
import statistics
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from scipy import stats
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks import bench
from munchray.errors import WorkError
from munchray.files import read_json, write_json
from munchray.settings import Job, TrialSettings, load_job
from munchray.training.data import DataSpec
from munchray.training.inputs import prepare
from munchray.training.machine import use_threads
from munchray.training.trial import TrialCallbacks, run_trial
from munchray.training.trial_results import read_result

JOB = bench.FOLDER.parent / "jobs" / "ncbi_disease_cpu.yaml"
SAME_FOR_ALL = (
    "regime=single_aux",
    "search_space={batch_size: [32]}",
    "learning_rate=0.1",
    "batch_size=32",
    "anneal=linear",
)
PLAIN = "random"
VARIANTS: dict[str, dict[str, str]] = {
    PLAIN: {"batching": "random", "precision": "float32"},
    "by_length": {"batching": "by_length", "precision": "float32"},
    "bfloat16": {"batching": "random", "precision": "bfloat16"},
}
REGIMES = ("single_task", "single_aux")
RELEVANT_LOSS = 0.3  # F1
CONCURRENT_TRAININGS = 2
SPAWN = multiprocessing.get_context("spawn")  # a forked process would have its parent's thread pools


@dataclass(frozen=True)
class Training:
    """One training of the plan, and the folder of its result."""

    variant: str
    seed: int
    settings: TrialSettings
    folder: Path

    @property
    def finished(self) -> bool:
        """Whether its result exists."""
        return (self.folder / "result.json").exists()

    def row(self) -> dict[str, Any]:
        """Its row in the results."""
        result = read_result(self.folder)
        return {
            "variant": self.variant,
            "regime": self.settings.regime,
            "seed": self.seed,
            "dev_f1": result.dev_f1(self.settings.main),
            "updates": result.updates,
            "seconds": result.seconds,
            "weights_digest": result.weights_digest,
        }


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the missing trainings and write the results, or print the table."""
    options = _parser().parse_args(arguments)
    if options.command == "run":
        _run(options)
    show(read_json(options.json)["rows"])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.parity", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    run, shown = (
        commands.add_parser("run", help="run the missing trainings"),
        commands.add_parser("show", help="the table"),
    )
    for command in (run, shown):
        command.add_argument("--json", type=Path, default=bench.FOLDER / "results" / "parity.json")
    run.add_argument("--work", type=Path, default=Path("runs/parity"), help="keeps finished trainings")
    run.add_argument("--features", type=Path, help="feature store (default: WORK/features)")
    run.add_argument("--job", type=Path, default=JOB, help="names the corpora and the embeddings")
    run.add_argument("--seeds", type=int, default=5, help="1 to this (default: 5)")
    run.add_argument("--epochs", type=int, default=8, help="of each training (default: 8)")
    run.add_argument("--limit", type=int, help="use only the first sentences of each split")
    return parser


def _run(options: argparse.Namespace) -> None:
    console = Console(stderr=True)
    job = _job(options)
    data = prepare(job, console.print)
    plan = list(planned(job, data, options.work.absolute(), options.seeds))
    results = bench.Results("parity", "dev F1 of equal trainings", options.json)
    if not bench.has_bfloat16():
        results.note("bfloat16 was emulated: see `python -m benchmarks.parity --help`")
    _save(results, plan, options.json)
    for number, training in enumerate(_trained(plan, data), 1):
        console.print(f"{number}: {training.folder.name}")
        _save(results, plan, options.json)


def _job(options: argparse.Namespace) -> Job:
    """The job with its first auxiliary alone and all its sentences."""
    limit = options.limit or "null"
    own = (
        f"max_epochs={options.epochs}",
        f"max_sentences={{train: {limit}, dev: {limit}}}",
        f"storage={options.work.absolute()}",
        f"features={(options.features or options.work / 'features').absolute()}",
    )
    job = load_job(options.job, (*SAME_FOR_ALL, *own))
    return job.model_copy(update={"auxiliaries": job.auxiliaries[:1]})


def planned(job: Job, data: DataSpec, work: Path, seeds: int) -> Iterator[Training]:
    """All trainings; those of one seed are consecutive, so that finished ones can be paired."""
    for seed in range(1, seeds + 1):
        for regime in REGIMES:
            for variant, changes in VARIANTS.items():
                alone = {"order": ()} if regime == "single_task" else {}
                settings = job.trial({"seed": seed, "regime": regime, **alone, **changes})
                signature = settings.signature(data.fingerprint())
                yield Training(variant, seed, settings, work / f"{variant}-{regime}-{seed}-{signature}")


def _trained(plan: Sequence[Training], data: DataSpec) -> Iterator[Training]:
    """Run the missing trainings, some concurrently, each in a process of its own."""
    with ThreadPoolExecutor(CONCURRENT_TRAININGS) as pool:
        running = {pool.submit(_in_process, training, data): training for training in plan if not training.finished}
        try:
            for done in as_completed(running):
                done.result()
                yield running[done]
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _in_process(training: Training, data: DataSpec) -> None:
    process = SPAWN.Process(target=_train, args=(training, data))
    process.start()
    process.join()
    if process.exitcode:
        raise WorkError(f"{training.folder.name} failed; see the output of its process")


def _train(training: Training, data: DataSpec) -> None:
    use_threads(1)
    settings = training.settings
    emulated = settings.precision == "bfloat16" and not bench.has_bfloat16()
    with EmulatedBfloat16() if emulated else contextlib.nullcontext():
        callbacks = TrialCallbacks(update_made=_stop_without_parent)
        run_trial(settings, data.open(settings), training.folder, callbacks=callbacks)


def _stop_without_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent and not parent.is_alive():
        sys.exit("the parent process has ended")


class EmulatedBfloat16(TorchDispatchMode):
    """A CPU that multiplies bfloat16 matrices: products are taken in float32 and rounded, forward and backward.

    torch's products on a CPU without bfloat16 are many times slower. The code of munchray runs unchanged on top.
    """

    ASKED = torch.ops.mkldnn._is_mkldnn_bf16_supported
    PRODUCTS = (torch.ops.aten.mm, torch.ops.aten.addmm, torch.ops.aten.bmm, torch.ops.aten.baddbmm)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket == self.ASKED:
            return True
        if func.overloadpacket in self.PRODUCTS and args[0].dtype == torch.bfloat16:
            wide = (arg.float() if isinstance(arg, torch.Tensor) else arg for arg in args)
            return func(*wide, **(kwargs or {})).bfloat16()
        return func(*args, **(kwargs or {}))


def _save(results: bench.Results, plan: Sequence[Training], path: Path) -> None:
    write_json(path, {**results.as_json(), "rows": [training.row() for training in plan if training.finished]})


# Results


@dataclass(frozen=True)
class Difference:
    """Paired differences in F1 to the plain variant; positive is better than plain."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Over the pairs."""
        return statistics.fmean(self.values)

    @property
    def half_width(self) -> float:
        """Of the mean's 95 % t interval; infinite for a single pair."""
        return _half_width(statistics.stdev(self.values), len(self.values)) if len(self.values) > 1 else math.inf

    @property
    def verdict(self) -> str:
        """Whether the interval excludes a relevant loss."""
        if self.mean - self.half_width > -RELEVANT_LOSS:
            return f"no loss of {RELEVANT_LOSS}"
        if self.mean + self.half_width < -RELEVANT_LOSS:
            return f"a loss of more than {RELEVANT_LOSS}"
        return f"undecided; {self.enough_pairs} pairs would decide" if len(self.values) > 1 else "undecided"

    @property
    def enough_pairs(self) -> int:
        """Number of pairs whose interval around 0 would exclude a relevant loss, with the spread of these pairs."""
        spread, pairs = statistics.stdev(self.values), 2
        while _half_width(spread, pairs) >= RELEVANT_LOSS:
            pairs += 1
        return pairs


def _half_width(spread: float, pairs: int) -> float:
    return float(stats.t.ppf(0.975, pairs - 1)) * spread / math.sqrt(pairs)


def show(rows: Sequence[dict[str, Any]]) -> None:
    """Print mean and spread of every variant and its difference to the plain one, each regime and both together."""
    table = Table(title=f"dev F1, and its difference to {PLAIN} batches in float32 by seed")
    for name in ("regime", "variant", "seeds", "updates", "mean", "sd", "difference", "95 % interval", "verdict"):
        table.add_column(name, justify="left" if name in ("regime", "variant", "verdict") else "right")
    for regime in REGIMES:
        for variant in VARIANTS:
            own = [row for row in rows if (row["regime"], row["variant"]) == (regime, variant)]
            if own:
                compared = () if variant == PLAIN else _compared(difference(rows, variant, (regime,)))
                table.add_row(regime, variant, *_spread(own), *compared)
    for variant in VARIANTS:
        if variant != PLAIN:
            table.add_row("both", variant, "", "", "", "", *_compared(difference(rows, variant, REGIMES)))
    Console(width=bench.WIDTH + 20).print(table)


def difference(rows: Sequence[dict[str, Any]], variant: str, regimes: Sequence[str]) -> Difference:
    """Differences of a variant to the plain trainings of the same regime and seed."""
    scores = {(row["variant"], row["regime"], row["seed"]): row["dev_f1"] for row in rows}
    values = (
        score - scores[PLAIN, regime, seed]
        for (name, regime, seed), score in scores.items()
        if name == variant and regime in regimes and (PLAIN, regime, seed) in scores
    )
    return Difference(tuple(values))


def _spread(rows: Sequence[dict[str, Any]]) -> list[str]:
    scores = [row["dev_f1"] for row in rows]
    updates = " or ".join(f"{number:,}" for number in sorted({row["updates"] for row in rows}))
    sd = f"{statistics.stdev(scores):.2f}" if len(scores) > 1 else ""
    return [str(len(scores)), updates, f"{statistics.fmean(scores):.2f}", sd]


def _compared(found: Difference) -> list[str]:
    if not found.values:
        return []
    low, high = found.mean - found.half_width, found.mean + found.half_width
    return [f"{found.mean:+.2f}", f"{low:+.2f} to {high:+.2f}", found.verdict]


if __name__ == "__main__":
    main()
