"""The folder of a search: its layout, and the record that its later processes compare their job with.

job.json        the job as it was launched     study.journal   Optuna's record
trials/0007/    everything of one trial        tune/           Ray Tune's own files
mlflow.db, mlartifacts/                        unless the job names another tracking_uri
search.lease                                   the process that runs it
sessions/       versions, git state and machine of every process that ran it
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from munchray.errors import InputError, Problem
from munchray.files import digest, read_json, write_json
from munchray.settings import Job
from munchray.storage.path import StoragePath

RECORD = "job.json"
SESSIONS = "sessions"


@dataclass(frozen=True)
class SearchRecord:
    """What a search was launched with, as ``job.json`` keeps it.

    Args:
        id: by which its runs are found in MLflow. On a server that many people share, two searches may have one name.
        data: fingerprint of all text, tags and embeddings.
        corpora: fingerprints by name, the main corpus first.
    """

    id: str
    job: Mapping[str, Any]
    data: str
    corpora: Mapping[str, str]

    def write(self, storage: StoragePath) -> None:
        """Write and upload it."""
        write_json(storage.folder / RECORD, asdict(self))
        storage.upload(RECORD)


def read_record(folder: Path) -> SearchRecord | None:
    """The record of a search; None if it was never started.

    Raises:
        InputError: the file is something else.
    """
    path = folder / RECORD
    if not path.exists():
        return None
    try:
        read = read_json(path)
        name = f"{read['job']['name']} {digest(str(folder))[:6]}"
        return SearchRecord(read.get("id") or name, read["job"], read["data"], read.get("corpora", {}))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        found = f"not a record of a search ({error})"
        raise InputError(Problem(str(path), found, fix="Move the folder away to start anew")) from error


def search_storage(job: Job) -> StoragePath:
    """Where a search keeps everything."""
    return job.storage_path / job.name


def search_folder(job: Job) -> Path:
    """The same on this machine."""
    return search_storage(job).folder


def search_id(job: Job) -> str:
    """The id of a search, a new one if it was never started."""
    record = read_record(search_folder(job))
    return record.id if record else f"{job.name} {uuid4().hex[:8]}"


def trial_folder(search: Path, number: int) -> Path:
    """Where a search keeps one trial."""
    return search / "trials" / f"{number:04d}"


def check_same_job(job: Job, folder: Path, *, resume: bool = False) -> None:
    """Compare a job with that of the search in its folder, if there is one.

    Args:
        resume: insist that there is one.

    Raises:
        InputError: with everything that changed; nothing to resume.
    """
    record = read_record(folder)
    if record is None:
        if resume:
            found = "there is no search to resume"
            raise InputError(Problem(str(folder), found, fix="Leave --resume out to start one"))
        return
    changed = job.changed_since(record.job)
    problems = [
        Problem(f"job {job.name}", f"{key} changed from {_short(old)} to {_short(new)} since the search began")
        for key, old, new in changed
    ]
    if problems:
        fix = f"Undo the change, or give the search another name (--set name={job.name}-2)"
        *first, last = problems
        raise InputError(*first, Problem(last.where, last.found, last.expected, fix))


def check_same_data(folder: Path, fingerprint: str) -> None:
    """Compare the data with that on which the search in a folder was started, if there is one.

    Raises:
        InputError: text, tags or embeddings changed.
    """
    record = read_record(folder)
    if record and record.data != fingerprint:
        found = "the text, tags or embeddings changed since this search began, so old and new trials do not compare"
        fix = "Restore them, or give the search another name (--set name=...)"
        raise InputError(Problem(str(folder), found, fix=fix))


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."
