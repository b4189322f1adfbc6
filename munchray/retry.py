"""Retry what fails while a disk is full or away, or a bucket does not answer."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from munchray.errors import HaltError

PATIENCE_S = 600.0
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 5.0
"""Pauses double up to this; shorter than the shortest sensible `hung_minutes`, since no progress is made meanwhile."""

T = TypeVar("T")


def retry(
    act: Callable[[], T],
    explain: Callable[[OSError], HaltError | None],
    waiting: Callable[[HaltError], None] = lambda _: None,
) -> T:
    """Call until it succeeds, for `PATIENCE_S` at most.

    Args:
        act: idempotent; leaves nothing behind when it raises.
        explain: the error to end with; None for an error that is not worth a retry.
        waiting: called before every pause with what will be raised in the end.

    Raises:
        HaltError: the patience is over.
    """
    end, pause = time.monotonic() + PATIENCE_S, FIRST_PAUSE_S
    while True:
        try:
            return act()
        except OSError as error:
            halt = explain(error)
            if halt is None:
                raise
            if time.monotonic() > end:
                raise halt from error
        waiting(halt)
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE_S)
