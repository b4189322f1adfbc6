"""A plan of trainings being carried out: what comes next, where each lies, what it came to. Knows no Ray.

    trainings/SIGNATURE/   a folder like a trial's, named by settings and data; test.json where test was scored
    tune/                  Ray Tune's own files
    data.json              fingerprints of what is trained on
    search.lease           the process that runs them

A training that is finished is never repeated, whichever plan asks for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Protocol

from munchray.errors import InputError, Problem
from munchray.files import read_json, write_json
from munchray.seeds import seed_of
from munchray.settings import Job, TrialSettings
from munchray.tagging.scoring import SpanCounts, macro_f1, total
from munchray.training.data import DataSpec
from munchray.training.events import RecordedTrial, TrialAssignment, TrialListener
from munchray.training.final_evaluation import read_test, scored_on
from munchray.training.trial_results import TrialResult, read_result
from munchray.tuning.lock import FolderLock

SEEDS = 2**32
DATA = "data.json"


@dataclass(frozen=True)
class Training:
    """One training: its settings with their seed, the job whose data it uses, and the corpora it is scored on then."""

    job: str
    settings: TrialSettings
    tests: tuple[str, ...] = ()


class Scores(Protocol):
    """What a plan may see of its trainings: dev scores. No choice is shown a test score."""

    def dev_score(self, training: Training) -> float | None:
        """Dev F1 in percent, for multi_task the mean over its corpora; None while it is not known."""


Plan = Callable[[Scores], Iterator[Training]]
"""Yields every training that the known scores determine, in the order in which to train them; the total number does not
depend on the scores."""


def fresh_seeds(seed: int, count: int) -> tuple[int, ...]:
    """Seeds that differ from ``seed`` and from each other; the first ones stay when more are asked for."""
    seeds: list[int] = []
    index = 0
    while len(seeds) < count:
        fresh = seed_of("fresh", seed, index) % SEEDS
        seeds += [fresh] if fresh != seed and fresh not in seeds else []
        index += 1
    return tuple(seeds)


class ResultStore:
    """Finished trainings by settings and data.

    Args:
        folder: of the finalize or reproduction.
        data: fingerprint of the data of each job.
    """

    def __init__(self, folder: Path, data: Mapping[str, str]) -> None:
        self.folder, self.data = folder, data
        self.failures: dict[Training, str] = {}
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
        """Parameter updates of a finished training, over all its stages."""
        return read_result(self.folder_of(training)).updates

    def test_counts(self, training: Training, corpus: str) -> list[SpanCounts]:
        """Counts of every test sentence of a corpus."""
        return read_test(self.folder_of(training)).sentences[corpus]

    def test_f1(self, training: Training, corpus: str) -> float:
        """Test F1 in percent."""
        return total(self.test_counts(training, corpus)).f1

    def recorded(self) -> list[RecordedTrial]:
        """Every finished training that lies here, with all its scores, by the name of its folder."""
        found = sorted(path.parent for path in self.folder.glob("trainings/*/result.json"))
        return [_recorded(folder) for folder in found if read_result(folder).dev or scored_on(folder)]

    def _folder_of(self, training: Training) -> Path:
        signature = training.settings.signature(self.data[training.job])
        return self.folder / "trainings" / signature


class SimulatedScores:
    """Scores to unroll a plan with: those that are known, the others made up from the settings.

    Args:
        known: None if nothing is.
    """

    def __init__(self, known: Scores | None = None) -> None:
        self._known = known

    def dev_score(self, training: Training) -> float | None:
        """Never None."""
        score = self._known.dev_score(training) if self._known else None
        return seed_of(training.settings.signature()) % 10_000 / 100 if score is None else score


class PlannedTrainings(TrialListener):
    """The trainings of a plan that are still to be run; a source of trials, as a search is.

    Args:
        job: for resources, device and stage cache.
        plan: what to train.
        store: where results lie.
        lease: of the store's folder, acquired.
    """

    def __init__(self, job: Job, plan: Plan, store: ResultStore, lease: FolderLock) -> None:
        self.job = job
        self.folder = store.folder
        self._plan, self._store, self._lease = plan, store, lease
        self._running: dict[int, Training] = {}
        self._dispatched: set[Training] = set()

    @property
    def trials_left(self) -> int:
        """Those of the plan that are not finished, twice where two parts of it may turn out to be the same."""
        return sum(not self._store.finished(training) for training in self._plan(SimulatedScores(self._store)))

    @property
    def waits_for_results(self) -> bool:
        """While something runs, its score may decide what comes next."""
        return bool(self._running)

    @property
    def complete(self) -> bool:
        """Whether every training has ended."""
        store = self._store
        return not self._running and all(store.finished(t) or t in store.failures for t in self._plan(store))

    def next_assignment(self) -> TrialAssignment | None:
        """The first training of the plan that is neither finished nor running."""
        self._lease.check()
        for training in self._plan(self._store):
            if training not in self._dispatched and not self._store.finished(training):
                number = len(self._dispatched)
                self._dispatched.add(training)
                self._running[number] = training
                return TrialAssignment(number, training.job, training.settings, self._store.folder_of(training))
        return None

    def trial_finished(self, trial: TrialAssignment, result: TrialResult) -> None:
        """Its result lies in the store."""
        del self._running[trial.number]

    def trial_failed(self, trial: TrialAssignment, reason: str, details: str = "") -> None:
        """Remember why; Tune keeps the rest of what its process printed."""
        self._store.failures[self._running.pop(trial.number)] = reason


def all_trained(plan: Plan, folder: Path, jobs: Iterable[str]) -> bool:
    """Whether a plan has nothing left to train, by the data that was recorded."""
    known = recorded_data(folder)
    if not set(jobs) <= known.keys():
        return False
    store = ResultStore(folder, known)
    return all(store.finished(training) for training in plan(store))


def record_data(folder: Path, data: Mapping[str, DataSpec]) -> None:
    """Record the fingerprints of what is trained on and scored, beside those that other plans recorded.

    Args:
        data: by job.

    Raises:
        InputError: they differ from what was trained on before, so old and new trainings would not compare.
    """
    trained_on = {name: spec.fingerprint() for name, spec in data.items()}
    tests = {f"test of {name}": test for spec in data.values() for name, test in spec.tests.items()}
    fingerprints, known = {**trained_on, **tests}, recorded_data(folder)
    changed = [name for name, fingerprint in fingerprints.items() if known.get(name, fingerprint) != fingerprint]
    if changed:
        found = f"text, tags or embeddings changed since these trainings began: {', '.join(changed)}"
        fix = "Restore them, or give the job another name (--set name=...)"
        raise InputError(Problem(str(folder), found, fix=fix))
    if fingerprints.keys() - known.keys():
        write_json(folder / DATA, {**known, **fingerprints})


def recorded_data(folder: Path) -> dict[str, str]:
    """The fingerprints that were recorded in a folder; none before its first training."""
    path = folder / DATA
    return dict(read_json(path)) if path.exists() else {}


def _recorded(folder: Path) -> RecordedTrial:
    settings = TrialSettings(**read_json(folder / "settings.json"))
    ended = datetime.fromtimestamp((folder / "result.json").stat().st_mtime).astimezone()
    began = ended - timedelta(seconds=read_result(folder).seconds)
    return RecordedTrial(0, settings, folder, "finished", "", began, ended)
