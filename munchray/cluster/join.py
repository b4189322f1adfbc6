"""Starts or joins Ray for a job, and checks before any trial that its nodes are fit."""

from __future__ import annotations

from collections.abc import Sequence

from munchray.cluster import nodes, preflight
from munchray.progress import Progress
from munchray.settings import Job
from munchray.training.inputs import Inputs
from munchray.training.machine import check_precision, device_for
from munchray.training.stage_cache import open_stage_cache


def join(job: Job, inputs: Sequence[Inputs], address: str | None, progress: Progress) -> int:
    """Start or join Ray; check that trials fit and that every node has what they need.

    Args:
        inputs: whose files every node must see.
        address: of a Ray cluster; None starts a Ray of this machine.

    Returns:
        How many trials run at once.

    Raises:
        InputError: no cluster, too little of it, or nodes that lack something.
    """
    if address is None:
        check_precision(job.precision, device_for(job.device if job.resources_per_trial.gpu else "cpu"))
    open_stage_cache(job.stage_storage, job.stages_gb, progress.note)  # raises if it is not ours
    nodes.connect(address)
    nodes.check_capacity(job)
    if address is not None:
        _check_nodes(job, inputs, progress)
    return nodes.trial_slots(job)


def _check_nodes(job: Job, inputs: Sequence[Inputs], progress: Progress) -> None:
    storages = sorted({job.storage_path, job.feature_storage}, key=str)
    files = sorted({path for each in inputs for path in each.files()})
    with progress.task("checking the nodes of the cluster"):
        answers = preflight.probe_all(storages, files)
    progress.note(f"{len(answers)} nodes")
    for row in preflight.rows(answers):
        has = f"{row['CPUs']} CPUs, {row['GPUs']} GPUs, munchray {row['munchray']}, torch {row['torch']}"
        progress.note(f"  {row['node']:<15}  {row['host']}  {has}  {row[''] or 'fit'}")
    preflight.check(answers)
