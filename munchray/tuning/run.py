"""Runs a search from a job to its ranking, or completes what MLflow lacks of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from munchray.errors import WorkError
from munchray.progress import Progress
from munchray.samplers.registry import make_sampler
from munchray.samplers.search_space import SpaceEncoding
from munchray.settings import Job
from munchray.tracking.mlflow_logger import MLflowLogger
from munchray.training.data import DataSpec
from munchray.training.inputs import Inputs, prepare
from munchray.tuning.folder import (
    SESSIONS,
    SearchRecord,
    check_same_job,
    read_record,
    search_folder,
    search_id,
    search_storage,
    trial_folder,
)
from munchray.tuning.lock import FolderLock, sync_for_reading
from munchray.tuning.ranking import ranking
from munchray.tuning.search import Search, open_search
from munchray.tuning.study import Study
from munchray.tuning.warm_start import PriorSearch

Summary = Callable[[], Mapping[str, str]]
"""Texts by file name, kept in MLflow with a search whose trials have all ended."""


def run_search(
    job: Job, inputs: Inputs, *, address: str | None, resume: bool, progress: Progress, summary: Summary
) -> None:
    """Run the trials of a search that are left, and register its best model.

    Args:
        inputs: of the job.
        address: of a Ray cluster; None starts a Ray of this machine.
        resume: insist that the search was started before.

    Raises:
        InputError: the job differs from the one the search was started with; another process runs it; the space does
            not fit the sampler; a prior search does not compare; no cluster, or nodes that lack something; MLflow
            cannot be reached.
        Interrupted: the user stopped it.
        WorkError: what every trial needs is away or full; no trial has finished.
    """
    with _leased(job, resume) as lease:
        make_sampler(job.sampler, SpaceEncoding(job.search_space, job.order_rule(), job.auxiliaries), job.seed)
        priors = [PriorSearch(named, job) for named in job.warm_start]
        if _is_complete(job):
            progress.note(f"All {job.trials} trials of {job.name} are done; --set trials=N adds more.")
            return
        folder = search_folder(job)
        run_id = search_id(job)
        logger = MLflowLogger(job, folder, run_id, progress.warn)
        logger.preload()
        from munchray.cluster.join import join  # Ray, in the seconds that MLflow takes to be imported

        slots = join(job, [inputs], address, progress)
        lease.acquire()
        logger.connect()
        with progress.task("preparing features") as show:
            data = prepare(job, show, inputs)
        record = SearchRecord(run_id, job.model_dump(mode="json"), data.fingerprint(), data.fingerprints())
        search = open_search(job, record, priors, lease, progress.warn)
        _run_trials(search, data, logger, slots, progress, summary)
    if ranking(job).trials:
        from munchray.tuning.export import trained_by  # torch, which the process did without until here
        from munchray.tuning.register import register_winner

        register_winner(job, lambda: trained_by(job, None), progress)


def sync(job: Job, progress: Progress, summary: Summary) -> None:
    """Log to MLflow what it lacks of a search that no process runs now.

    Raises:
        InputError: there is no such search, another process runs it, or MLflow cannot be reached or refuses.
        WorkError: MLflow has not taken all.
    """
    with _leased(job, resume=True) as lease:
        lease.acquire()
        logger = MLflowLogger(job, search_folder(job), search_id(job), progress.warn)
        logger.connect()
        study = Study.open(job, search_folder(job), warn=progress.warn)
        start_logging(logger, job, study)
        if lacking := finish_logging(logger, Search(job, study, lease), progress, summary, later=True):
            raise WorkError(lacking)


@contextmanager
def _leased(job: Job, resume: bool) -> Iterator[FolderLock]:
    """Check a job against its search and hold the lease of its folder; one that is not there is not made yet."""
    storage = search_storage(job)
    sync_for_reading(storage)
    lease = FolderLock(storage)
    check_same_job(job, storage.folder, resume=resume)
    if storage.folder.exists():
        lease.acquire()
    try:
        yield lease
    finally:
        lease.release()


def _is_complete(job: Job) -> bool:
    folder = search_folder(job)
    if read_record(folder) is None:
        return False
    study = Study.open(job, folder, repair=False)
    return study.unsuggested(job.trials) <= 0 and not study.running()


def _run_trials(
    search: Search, data: DataSpec, logger: MLflowLogger, slots: int, progress: Progress, summary: Summary
) -> None:
    from munchray.tuning import tuner

    job, total = search.job, search.job.trials
    start_logging(logger, job, search.study)
    progress.note(f"{search.trials_left} trials to run, {slots} at a time; Ctrl-C stops cleanly")
    try:
        with progress.trials(total, ended=total - search.trials_left):
            tuner.run(search, [search.study, logger, progress], {job.name: data})
    finally:
        if lacking := finish_logging(logger, search, progress, summary):
            progress.warn(f"{lacking}; munchray sync JOB logs it later")


def start_logging(logger: MLflowLogger, job: Job, study: Study) -> None:
    """Open the run of a search, and log again what MLflow may lack of its trials.

    Raises:
        InputError: MLflow cannot be reached or refuses.
    """
    record = read_record(search_folder(job))
    assert record is not None, "a search that is logged was started"
    history = study.history()
    began = min((trial.began for trial in history), default=None)
    logger.start_search(record.data, record.corpora, search_folder(job) / SESSIONS, began)
    logger.log_again(history)


def finish_logging(
    logger: MLflowLogger, search: Search, progress: Progress, summary: Summary, *, later: bool = False
) -> str:
    """Close the run of a search, with its best model and its report if all trials have ended; what MLflow lacks.

    Args:
        later: all of it happened before, and the run ended with its last trial.
    """
    complete, finished = search.complete, search.study.finished()
    ended = max((trial.ended for trial in finished), default=None) if later else None
    if not (complete and finished):
        return logger.close("FINISHED" if complete else "KILLED", ended=ended)
    best = max(finished, key=lambda trial: trial.dev_f1).number
    folder = trial_folder(search.folder, best)
    search_storage(search.job).within(folder).download("model")
    files: dict[str, str | Path] = {**_summarized(summary, progress), "best_model": folder / "model"}
    return logger.close("FINISHED", files, {"munchray.best_trial": str(best)}, ended)


def _summarized(summary: Summary, progress: Progress) -> Mapping[str, str]:
    try:
        return summary()
    except Exception as error:  # of any kind: the search has its result
        progress.warn(f"no report was kept with the search ({error}); munchray results JOB --html writes one")
        return {}
