"""From the arguments of a command to a checked job, its corpora and its features."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from munchray.console import terminal
from munchray.console.progress import working

if TYPE_CHECKING:
    from munchray.settings import Job
    from munchray.training.data import DataSpec
    from munchray.training.inputs import Inputs


def load(job_file: Path, overrides: list[str] | None) -> Job:
    """The job of a file and its ``--set``."""
    from munchray.settings import load_job

    return load_job(job_file, overrides or [])


def read(job: Job, quiet: bool, *, with_test: bool = False) -> Inputs:
    """Find and read all that the job names, and if asked the test splits that are to be scored."""
    from munchray.training.inputs import read_inputs

    with working("reading corpora", quiet):
        return read_inputs(job, with_test=with_test)


def check_machine(job: Job, address: str | None) -> None:
    """See that this machine, where it is to compute, has the job's precision, and that the stage store is ours."""
    from munchray.training.machine import check_precision, device_for
    from munchray.training.stages import open_store

    if address is None:
        check_precision(job.precision, device_for(job.device if job.resources_per_trial.gpu else "cpu"))
    open_store(job.stage_folder, job.stages_gb, terminal.note)


def join_ray(job: Job, address: str | None) -> int:
    """Start Ray or join a cluster; how many trials of the job it runs at once."""
    from munchray.search import tuner

    tuner.connect(address)
    return tuner.slots(job)


def prepare_features(job: Job, inputs: Inputs, quiet: bool) -> DataSpec:
    """Embed what the feature store lacks."""
    from munchray.training.inputs import prepare

    with working("preparing features", quiet) as say:
        return prepare(job, say, inputs)
