"""Trials per hour of a real search on a Ray cluster of one and of two worker nodes, one core each.

Both clusters are on this machine, so two processes that only train bound the ratio; they are measured in the same run.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import bench, threads, workload
from munchray.settings import load_job
from munchray.tuning.ranking import ranking

JOB = """
name: workers
main: sample-disease-1
regime: single_task
search_space: {learning_rate: {low: 0.05, high: 0.2}}
sampler: random
trials: TRIALS
embeddings: [{train: {subwords: 100}}]
hidden_size: 256
batch_size: 32
max_epochs: EPOCHS
anneal: linear
storage: STORAGE
features: FEATURES
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    parser = bench.parser("workers", __doc__)
    parser.set_defaults(rounds=2)
    parser.add_argument("--trials", type=bench.positive, default=7, help="of each search (default: 7)")
    parser.add_argument("--epochs", type=bench.positive, default=30, help="of each trial (default: 30)")
    options = parser.parse_args(arguments)
    results = bench.Results("workers", "a search on two worker nodes against one", options.json, arguments)
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        contenders = {
            f"{count} worker nodes": lambda count=count: trials_per_hour(folder, count, options.trials, options.epochs)
            for count in (1, 2)
        }
        measured = bench.interleaved(contenders, options.rounds, "searches")
        results.compare({}, measured, "trials/h", "1 worker nodes")
        work = threads.Work(folder, sentences=400, inputs=104, batch=32, units=256)
        alone = threads.measure(work, options.rounds)
    one, two = alone["1 trial, 1 thread"], alone["2 trials, 1 thread each"]
    results.note(f"Two processes that only train, against one: {two.over(one)} times the tokens/s.")
    results.note(workload.described(workload.sentences("train", work.sentences), "train"))
    results.publish()


def trials_per_hour(folder: Path, workers: int, trials: int, epochs: int) -> float:
    """Trials per hour of a search on a cluster of its own, counted from when every worker has ended a trial."""
    from ray.cluster_utils import Cluster

    with TemporaryDirectory(dir=folder) as storage:
        values = {"TRIALS": trials, "EPOCHS": epochs, "STORAGE": storage, "FEATURES": folder / "features"}
        text = JOB
        for name, value in values.items():
            text = text.replace(name, str(value))
        job_file = Path(storage) / "workers.yaml"
        job_file.write_text(text, encoding="utf-8")
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        try:
            for _ in range(workers):
                cluster.add_node(num_cpus=1)
            command = [
                sys.executable,
                "-m",
                "munchray",
                "search",
                str(job_file),
                "--address",
                cluster.address,
                "--quiet",
            ]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        finally:
            cluster.shutdown()
        ends = sorted(datetime.fromisoformat(trial.ended) for trial in ranking(load_job(job_file)).trials)
    counted = ends[workers - 1 :]
    return 3600 * (len(counted) - 1) / (counted[-1] - counted[0]).total_seconds()


if __name__ == "__main__":
    main()
