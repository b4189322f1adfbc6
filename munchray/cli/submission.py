"""Submits a search to a cluster as a Ray Job, follows it, stops it. (typer)"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import typer

from munchray.errors import InputError, Interrupted, Problem
from munchray.progress import console

if TYPE_CHECKING:
    from munchray.cluster.submission import JobClient
    from munchray.settings import Job


def is_dashboard(address: str | None) -> bool:
    """Whether an address is that of a dashboard, which takes jobs."""
    return bool(address) and str(address).startswith(("http://", "https://"))


def submitted(job: Job, address: str, *, detach: bool, stop: bool) -> None:
    """Run a search as a Ray Job and follow it, follow the one that runs, or stop it.

    Raises:
        InputError: the cluster takes no jobs.
        Interrupted: Ctrl-C; the job goes on.
    """
    from munchray.cluster.submission import JobClient

    cluster = JobClient(address)
    running = cluster.running(job)
    if stop:
        _stop(cluster, running, job)
        return
    submission = running or cluster.submit(job)
    console.note(
        f"{'following' if running else 'submitted as'} {submission}; on the cluster, results lie in {job.storage}"
    )
    if detach:
        return
    try:
        code = cluster.follow(submission, sys.stdout.write)
    except KeyboardInterrupt:
        how = f"{submission} is still running; the same command follows it again, with --stop it ends"
        raise Interrupted(how) from None
    raise typer.Exit(code)


def _stop(cluster: JobClient, running: str | None, job: Job) -> None:
    if running is None:
        raise InputError(Problem("--stop", f"no job at {cluster.address} runs {job.name} with this storage"))
    cluster.stop(running)
    console.note(f"{running} is stopping; the same command without --stop resumes it")
