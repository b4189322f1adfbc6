"""Private memory of each concurrent trial, in a search and in a process without Ray.

A search of several concurrent trials is started by the command line, and its Ray workers are sampled from outside while
they train. Another process takes the steps of a trial one by one, to attribute the memory; it is repeated with the
imports of a Ray worker. The features are seeded word vectors in a feature store of their own.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks import bench, workload
from benchmarks.memory_steps import Memory, memory_of
from munchray.corpora.catalogue import data_folder, find_corpus, load_split
from munchray.errors import WorkError
from munchray.files import write_json
from munchray.seeds import generator
from munchray.settings import Job, load_job
from munchray.training.inputs import prepare

REAL = ("ncbi-disease", "bc2gm", "jnlpba")
GENERATED = ("sample-disease-1", "sample-disease-2", "sample-gene-1")
SAMPLE_EVERY_S = 0.5  # sampling takes processor time from the sampled
WIDTH = 612
WORKER, IDLE, AGENT = b"ray::", b"ray::IDLE", b"Agent"  # in the titles of Ray's processes


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    options = _parser().parse_args(arguments)
    # While this process has the libraries loaded their pages are shared, as beside another trial.
    import ray.tune  # noqa: F401

    results = bench.Results("memory", "private memory, MB", options.json, arguments)
    with TemporaryDirectory() as temporary:
        folder = Path(temporary).resolve()
        job_file = write_job(folder, options)
        work = write_work(folder, load_job(job_file), options.updates)
        for name, flags in (("without Ray", []), ("with the imports of a Ray worker", ["--ray"])):
            add_steps(results, name, watched_steps([str(work), *flags], folder))
        add_workers(results, watched_search(job_file))
    results.note("shared: pages of the feature store, which all trials have in common; private is without them")
    results.publish()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.memory", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    corpora = REAL if workload.has_real_corpus() else GENERATED
    parser.add_argument("--trials", type=int, default=2, help="at once (default: 2)")
    parser.add_argument("--corpora", nargs="+", default=corpora, help=f"main first (default: {' '.join(corpora)})")
    parser.add_argument("--inputs", type=int, default=WIDTH, help=f"features per token (default: {WIDTH})")
    parser.add_argument("--units", type=int, default=256, help="of the LSTM each way (default: 256)")
    parser.add_argument("--sentences", type=int, default=2000, help="of each split, at most (default: 2,000)")
    parser.add_argument("--updates", type=int, default=150, help="of the processes without a search (default: 150)")
    parser.add_argument("--json", type=Path, default=bench.FOLDER / "results" / "memory.json", help="file of results")
    return parser


# The work


def write_job(folder: Path, options: argparse.Namespace) -> Path:
    """Write a job of concurrent trials with one epoch per stage; the file is JSON, hence YAML."""
    main_corpus, *auxiliaries = options.corpora
    job = {
        "main": main_corpus,
        "auxiliaries": auxiliaries,
        "regime": "stack",
        "search_space": {"learning_rate": [0.1 / number for number in range(1, options.trials + 1)]},
        "embeddings": [f"words:{write_vectors(folder, options.corpora, options.inputs)}"],
        "trials": options.trials,
        "concurrent_trials": options.trials,
        "hidden_size": options.units,
        "max_sentences": {"train": options.sentences, "dev": options.sentences},
        "max_epochs": 1,
        "storage": str(folder),
        "data_dir": str(data_folder(None).absolute()),
    }
    write_json(folder / "memory.yaml", job)
    return folder / "memory.yaml"


def write_vectors(folder: Path, corpora: Sequence[str], width: int) -> Path:
    """Write seeded vectors of all words of the corpora in gensim's format."""
    from gensim.models import KeyedVectors

    sources = [find_corpus(name, None) for name in corpora]
    sentences = (sentence for source in sources for split in ("train", "dev") for sentence in load_split(source, split))
    words = sorted({token.lower() for sentence in sentences for token in sentence.tokens})
    vectors = KeyedVectors(width)
    vectors.add_vectors(words, generator("memory", width).standard_normal((len(words), width), dtype="float32"))
    vectors.save(str(folder / "words.gensim"))
    return folder / "words.gensim"


def write_work(folder: Path, job: Job, updates: int) -> Path:
    """Write the input of `benchmarks.memory_steps` and fill the feature store."""
    path = folder / "work.pickle"
    path.write_bytes(pickle.dumps((prepare(job, lambda _: None), job.first_trial(), updates)))
    return path


# Sampling processes


def watched_steps(arguments: Sequence[str], folder: Path) -> tuple[list[dict[str, Any]], list[Memory]]:
    """Private memory after each step of a process, and samples of it from outside."""
    command = [sys.executable, "-m", "benchmarks.memory_steps", *arguments]
    seen = []
    with subprocess.Popen(command, cwd=bench.FOLDER.parent, stdout=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            with suppress(OSError):
                seen.append(memory_of(process.pid, folder))
            time.sleep(SAMPLE_EVERY_S)
        assert process.stdout is not None
        steps = [json.loads(line) for line in process.stdout]
    if process.returncode:
        raise WorkError("benchmarks.memory_steps failed; see above")
    return steps, seen


@dataclass
class Workers:
    """Memory samples of Ray's workers: of all idle ones, and of each busy one by its process id."""

    idle: list[Memory] = field(default_factory=list)
    working: dict[int, list[Memory]] = field(default_factory=dict)

    def sample(self, search: int, folder: Path) -> None:
        """Sample the workers of a search once."""
        for pid, title in descendants(search).items():
            if title.startswith(WORKER) and AGENT not in title:
                seen = self.idle if title.startswith(IDLE) else self.working.setdefault(pid, [])
                with suppress(OSError):  # it ended meanwhile
                    seen.append(memory_of(pid, folder))

    def trained(self) -> list[list[Memory]]:
        """Samples of each worker that read features, which Ray's internal workers do not."""
        return [seen for seen in self.working.values() if seen and _most_features(seen)]


def watched_search(job_file: Path) -> Workers:
    """Run a search and sample its workers from start to end."""
    folder, workers = job_file.parent, Workers()
    command = [sys.executable, "-m", "munchray", "search", str(job_file), "--quiet"]
    path = os.pathsep.join(filter(None, (str(bench.FOLDER.parent), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": path}
    with (folder / "search.log").open("w+", encoding="utf-8") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
        while process.poll() is None:
            workers.sample(process.pid, folder)
            time.sleep(SAMPLE_EVERY_S)
        log.seek(0)
        if process.returncode:
            raise WorkError(f"the search failed:\n{log.read()}")
    return workers


def descendants(pid: int) -> dict[int, bytes]:
    """The descendants of a process and their command lines."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it ended meanwhile
            parents[int(stat.parent.name)] = int(stat.read_text(errors="replace").rpartition(")")[2].split()[1])
    found = {}
    for each in _below(pid, parents):
        with suppress(OSError):
            found[each] = Path(f"/proc/{each}/cmdline").read_bytes()
    return found


def _below(pid: int, parents: Mapping[int, int]) -> Iterator[int]:
    for child, parent in parents.items():
        if parent == pid:
            yield child
            yield from _below(child, parents)


# The table


def add_steps(results: bench.Results, process: str, watched: tuple[list[dict[str, Any]], list[Memory]]) -> None:
    """Add a row per step with its increase, and one for the highest sample."""
    steps, seen = watched
    before = 0.0
    for step in steps:
        results.add(process=process, step=step["step"], private=step["private"], added=step["private"] - before)
        before = step["private"]
    highest = max(seen, key=lambda memory: memory.private)
    results.add(process=process, step="highest", private=highest.private, shared=_most_features(seen))


def add_workers(results: bench.Results, workers: Workers) -> None:
    """Add rows for the idle workers and for each that trained."""
    if workers.idle:
        idle = statistics.median(memory.private for memory in workers.idle)
        results.add(process="Ray worker", step="idle", private=idle)
    for number, seen in enumerate(workers.trained(), 1):
        private = [memory.private for memory in seen]
        results.add(process=f"Ray worker {number}", step="median", private=statistics.median(private))
        results.add(process=f"Ray worker {number}", step="highest", private=max(private), shared=_most_features(seen))


def _most_features(seen: Sequence[Memory]) -> float:
    return max(memory.features for memory in seen)


if __name__ == "__main__":
    main()
