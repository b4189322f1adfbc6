"""From the arguments of a command to a checked job, its corpora and its features."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from munchray.cli.progress import working

if TYPE_CHECKING:
    from munchray.settings import Job
    from munchray.training.data import DataSpec
    from munchray.training.inputs import Inputs, Texts


def load(job_file: Path, overrides: list[str] | None) -> Job:
    """The job of a file and its ``--set``."""
    from munchray.settings import load_job

    return load_job(job_file, overrides or [])


def as_typed(job_file: Path, overrides: list[str] | None) -> str:
    """The same job for another command line."""
    return shlex.join([str(job_file), *(word for text in overrides or [] for word in ("--set", text))])


def read(job: Job, quiet: bool, *, tests: Sequence[str] = (), texts: Texts | None = None) -> Inputs:
    """Find and read all that the job names.

    Args:
        tests: corpora whose test split is to be scored.
        texts: what has been read for other jobs; what is read now is added.
    """
    from munchray.training.inputs import read_inputs

    with working("reading corpora", quiet):
        return read_inputs(job, tests=tests, texts=texts)


def prepare_features(job: Job, inputs: Inputs, quiet: bool) -> DataSpec:
    """Embed what the feature store lacks."""
    from munchray.training.inputs import prepare

    with working("preparing features", quiet) as say:
        return prepare(job, say, inputs)
