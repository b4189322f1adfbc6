"""What commands do to a Ray cluster: join it when its nodes are fit, or submit to it. (typer)"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from munchray.cli import tables, terminal
from munchray.cli.progress import working
from munchray.errors import InputError, Interrupted, Problem

if TYPE_CHECKING:
    from munchray.cluster.submission import JobClient
    from munchray.settings import Job
    from munchray.training.inputs import Inputs


def join(job: Job, inputs: Sequence[Inputs], address: str | None, quiet: bool) -> int:
    """Start or join Ray; see that trials fit and that every node has what they need.

    Returns:
        How many trials run at once.

    Raises:
        InputError: no cluster, too little of it, or nodes that lack something.
    """
    from munchray.cluster import nodes
    from munchray.training.machine import check_precision, device_for
    from munchray.training.stage_cache import open_stage_cache

    if address is None:
        check_precision(job.precision, device_for(job.device if job.resources_per_trial.gpu else "cpu"))
    open_stage_cache(job.stage_storage, job.stages_gb, terminal.note)  # raises if it is not ours
    nodes.connect(address)
    nodes.check_capacity(job)
    if address is not None:
        _look_at_nodes(job, inputs, quiet)
    return nodes.trial_slots(job)


def is_dashboard(address: str | None) -> bool:
    """Whether an address takes jobs, instead of a driver."""
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
    terminal.note(
        f"{'follows' if running else 'submitted as'} {submission}; on the cluster, results lie in {job.storage}"
    )
    if detach:
        return
    try:
        code = cluster.follow(submission, sys.stdout.write)
    except KeyboardInterrupt:
        goes_on = f"{submission} goes on; the same command follows it again, with --stop it ends"
        raise Interrupted(goes_on) from None
    raise typer.Exit(code)


def _stop(cluster: JobClient, running: str | None, job: Job) -> None:
    if running is None:
        raise InputError(Problem("--stop", f"no job at {cluster.address} runs {job.name} with this storage"))
    cluster.stop(running)
    terminal.note(f"{running} is stopping; the same command without --stop goes on from what is finished")


def _look_at_nodes(job: Job, inputs: Sequence[Inputs], quiet: bool) -> None:
    from munchray.cluster import preflight

    storages = sorted({job.storage_path, job.feature_storage}, key=str)
    files = sorted({path for each in inputs for path in each.files()})
    with working("looking at the nodes of the cluster", quiet):
        answers = preflight.probe_all(storages, files)
    if not quiet:
        tables.show_nodes(preflight.rows(answers))
    preflight.check(answers)
