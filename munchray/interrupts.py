"""Handlers of Ctrl-C: the first one stops in order, another one at once.

Ray does not survive an exception during its own shutdown: the process aborts or crashes. So a process that is
stopping is left to finish, or exits immediately, which loses no more than a power cut would.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

STDERR = 2
SHOW_CURSOR = "\x1b[?25h"
"""Restores the cursor of a terminal with a live display."""


def install_sigint() -> None:
    """Raise `KeyboardInterrupt` on the next Ctrl-C; exit on the one after it."""
    signal.signal(signal.SIGINT, _stop)


def exit_on_sigint() -> None:
    """Exit on the next Ctrl-C, for the end of a process, when Python and Ray clean up."""
    signal.signal(signal.SIGINT, _end)


@contextmanager
def defer_sigint_to_tune() -> Iterator[None]:
    """Leave the first Ctrl-C to Tune, which stops without an exception; exit on the one after it."""
    if threading.current_thread() is not threading.main_thread():  # signals are not for others
        yield
        return
    before = signal.signal(signal.SIGINT, _end)
    yield
    # Tune replaces the handler that it finds, and restores it on the first Ctrl-C, not before.
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
