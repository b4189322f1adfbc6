"""A disk that is full, or away for a moment: no trial's fault. It is waited for, then somebody is told what to do."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from munchray.errors import HaltError

PATIENCE = 600.0  # seconds
TRY_AGAIN = 1.0  # seconds between tries
FULL = {errno.ENOSPC, errno.EDQUOT}
AWAY = {
    *(errno.EROFS, errno.EIO, errno.ESTALE),
    *(errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENOTCONN),
}


@contextlib.contextmanager
def advice() -> Iterator[None]:
    """Inside, a disk that is full or away says what to do about it.

    Raises:
        HaltError: it is.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in FULL | AWAY:
            raise
        fix = "make room (lower stages_gb, or munchray stages JOB --prune GB)" if error.errno in FULL else "see to it"
        found = f"{error.filename or 'a file'} cannot be written: {error.strerror}"
        raise HaltError(f"{found}; {fix}, and the same command goes on") from error


def patiently(write: Callable[[], None], warn: Callable[[str], None], tick: Callable[[], None] = lambda: None) -> None:
    """Write; to a disk that is full or away again and again, for `PATIENCE`.

    Args:
        write: leaves nothing behind when it raises.
        warn: told what is waited for.
        tick: called before every further try.

    Raises:
        HaltError: the disk has not come back.
    """
    began, warned = time.monotonic(), False
    while True:
        try:
            with advice():
                return write()
        except HaltError as error:
            if time.monotonic() - began > PATIENCE:
                raise
            if not warned:
                warn(f"waiting, for {PATIENCE / 60:.0f} minutes at most: {error}")
            warned = True
        tick()
        time.sleep(TRY_AGAIN)


@contextlib.contextmanager
def appended_whole(path: Path) -> Iterator[None]:
    """Inside, append to a file that nobody else writes; when the disk refuses, it is as long as before."""
    size = path.stat().st_size if path.exists() else 0
    try:
        yield
    except OSError:
        with contextlib.suppress(OSError):
            os.truncate(path, size)
        raise
