"""What commands do to a Ray cluster before any trial: join it, and see that its nodes are fit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from munchray.console import tables, terminal
from munchray.console.progress import working

if TYPE_CHECKING:
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
    from munchray.training.stages import open_store

    if address is None:
        check_precision(job.precision, device_for(job.device if job.resources_per_trial.gpu else "cpu"))
    open_store(job.stage_folder, job.stages_gb, terminal.note)  # raises if it is not ours
    nodes.connect(address)
    nodes.check_room(job)
    if address is not None:
        _look_at_nodes(job, inputs, quiet)
    return nodes.room(job)


def _look_at_nodes(job: Job, inputs: Sequence[Inputs], quiet: bool) -> None:
    from munchray.cluster import preflight

    folders = sorted({Path(job.storage).resolve(), Path(job.feature_folder).resolve()})
    files = sorted({path for each in inputs for path in each.files()})
    with working("looking at the nodes of the cluster", quiet):
        answers = preflight.ask_all(folders, files)
    if not quiet:
        tables.show_nodes(preflight.rows(answers))
    preflight.check(answers)
