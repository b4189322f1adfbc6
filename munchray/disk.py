"""Writing to a disk that may be full or away: wait, then tell the user what to do; the trial has not failed."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from munchray.errors import HaltError
from munchray.retry import PATIENCE_S, retry

FULL = {errno.ENOSPC, errno.EDQUOT}
AWAY = {
    *(errno.EROFS, errno.EIO, errno.ESTALE),
    *(errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENOTCONN),
}


@contextlib.contextmanager
def advice() -> Iterator[None]:
    """Inside, a disk that is full or away raises an error that says what to do about it.

    Raises:
        HaltError: the disk is full or away.
    """
    try:
        yield
    except OSError as error:
        halt = _halt(error)
        if halt is None:
            raise
        raise halt from error


def patiently(write: Callable[[], None], warn: Callable[[str], None], tick: Callable[[], None] = lambda: None) -> None:
    """Write; retry while the disk is full or away.

    Args:
        write: leaves nothing behind when it raises.
        warn: told once what is waited for.
        tick: called before every pause.

    Raises:
        HaltError: the disk is still full or away after `retry.PATIENCE_S`.
    """
    warned = False

    def waiting(halt: HaltError) -> None:
        nonlocal warned
        if not warned:
            warn(f"waiting, for {PATIENCE_S / 60:.0f} minutes at most: {halt}")
        warned = True
        tick()

    retry(write, _halt, waiting)


@contextlib.contextmanager
def appended_whole(path: Path) -> Iterator[None]:
    """Inside, append to a file that only this process writes; a failed write is truncated away."""
    size = path.stat().st_size if path.exists() else 0
    try:
        yield
    except OSError:
        with contextlib.suppress(OSError):
            os.truncate(path, size)
        raise


def _halt(error: OSError) -> HaltError | None:
    """What the user can do about a disk that is full or away; None for other errors."""
    if error.errno not in FULL | AWAY:
        return None
    free = "free some space (lower stages_gb, or munchray stages JOB --prune GB)"
    fix = free if error.errno in FULL else "repair it"
    found = f"{error.filename or 'a file'} cannot be written: {error.strerror}"
    return HaltError(f"{found}; {fix}, then run the same command to resume")
