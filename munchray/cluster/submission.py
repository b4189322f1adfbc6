"""Run a search as a Ray Job: submit it to a cluster's dashboard, follow its log, stop it. (ray)

The job ships munchray's code and the job file, no data: corpora, features and results are on the cluster. A search has
at most one running job, identified by the search's name and storage.
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

KEY = "munchray.search"  # in the metadata of the Ray Job
ENTRYPOINT = "python -m munchray search job.json --address auto"
FORWARDED_VARIABLES = ("MUNCHRAY_DATA", "MUNCHRAY_EMBEDDINGS")
"""Environment variables that job files may use; the job file's own are already expanded."""
RETRY_HINT = "try again later"
STARTUP_TIMEOUT_S = 60.0
"""A cluster that has just started has no job agent yet."""
EXCLUDES = ["**/__pycache__/**"]


class JobClient:
    """Client for jobs of a Ray cluster, through its dashboard.

    Args:
        address: ``http://HOST:PORT``.

    Raises:
        InputError: no dashboard answers, or access is denied.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        logging.getLogger("ray").setLevel(logging.WARNING)  # a line for each upload
        try:
            self._client = JobSubmissionClient(address)
        except Exception as error:  # requests, Ray and its authentication each raise their own
            raise InputError(_refused(address, error)) from error

    def running(self, job: Job) -> str | None:
        """The id of the running job of this search, or None."""
        for found in self._client.list_jobs():
            same_search = (found.metadata or {}).get(KEY) == _key(job)
            if same_search and found.submission_id and not found.status.is_terminal():
                return str(found.submission_id)
        return None

    def submit(self, job: Job) -> str:
        """Submit the search and return the id of the new job.

        Raises:
            WorkError: the cluster rejects the job.
        """
        with TemporaryDirectory() as folder:
            write_json(Path(folder, "job.json"), job.model_dump(mode="json"))
            environment = {
                "working_dir": folder,
                "py_modules": [str(Path(munchray.__file__).parent)],
                "excludes": EXCLUDES,
                "env_vars": {name: os.environ[name] for name in FORWARDED_VARIABLES if name in os.environ},
            }
            return self._submit(environment, {KEY: _key(job)})

    def _submit(self, environment: dict[str, Any], metadata: dict[str, str]) -> str:
        deadline = time.monotonic() + STARTUP_TIMEOUT_S
        while True:
            try:
                return str(self._client.submit_job(entrypoint=ENTRYPOINT, runtime_env=environment, metadata=metadata))
            except RuntimeError as error:
                if RETRY_HINT not in str(error) or time.monotonic() > deadline:
                    raise WorkError(f"{self.address} rejected the job: {error}") from error
                time.sleep(1.0)

    def follow(self, submission: str, show: Callable[[str], Any]) -> int:
        """Stream a job's output from the start until it ends, and return the exit code of the search."""
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
        """Stop a job as Ctrl-C would; finished trials are kept."""
        self._client.stop_job(submission)


def _key(job: Job) -> str:
    return f"{job.name} {digest(json.dumps([job.name, job.storage]))[:8]}"


def _refused(address: str, error: Exception) -> Problem:
    text = str(error).strip()
    if "401" in text or "403" in text or "token" in text.lower():
        fix = "Set the cluster's token on this machine: RAY_AUTH_MODE=token and RAY_AUTH_TOKEN, or ~/.ray/auth_token"
    else:
        fix = "Name the head's dashboard, such as http://head:8265; the cluster needs ray[default]"
    return Problem("--address", f"no Ray dashboard accepts jobs at '{address}' ({text.splitlines()[0]})", fix=fix)
