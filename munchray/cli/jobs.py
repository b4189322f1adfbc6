"""The job and the progress display that the arguments of a command ask for."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from munchray.progress import Progress
from munchray.progress.terminal import TerminalProgress, Warnings

if TYPE_CHECKING:
    from munchray.settings import Job


def load(job_file: Path, overrides: list[str] | None, *, search: bool = True) -> Job:
    """Load the job of a file and its ``--set``; without ``search``, what only a search reads is left out."""
    from munchray.settings import load_job

    return load_job(job_file, overrides or [], search=search)


def as_typed(job_file: Path, overrides: list[str] | None) -> str:
    """The arguments again, quoted, for the next command to type."""
    return shlex.join([str(job_file), *(word for text in overrides or [] for word in ("--set", text))])


def shown(quiet: bool) -> Progress:
    """The terminal's progress, or warnings alone."""
    return Warnings() if quiet else TerminalProgress()
