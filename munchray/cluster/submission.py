"""A search as a Ray Job: submitted to a cluster's dashboard, followed from anywhere, stopped. (ray)

The job carries munchray's own code and the job file, no data: corpora, features and results are on the cluster. One
search is one running job, found again by its name and storage.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ray.job_submission import JobStatus, JobSubmissionClient

import munchray
from munchray.errors import InputError, Problem, WorkError
from munchray.files import digest, write_json
from munchray.settings import Job

KEY = "munchray.tuning"
ENTRY = "python -m munchray search job.json --address auto"
CARRIED = ("MUNCHRAY_DATA", "MUNCHRAY_EMBEDDINGS")
"""Environment variables that job files may use; the job file's own are already expanded."""
AGAIN = "try again later"
SECONDS_TO_START = 60.0
"""A cluster that has just started has no agent yet that could run a job."""
NOT_SHIPPED = ["**/__pycache__/**"]


class Cluster:
    """A cluster's dashboard, which takes jobs.

    Args:
        address: ``http://HOST:PORT``.

    Raises:
        InputError: no dashboard answers, or it does not let us in.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        logging.getLogger("ray").setLevel(logging.WARNING)  # a line for each upload
        try:
            self._client = JobSubmissionClient(address)
        except Exception as error:  # requests, Ray and its authentication each raise their own
            raise InputError(_refused(address, error)) from error

    def running(self, job: Job) -> str | None:
        """The id of the job that runs this search now, if one does."""
        for found in self._client.list_jobs():
            ours = (found.metadata or {}).get(KEY) == _key(job)
            if ours and found.submission_id and not found.status.is_terminal():
                return str(found.submission_id)
        return None

    def submit(self, job: Job) -> str:
        """Start the search there; the id of the new job.

        Raises:
            WorkError: the cluster does not take it.
        """
        with TemporaryDirectory() as folder:
            write_json(Path(folder, "job.json"), job.model_dump(mode="json"))
            environment = {
                "working_dir": folder,
                "py_modules": [str(Path(munchray.__file__).parent)],
                "excludes": NOT_SHIPPED,
                "env_vars": {name: os.environ[name] for name in CARRIED if name in os.environ},
            }
            return self._submit(environment, {KEY: _key(job)})

    def _submit(self, environment: dict[str, Any], metadata: dict[str, str]) -> str:
        end = time.monotonic() + SECONDS_TO_START
        while True:
            try:
                return str(self._client.submit_job(entrypoint=ENTRY, runtime_env=environment, metadata=metadata))
            except RuntimeError as error:
                if AGAIN not in str(error) or time.monotonic() > end:
                    raise WorkError(f"{self.address} did not take the job: {error}") from error
                time.sleep(1.0)

    def follow(self, submission: str, show: Callable[[str], Any]) -> int:
        """Show a job's output from its beginning until it ends; the exit code of the search."""
        asyncio.run(self._show(submission, show))
        info = self._client.get_job_info(submission)
        if info.status == JobStatus.SUCCEEDED:
            return 0
        if info.driver_exit_code is None:
            show(f"{info.status.value.lower()}: {info.message}\n")
        return int(info.driver_exit_code or 1)

    async def _show(self, submission: str, show: Callable[[str], Any]) -> None:
        async for text in self._client.tail_job_logs(submission):
            show(text)

    def stop(self, submission: str) -> None:
        """End a job as Ctrl-C would; what is finished is kept."""
        self._client.stop_job(submission)


def _key(job: Job) -> str:
    return f"{job.name} {digest(json.dumps([job.name, job.storage]))[:8]}"


def _refused(address: str, error: Exception) -> Problem:
    text = str(error).strip()
    if "401" in text or "403" in text or "token" in text.lower():
        fix = "Give this machine the cluster's token: RAY_AUTH_MODE=token and RAY_AUTH_TOKEN, or ~/.ray/auth_token"
    else:
        fix = "Name the head's dashboard, such as http://head:8265; the cluster needs ray[default]"
    return Problem("--address", f"no Ray dashboard takes jobs at '{address}' ({text.splitlines()[0]})", fix=fix)
