"""A search without Ray: its lease, its study, its log in MLflow, and trials that a benchmark starts and ends itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from munchray.progress import Progress
from munchray.progress.terminal import Warnings
from munchray.settings import Job
from munchray.tracking.mlflow_logger import MLflowLogger
from munchray.training.events import TrialListener
from munchray.tuning.folder import SearchRecord, search_folder, search_id, search_storage
from munchray.tuning.lock import FolderLock
from munchray.tuning.run import finish_logging, start_logging
from munchray.tuning.search import Search, open_search


@dataclass(frozen=True)
class OpenSearch:
    """An open search.

    Args:
        listeners: those of a search by command, in its order.
    """

    search: Search
    logger: MLflowLogger
    listeners: list[TrialListener]


@contextmanager
def opened(job: Job, data: str, listener: Progress | None = None) -> Iterator[OpenSearch]:
    """Open a search as the command does, and close it in the end.

    Args:
        data: fingerprint of what it trains on.
    """
    progress = listener or Warnings()
    search_folder(job).mkdir(parents=True, exist_ok=True)
    lease = FolderLock(search_storage(job))
    lease.acquire()
    record = SearchRecord(search_id(job), job.model_dump(mode="json"), data, {job.main: data})
    logger = MLflowLogger(job, search_folder(job), record.id, progress.warn)
    search = open_search(job, record, [], lease, progress.warn)
    start_logging(logger, job, search.study)
    try:
        yield OpenSearch(search, logger, [search.study, logger, progress])
    finally:
        finish_logging(logger, search, progress, dict)
        lease.release()
