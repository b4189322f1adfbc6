"""Optuna's journal in a file that survives crashes and disks that are full or away for a while. (optuna)"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock

from munchray.disk import appended_whole, patiently

FIRST_BYTES = b'{"op_code"'


def open_journal(path: Path, warn: Callable[[str], None]) -> JournalStorage:
    """Open a journal, without the half line that a killed process may have left.

    Args:
        warn: called while a write waits for the disk.

    Raises:
        ValueError: the file is no journal.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # the search has its own lines for what Optuna would log
    _drop_torn_line(path)
    return JournalStorage(_PatientJournal(path, warn))


class _PatientJournal(JournalFileBackend):  # type: ignore[misc]
    """Waits for a disk that is full or away, and leaves no half lines there: Optuna would append to them.

    Args:
        warn: told what it waits for.
    """

    def __init__(self, path: Path, warn: Callable[[str], None]) -> None:
        super().__init__(str(path))
        self._path = path
        self._warn = warn

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Write at the end.

        Raises:
            HaltError: the disk has not come back.
        """
        patiently(lambda: self._append_whole(logs), self._warn)

    def _append_whole(self, logs: list[dict[str, Any]]) -> None:
        with appended_whole(self._path):
            super().append_logs(logs)


def _drop_torn_line(path: Path) -> None:
    """Cut off half a line that a killed process left: Optuna would append to it and never read the file again.

    Raises:
        ValueError: the file does not begin as a journal does; Optuna would append to it all the same.
    """
    if not path.exists():
        return
    lock = JournalFileSymlinkLock(str(path))
    lock.acquire()
    try:
        with path.open("rb+") as stream:
            text = stream.read()
            if not FIRST_BYTES.startswith(text[: len(FIRST_BYTES)]):
                raise ValueError("it begins differently")
            stream.truncate(text.rfind(b"\n") + 1)
    finally:
        lock.release()
