"""A trial that no longer gets on ends its process, so that it is tried again from its checkpoint.

A process that is stopped, or waits for a disk that does not answer, cannot do so. It touches a file while it gets on,
and who leads the search ends it when that file stays as it is.
"""

from __future__ import annotations

import faulthandler
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

STDERR = 2  # the worker's log, whatever Python's own names for it have become
PAUSE = 1.0
"""Seconds between two settings of the clock; an update may take milliseconds."""
PULSE = ".pulse"
"""In the folder of a trial: its time stamp moves while the trial gets on."""
PULSE_SECONDS = 5.0
"""Between two touches."""


@contextmanager
def watched(minutes: float, pulse: Path) -> Iterator[Callable[[], None]]:
    """Inside, call what is given at every sign of progress: after so many minutes without one the process ends.

    It ends with the trace of every thread in its log, and also when native code hangs and holds the interpreter.

    Args:
        pulse: the file that is touched.
    """
    wound = touched = -math.inf

    def wind() -> None:
        nonlocal wound, touched
        now = time.monotonic()
        if now - wound >= PAUSE:
            faulthandler.dump_traceback_later(60 * minutes, exit=True, file=STDERR)
            wound = now
        if now - touched >= PULSE_SECONDS:
            with suppress(OSError):  # the disk is away for a moment
                pulse.touch()
            touched = now

    wind()
    try:
        yield wind
    finally:
        faulthandler.cancel_dump_traceback_later()
