"""The ranking of a search: its finished trials by dev F1, with what each cost."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from munchray.errors import InputError, Problem, WorkError
from munchray.files import read_json
from munchray.settings import Job, TrialSettings
from munchray.training.trial_results import StageResult, read_epochs, read_result
from munchray.tuning.folder import search_storage, trial_folder
from munchray.tuning.lock import sync_for_reading
from munchray.tuning.study import FinishedTrial, Study


@dataclass(frozen=True)
class RankedTrial:
    """A finished trial; scores on the dev split in percent.

    Args:
        values: what the search varied, but for the order.
        stages: in the order in which they were trained or taken from the stage cache.
        ended: ISO 8601, local time.
    """

    number: int
    order: tuple[str, ...]
    learning_rate: float
    batch_size: int
    dev_precision: float
    dev_recall: float
    dev_f1: float
    epochs: int
    updates: int
    seconds: float
    values: dict[str, Any]
    stages: tuple[StageResult, ...]
    ended: str

    @property
    def updates_saved(self) -> int:
        """Parameter updates of the stages that were taken from the stage cache."""
        ends = [0, *(stage.updates for stage in self.stages)]
        return sum(stage.updates - begin for begin, stage in zip(ends, self.stages, strict=False) if stage.reused)


@dataclass(frozen=True)
class Reuse:
    """Stages and updates that the stage cache saved the finished trials of a search."""

    stages_trained: int
    stages_reused: int
    updates_trained: int
    updates_saved: int


@dataclass(frozen=True)
class Ranking:
    """All trials of a search: the finished ones best first, failures with their reasons, the numbers of the rest."""

    trials: list[RankedTrial]
    failed: list[tuple[int, str]]
    running: list[int]
    folder: Path

    @property
    def best(self) -> RankedTrial:
        """The trial with the highest dev F1.

        Raises:
            WorkError: none has finished.
        """
        if not self.trials:
            raise WorkError(f"no trial of {self.folder} has finished; failed: {_reasons(self.failed)}")
        return self.trials[0]

    @property
    def reuse(self) -> Reuse:
        """Stages and updates, trained and reused."""
        reused = [stage.reused for trial in self.trials for stage in trial.stages]
        saved = sum(trial.updates_saved for trial in self.trials)
        updates = sum(trial.updates for trial in self.trials)
        return Reuse(len(reused) - sum(reused), sum(reused), updates - saved, saved)

    def as_json(self) -> dict[str, Any]:
        """The ranking as JSON types."""
        return {
            "folder": str(self.folder),
            "trials": [asdict(trial) for trial in self.trials],
            "failed": [{"number": number, "reason": reason} for number, reason in self.failed],
            "running": self.running,
            "reuse": asdict(self.reuse),
        }


def ranking(job: Job) -> Ranking:
    """Read the ranking of a job's search from its folder.

    Raises:
        InputError: the job has not been searched yet; a bucket does not answer.
    """
    storage = search_storage(job)
    sync_for_reading(storage)
    folder = storage.folder
    if not (folder / "job.json").exists():
        found = "there is no search of this job"
        raise InputError(Problem(str(storage), found, fix="Start it with: munchray search JOB"))
    study = Study.open(job, folder, repair=False)
    trials = [_ranked(trial, folder, job) for trial in study.finished()]
    trials.sort(key=lambda trial: (-trial.dev_f1, trial.number))
    return Ranking(trials, study.failed(), [s.number for s in study.running()], folder)


def _ranked(trial: FinishedTrial, folder: Path, job: Job) -> RankedTrial:
    own = trial_folder(folder, trial.number)
    settings = TrialSettings(**read_json(own / "settings.json"))
    result = read_result(own)
    dev = result.dev[job.main]
    return RankedTrial(
        number=trial.number,
        order=settings.auxiliaries,
        learning_rate=settings.learning_rate,
        batch_size=settings.batch_size,
        dev_precision=dev.precision,
        dev_recall=dev.recall,
        dev_f1=dev.f1,
        epochs=len(read_epochs(own)),
        updates=result.updates,
        seconds=result.seconds,
        values={name: value for name, value in trial.values.items() if name != "order"},
        stages=tuple(result.stages),
        ended=trial.ended.isoformat(),
    )


def _reasons(failed: list[tuple[int, str]]) -> str:
    return "; ".join(f"trial {number}: {reason}" for number, reason in failed) or "none"
