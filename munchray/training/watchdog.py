"""Exit a stalled trial so that Tune retries it from its checkpoint.

Progress feeds two timers. One is of this process: `faulthandler`'s thread prints all traces and exits even while native
code holds the interpreter. A process that is stopped, or waits for a disk that does not answer, cannot exit by itself;
for these, the modification time of a pulse file moves with progress, and the driver kills the process when it does not.
"""

from __future__ import annotations

import faulthandler
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

STDERR = 2  # the worker's log; Python's own names for it may have been replaced
REARM_S = 1.0
"""Between two settings of the timer; an update may take milliseconds."""
PULSE = ".pulse"
"""The pulse file, in the folder of a trial."""
PULSE_S = 5.0
"""Between two touches of the pulse file."""


@contextmanager
def watched(minutes: float, pulse: Path) -> Iterator[Callable[[], None]]:
    """Yield a function to call at every sign of progress; exit the process after so many minutes without a call.

    The exit code is 1, and the log has the trace of every thread.
    """
    armed = touched = -math.inf

    def progress() -> None:
        nonlocal armed, touched
        now = time.monotonic()
        if now - armed >= REARM_S:
            faulthandler.dump_traceback_later(60 * minutes, exit=True, file=STDERR)
            armed = now
        if now - touched >= PULSE_S:
            with suppress(OSError):  # the disk is away for a moment
                pulse.touch()
            touched = now

    progress()
    try:
        yield progress
    finally:
        faulthandler.cancel_dump_traceback_later()
