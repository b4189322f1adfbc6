"""Carries out a plan of trainings on Ray, and a whole finalize."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from munchray.files import write_json
from munchray.finalization.finalize import final, final_folder, jobs_of, make_plan, write_choice
from munchray.finalization.report import FinalReport, make_report
from munchray.finalization.statistics import Spread
from munchray.finalization.trainings import Plan, PlannedTrainings, ResultStore, all_trained, record_data, recorded_data
from munchray.progress import Progress
from munchray.settings import Job
from munchray.storage.path import StoragePath
from munchray.tracking.mlflow_logger import FinalLogger
from munchray.training.data import DataSpec
from munchray.training.events import TrialListener
from munchray.training.inputs import Inputs, Texts, prepare, read_inputs
from munchray.tuning.folder import check_same_data, check_same_job, search_folder, search_id, search_storage
from munchray.tuning.lock import FolderLock, sync_for_reading
from munchray.tuning.register import register_winner

FINAL = "munchray.final"
"""Tag of the search's run: what its finalize came to."""
REPORT = "report.json"


@dataclass(frozen=True)
class Campaign:
    """A plan, and what it takes to carry it out.

    Args:
        job: for its resources and stages.
        jobs: those whose data is needed, by name, each with the corpora that are scored on test.
        folder: where everything lies.
    """

    job: Job
    plan: Plan
    jobs: Mapping[str, tuple[Job, Sequence[str]]]
    folder: Path

    @property
    def storage(self) -> StoragePath:
        """The folder as other machines see it."""
        return self.job.storage_path.within(self.folder)


def train_all(
    campaign: Campaign, *, address: str | None, progress: Progress, logger: FinalLogger | None = None
) -> ResultStore:
    """Train on Ray what a plan lacks; return the finished trainings.

    Args:
        address: of a Ray cluster; None starts a Ray of this machine.
        logger: where the trainings follow a search of the job, whose data must be what it was.

    Raises:
        InputError: data is missing, or differs from what was trained on before; another process works in the folder; no
            cluster, or nodes that lack something; MLflow cannot be reached.
        Interrupted: the user stopped it.
        WorkError: what every training needs is away or full.
    """
    inputs = _read(campaign, progress)
    if all_trained(campaign.plan, campaign.folder, campaign.jobs):
        data = _prepare(campaign, inputs, logger, progress)
        record_data(campaign.folder, data)  # which refuses data that has changed since
        return ResultStore(campaign.folder, _fingerprints(data))
    from munchray.cluster.join import join

    if logger:
        logger.join_search()
    slots = join(campaign.job, list(inputs.values()), address, progress)
    data = _prepare(campaign, inputs, logger, progress)
    store = ResultStore(campaign.folder, _fingerprints(data))
    lease = FolderLock(campaign.storage)
    campaign.folder.mkdir(parents=True, exist_ok=True)
    lease.acquire()
    try:
        record_data(campaign.folder, data)
        campaign.storage.upload("data.json")
        _run_trainings(PlannedTrainings(campaign.job, campaign.plan, store, lease), data, slots, progress, logger)
    finally:
        lease.release()
    return store


def finalize(
    job: Job, *, top: int, seeds: int, baselines: Sequence[str] | None, address: str | None, progress: Progress
) -> FinalReport:
    """Train the best settings of a search and baselines again with fresh seeds, score test, and register the winner.

    Args:
        top: how many of the best settings.
        seeds: how many fresh seeds each.
        baselines: regimes to compare with; None is single_task, unless that is the regime of the search.

    Raises:
        InputError: no search, or too few finished trials; an unknown baseline; as `train_all`.
        Interrupted: the user stopped it.
        WorkError: a training failed; as `train_all`.
    """
    sync_for_reading(search_storage(job))
    check_same_job(job, search_folder(job))
    if baselines is None:
        baselines = [] if job.regime == "single_task" else ["single_task"]
    plan = make_plan(job, top, seeds, baselines)
    campaign = Campaign(job, plan, jobs_of(job, plan), final_folder(job))
    with _logged(campaign, progress) as logger:
        store = train_all(campaign, address=address, progress=progress, logger=logger)
        report = make_report(plan, store)
        write_choice(job, plan, store)
        write_json(campaign.folder / REPORT, report.as_json())
        campaign.storage.upload(REPORT)
    register_winner(job, lambda: final(job), progress, " --final")
    return report


def sync_final(job: Job, progress: Progress) -> None:
    """Log to MLflow what it lacks of a finalize; nothing where there was none.

    Raises:
        InputError: MLflow cannot be reached or refuses, or does not know the search.
    """
    folder = final_folder(job)
    if folder.exists():
        with _logged(Campaign(job, lambda scores: iter(()), {}, folder), progress) as logger:
            logger.join_search()
            logger.log_again(ResultStore(folder, recorded_data(folder)).recorded())


def _read(campaign: Campaign, progress: Progress) -> dict[str, Inputs]:
    texts: Texts = {}  # jobs share corpora
    with progress.task("reading corpora"):
        return {name: read_inputs(job, tests=tests, texts=texts) for name, (job, tests) in campaign.jobs.items()}


def _prepare(
    campaign: Campaign, inputs: Mapping[str, Inputs], logger: FinalLogger | None, progress: Progress
) -> dict[str, DataSpec]:
    with progress.task("preparing features") as show:
        data = {name: prepare(job, show, inputs[name]) for name, (job, _) in campaign.jobs.items()}
    if logger:
        check_same_data(search_folder(campaign.job), data[campaign.job.name].fingerprint())
    return data


def _fingerprints(data: Mapping[str, DataSpec]) -> dict[str, str]:
    return {name: spec.fingerprint() for name, spec in data.items()}


def _run_trainings(
    trainings: PlannedTrainings,
    data: Mapping[str, DataSpec],
    slots: int,
    progress: Progress,
    logger: FinalLogger | None,
) -> None:
    from munchray.tuning import tuner

    listeners: list[TrialListener] = [trainings, *([logger] if logger else []), progress]
    if logger:
        logger.log_again(ResultStore(trainings.folder, {}).recorded())
    left = trainings.trials_left
    progress.note(f"{left} trainings, {slots} at a time; Ctrl-C stops cleanly")
    with progress.trials(left):
        tuner.run(trainings, listeners, data)


@contextmanager
def _logged(campaign: Campaign, progress: Progress) -> Iterator[FinalLogger]:
    """A logger of trainings; in the end MLflow has the report too, if there is one, or a warning says what it lacks."""
    job, path = campaign.job, campaign.folder / REPORT
    logger = FinalLogger(job, search_folder(job), search_id(job), progress.warn)
    try:
        yield logger
    finally:
        if logger.joined:
            report = json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
            files = {f"final/{REPORT}": json.dumps(report, indent=2)} if report else {}
            if lacking := logger.close(files=files, tags={FINAL: _summary_of(report)} if report else {}):
                progress.warn(f"{lacking}; later: munchray sync JOB")


def _summary_of(report: Mapping[str, Any]) -> str:
    """``trial 0003: test F1 70.12 ± 0.80, seeds: 5``."""
    test = Spread(**report["finalists"][0]["test"])
    return f"{report['winner']}: test F1 {test}, seeds: {test.seeds}"
