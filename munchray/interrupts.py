"""Ctrl-C: the first one stops in order, another one at once.

Ray does not survive an exception in the midst of its own end: the process aborts or crashes. So a process that is
stopping is left to come to its end, or is ended here and now, which loses no more than a power cut would.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

STDERR = 2
SHOW_CURSOR = "\x1b[?25h"
"""For a terminal on which something was moving."""


def install_sigint() -> None:
    """The next Ctrl-C raises `KeyboardInterrupt`; one after it ends the process."""
    signal.signal(signal.SIGINT, _stop)


def exit_on_sigint() -> None:
    """Only what Python and Ray put away themselves is left to do: the next Ctrl-C ends the process."""
    signal.signal(signal.SIGINT, _end)


@contextmanager
def defer_sigint_to_tune() -> Iterator[None]:
    """Tune, inside, heeds a first Ctrl-C in its own way, without an exception; one after it ends the process."""
    if threading.current_thread() is not threading.main_thread():  # signals are not for others
        yield
        return
    before = signal.signal(signal.SIGINT, _end)
    yield
    # Tune puts its own handler in the place of the one it finds, and gives that back on the first Ctrl-C, not before.
    if signal.getsignal(signal.SIGINT) is not _end:
        signal.signal(signal.SIGINT, before)


def _stop(*_: object) -> None:
    signal.signal(signal.SIGINT, _end)
    raise KeyboardInterrupt


def _end(*_: object) -> None:
    cursor = SHOW_CURSOR if os.isatty(STDERR) else ""
    # Not by `print`, which this may have interrupted.
    os.write(STDERR, f"{cursor}stopped at once: the same command resumes from what is finished\n".encode())
    os._exit(130)
