"""Private memory of processes from Linux's smaps, and of a training process step by step.

`benchmarks.memory` runs this file as `python -m benchmarks.memory_steps WORK [--ray]`; it prints a line of JSON per
step. No large library is imported before the memory of the bare interpreter has been read.
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
MAPPING = re.compile(r"^[0-9a-f]+-[0-9a-f]+ \S+ \S+ \S+ \S+ *(.*)$")  # the first line of a mapping in smaps
PRIVATE = ("Private_Clean", "Private_Dirty", "Swap")


@dataclass(frozen=True)
class Memory:
    """Memory of a process, in MB of 2**20 bytes.

    Args:
        private: pages of this process alone, those in swap included, without those of the feature store.
        features: pages of the feature store, which all processes of a machine share.
    """

    private: float
    features: float


def memory_of(pid: int | str, store: Path) -> Memory:
    """Read the memory of a running process.

    Args:
        pid: its id, or ``self``.
        store: the folder of the feature store, or one above it.

    Raises:
        OSError: it has ended, or belongs to another user.
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
    """Take the steps of a trial one by one, and print the private memory after each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "work", type=Path, help="pickled DataSpec, TrialSettings and number of updates; beside the store"
    )
    parser.add_argument("--ray", action="store_true", help="import what a Ray worker imports")
    options = parser.parse_args()
    for step in chain(["interpreter"], imported(options.ray), trained(options.work)):
        print(json.dumps({"step": step, "private": memory_of("self", options.work.parent).private}), flush=True)


def imported(with_ray: bool) -> Iterator[str]:
    """Import the libraries and munchray step by step."""
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
    """Load the data and train some updates of the trial's last stage."""
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
    loop.train_epoch(tagger, batches, data.train, settings, settings.learning_rate, ("memory",))
    yield "after training"
    loop.score(tagger, data.dev[settings.main], settings.main)
    yield "after scoring"


if __name__ == "__main__":
    main()
