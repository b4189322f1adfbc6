"""Private memory of processes as Linux tells it, and of a training process step by step.

`benchmarks.memory` runs this file as `python -m benchmarks.memory_steps WORK [--ray]`; a line of JSON a step. Nothing
large is imported before a bare interpreter has been looked at.
"""

from __future__ import annotations

import argparse
import json
import pickle
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

PAGES = Path("/proc")
MAPPING = re.compile(r"^[0-9a-f]+-[0-9a-f]+ \S+ \S+ \S+ \S+ *(.*)$")  # the line of smaps that begins a mapping
PRIVATE = ("Private_Clean", "Private_Dirty", "Swap")


@dataclass(frozen=True)
class Memory:
    """What a process occupies, in MB of 2**20 bytes.

    Args:
        private: pages that no other process has, those in swap too, without those of the feature store.
        features: pages of the feature store, which all processes of a machine share.
    """

    private: float
    features: float


def memory_of(pid: int | str, store: Path) -> Memory:
    """Of a running process.

    Args:
        pid: its number, or ``self``.
        store: the folder of the feature store, or one above it.

    Raises:
        OSError: it is gone, or somebody else's.
    """
    private = features = 0
    mapped = ""
    for line in (PAGES / str(pid) / "smaps").read_text(encoding="utf-8", errors="replace").splitlines():
        if begins := MAPPING.match(line):
            mapped = begins[1]
            continue
        name, _, value = line.partition(":")
        if mapped.startswith(f"{store}/"):
            features += int(value.split()[0]) if name == "Rss" else 0
        elif name in PRIVATE:
            private += int(value.split()[0])
    return Memory(private / 1024, features / 1024)


def main() -> None:
    """Take the steps of a trial one by one, and print what the process has after each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "work", type=Path, help="pickled DataSpec, TrialSettings and number of updates; beside the store"
    )
    parser.add_argument("--ray", action="store_true", help="import what a Ray worker imports")
    options = parser.parse_args()
    for step in chain(["interpreter"], imported(options.ray), trained(options.work)):
        print(json.dumps({"step": step, "private": memory_of("self", options.work.parent).private}), flush=True)


def imported(with_ray: bool) -> Iterator[str]:
    """Libraries and our code."""
    if with_ray:
        import ray.tune  # noqa: F401

        yield "Ray Tune"
    import torch

    torch.set_num_threads(1)
    yield "torch"
    if with_ray:
        import munchray.tuning.worker
    import munchray.training.trial  # noqa: F401

    yield "our code"


def trained(work: Path) -> Iterator[str]:
    """The data, and some updates of the trial's last stage."""
    from munchray.training import curriculum, loop, trial

    spec, settings, updates = pickle.loads(work.read_bytes())  # noqa: S301 - benchmarks.memory wrote it
    data = spec.open(settings)
    yield "corpora and tags"
    tagger = trial.new_tagger(settings, data)
    yield "tagger"
    lengths = {name: split.lengths.tolist() for name, split in data.train.items()}
    source = curriculum.BatchSource(lengths, settings.batch_size, settings.batching, settings.seed)
    stage = curriculum.stages(settings.regime, settings.main, settings.auxiliaries, source)[-1]
    batches = islice(next(stage.epochs()), updates)
    loop.train_epoch(tagger, batches, data.train, settings, settings.learning_rate, ("memory",), lambda: None)
    yield "after training"
    loop.score(tagger, data.dev[settings.main], settings.main)
    yield "after scoring"


if __name__ == "__main__":
    main()
