"""A trial that no longer gets on ends its process, so that it is tried again from its checkpoint."""

from __future__ import annotations

import faulthandler
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

STDERR = 2  # the worker's log, whatever Python's own names for it have become
PAUSE = 1.0
"""Seconds between two settings of the clock; an update may take milliseconds."""


@contextmanager
def watched(minutes: float) -> Iterator[Callable[[], None]]:
    """Inside, call what is given at every sign of progress: after so many minutes without one the process ends.

    It ends with the trace of every thread in its log, and also when native code hangs and holds the interpreter.
    """
    wound = -PAUSE

    def wind() -> None:
        nonlocal wound
        if time.monotonic() - wound >= PAUSE:
            faulthandler.dump_traceback_later(60 * minutes, exit=True, file=STDERR)
            wound = time.monotonic()

    wind()
    try:
        yield wind
    finally:
        faulthandler.cancel_dump_traceback_later()
