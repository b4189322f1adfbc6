"""One process at a time works in a folder; the system releases the lock when a process dies. (filelock)"""

from __future__ import annotations

import os
import socket
from pathlib import Path

from filelock import FileLock, Timeout

from munchray.errors import InputError, Problem
from munchray.files import read_json, write_json


class FolderLock:
    """The right to work in a folder: ``search.lock``, and in ``owner.json`` who has it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = FileLock(folder / "search.lock")

    def claim(self) -> None:
        """Be the only one, unless this process is already.

        Raises:
            InputError: another process works there.
        """
        if self._lock.is_locked:
            return
        owner = self._folder / "owner.json"
        try:
            self._lock.acquire(blocking=False)
        except Timeout:
            found = f"another process runs this search ({_owner_text(owner)})"
            fix = "Wait for it or stop it; munchray results JOB shows how far it is"
            raise InputError(Problem(str(self._folder), found, fix=fix)) from None
        write_json(owner, {"host": socket.gethostname(), "pid": os.getpid()})

    def release(self) -> None:
        """Let others in."""
        self._lock.release()


def _owner_text(path: Path) -> str:
    try:
        owner = read_json(path)
        return f"process {owner['pid']} on {owner['host']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "it is just starting"
