"""The trainings of a protocol: what comes next, where each lies, what it came to. Knows no Ray.

    trainings/SIGNATURE/   a folder like a trial's, named by settings and data; test.json where test was scored
    tune/                  Ray Tune's own files
    data.json              fingerprints of what is trained on
    search.lease           the process that runs them

A folder that is finished is never trained again, whoever asks for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol

from munchray.errors import InputError, Problem
from munchray.files import read_json, write_json
from munchray.seeds import seed_of
from munchray.settings import Job, TrialSettings
from munchray.tagging.scoring import SpanCounts, macro_f1, total
from munchray.training.data import DataSpec
from munchray.training.final_evaluation import read_test, scored_on
from munchray.training.trial_results import EpochReport, read_result
from munchray.tuning.lock import FolderLock
from munchray.tuning.search import TrialAssignment, Watcher

SEEDS = 2**32
DATA = "data.json"


@dataclass(frozen=True)
class Training:
    """One training: its settings with their seed, on the data of which job, and what it is scored on then."""

    job: str
    settings: TrialSettings
    tests: tuple[str, ...] = ()


class Scores(Protocol):
    """What a plan may see of its trainings: dev. Nothing that chooses is shown test."""

    def dev_score(self, training: Training) -> float | None:
        """Dev F1 in percent, for multi_task the mean over its corpora; None while it is not known."""


Plan = Callable[[Scores], Iterator[Training]]
"""Every training that can be named with what is known, in the order in which to train them; as many in the end whatever
the scores."""


def fresh_seeds(seed: int, count: int) -> tuple[int, ...]:
    """Seeds that differ from ``seed`` and from each other; the first ones stay when more are asked for."""
    seeds: list[int] = []
    storage = 0
    while len(seeds) < count:
        fresh = seed_of("fresh", seed, storage) % SEEDS
        seeds += [fresh] if fresh != seed and fresh not in seeds else []
        storage += 1
    return tuple(seeds)


class ResultStore:
    """Finished trainings by settings and data.

    Args:
        folder: of the protocol.
        fingerprints: of the data of each job.
    """

    def __init__(self, folder: Path, fingerprints: Mapping[str, str]) -> None:
        self.folder = folder
        self.failures: dict[Training, str] = {}
        self._fingerprints = fingerprints
        self._scores: dict[Training, float] = {}
        self._done: set[Training] = set()
        self.folder_of = cache(self._folder_of)

    def finished(self, training: Training) -> bool:
        """Whether it is trained and, where it is to be, scored on test."""
        if training not in self._done:
            folder = self.folder_of(training)
            if (folder / "result.json").exists() and set(training.tests) <= scored_on(folder):
                self._done.add(training)
        return training in self._done

    def dev_score(self, training: Training) -> float | None:
        """As `Scores` says; a training that failed is worse than any."""
        if training in self.failures:
            return -math.inf
        if training not in self._scores and self.finished(training):
            dev = read_result(self.folder_of(training)).dev
            self._scores[training] = macro_f1(list(dev.values()))
        return self._scores.get(training)

    def updates(self, training: Training) -> int:
        """How many a finished training made, in all its stages."""
        return read_result(self.folder_of(training)).updates

    def test_counts(self, training: Training, corpus: str) -> list[SpanCounts]:
        """SpanCounts of every test sentence of a corpus."""
        return read_test(self.folder_of(training)).sentences[corpus]

    def test_f1(self, training: Training, corpus: str) -> float:
        """Percent."""
        return total(self.test_counts(training, corpus)).f1

    def _folder_of(self, training: Training) -> Path:
        signature = training.settings.signature(self._fingerprints[training.job])
        return self.folder / "trainings" / signature


class SimulatedScores:
    """Scores for a plan that is only looked at: those that are known, any others made up."""

    def __init__(self, known: Scores | None = None) -> None:
        self._known = known

    def dev_score(self, training: Training) -> float | None:
        """Never None."""
        score = self._known.dev_score(training) if self._known else None
        return seed_of(training.settings.signature()) % 10_000 / 100 if score is None else score


class Trainings:
    """A plan being carried out; hands out one training after another, as a search does its trials.

    Args:
        job: for resources, device and stage store.
        plan: what to train.
        store: where it goes.
        watcher: told of everything.
        on_end: called when a training has ended, well or not.
    """

    def __init__(
        self, job: Job, plan: Plan, store: ResultStore, watcher: Watcher, on_end: Callable[[], None] = lambda: None
    ) -> None:
        self.job = job
        self.folder = store.folder
        self._plan, self._shelf, self._watcher, self._on_end = plan, store, watcher, on_end
        self._running: dict[int, Training] = {}
        self._handed_out: set[Training] = set()
        self._storage = job.storage_path.within(self.folder)
        self._lock = FolderLock(self._storage)

    def start(self, data: Mapping[str, DataSpec]) -> None:
        """Lease the folder.

        Raises:
            InputError: another process works there; the data differs from what was trained on or scored before.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock.acquire()
        trained_on = {name: spec.fingerprint() for name, spec in data.items()}
        tests = {f"test of {name}": fingerprint for spec in data.values() for name, fingerprint in spec.tests.items()}
        remember_data(self.folder, {**trained_on, **tests})
        self._storage.upload(DATA)

    @property
    def trials_left(self) -> int:
        """Those of the plan that are not finished, twice where two parts of it may turn out to be the same."""
        return sum(not self._shelf.finished(training) for training in self._plan(SimulatedScores(self._shelf)))

    @property
    def more_later(self) -> bool:
        """While something runs, its score may decide what comes next."""
        return bool(self._running)

    def next_assignment(self) -> TrialAssignment | None:
        """The first training of the plan that is neither finished nor running."""
        self._lock.check()
        for training in self._plan(self._shelf):
            if training not in self._handed_out and not self._shelf.finished(training):
                number = len(self._handed_out)
                self._handed_out.add(training)
                self._running[number] = training
                self._watcher.trial_started(number, training.settings)
                return TrialAssignment(number, training.job, training.settings, self._shelf.folder_of(training))
        return None

    def epoch_ended(self, number: int, report: EpochReport) -> None:
        """Pass it on."""
        self._watcher.epoch_ended(number, report)

    def trial_finished(self, number: int) -> None:
        """Pass its dev score on; there is none where it trained on dev, and test is nobody's business yet."""
        training = self._running.pop(number)
        on_dev = training.settings.trained_on == "train"
        score = self._shelf.dev_score(training) if on_dev else None
        self._watcher.trial_finished(number, math.nan if score is None else score)
        self._on_end()

    def trial_failed(self, number: int, reason: str, details: str = "") -> None:
        """Remember why; Tune keeps the rest of what its process said."""
        self._shelf.failures[self._running.pop(number)] = reason
        self._watcher.trial_failed(number, reason)
        self._on_end()

    def trial_retried(self, number: int, reason: str) -> None:
        """A training died and goes on."""
        self._watcher.warn(f"trial {number:04d}: {reason}")

    def close(self) -> bool:
        """Let others in; whether every training has ended."""
        self._lock.release()
        return not self._running and all(
            self._shelf.finished(training) or training in self._shelf.failures for training in self._plan(self._shelf)
        )


def all_trained(plan: Plan, folder: Path, jobs: Iterable[str]) -> bool:
    """Whether a plan has nothing left to train, going by the data that was noted."""
    known = known_data(folder)
    if not set(jobs) <= known.keys():
        return False
    store = ResultStore(folder, known)
    return all(store.finished(training) for training in plan(store))


def remember_data(folder: Path, fingerprints: Mapping[str, str]) -> None:
    """Note what is trained on, beside what other commands noted there.

    Raises:
        InputError: it differs from what was trained on before, so old and new trainings would not compare.
    """
    known = known_data(folder)
    changed = [name for name, fingerprint in fingerprints.items() if known.get(name, fingerprint) != fingerprint]
    if changed:
        found = f"text, tags or embeddings changed since these trainings began: {', '.join(changed)}"
        fix = "Restore them, or give the job another name (--set name=...)"
        raise InputError(Problem(str(folder), found, fix=fix))
    write_json(folder / DATA, {**known, **fingerprints})


def known_data(folder: Path) -> dict[str, str]:
    """The fingerprints that were noted in a folder; none before its first training."""
    path = folder / DATA
    return dict(read_json(path)) if path.exists() else {}
