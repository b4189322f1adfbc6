"""A disk that is full: no trial's fault, and what to do about it."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator

from munchray.errors import HaltError

FULL = {errno.ENOSPC, errno.EDQUOT}


@contextlib.contextmanager
def advice() -> Iterator[None]:
    """Inside, a disk that is full says what to do about it.

    Raises:
        HaltError: there is no room.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        fix = "Make room (lower stages_gb, or munchray stages JOB --prune GB), and the same command goes on"
        raise HaltError(f"{error.filename or 'a file'} cannot be written: {error.strerror}. {fix}") from error
