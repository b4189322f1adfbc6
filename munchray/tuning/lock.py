"""One process at a time works in a folder; the right to ends with that process. (filelock)"""

from __future__ import annotations

import shutil

from filelock import FileLock, Timeout

from munchray.errors import InputError, Problem, WorkError
from munchray.files import read_json, write_json
from munchray.storage import owners
from munchray.storage.path import StoragePath

LOCK = "search.lock"
OWNER = "owner.json"
SECONDS_TO_REFRESH = 10.0
"""How long somebody who only looks may be busy with this machine's copy."""


class FolderLock:
    """The right to work in a folder: ``tuning.lock``, and in ``owner.json`` who has it.

    Where the folder is the copy of a storage in a bucket, its owner has the right among all machines as well.
    """

    def __init__(self, storage: StoragePath) -> None:
        self._storage = storage
        self._lock = FileLock(storage.folder / LOCK)
        self._claim = storage.claim("search") if storage.remote else None

    def acquire(self) -> None:
        """Be the only one, unless this process is already; a copy of what is in a bucket is brought up to date.

        Raises:
            InputError: another process works there.
        """
        if self._lock.is_locked:
            return
        try:
            self._lock.acquire(timeout=SECONDS_TO_REFRESH if self._storage.remote else 0)
        except Timeout:
            raise InputError(self._taken(self._owner_text())) from None
        if self._claim and (other := self._claim.acquire()):
            self._lock.release()
            fix = "Wait for it or stop it; if it was killed, try again in a minute"
            raise InputError(self._taken(owners.shown(other), fix))
        write_json(self._storage.folder / OWNER, owners.this_process())
        if self._storage.remote:
            self._storage.sync()

    def check(self) -> None:
        """See that the right is still ours.

        Raises:
            WorkError: a machine that was asleep, or cut off, wakes up and another has gone on with its work.
        """
        if self._claim and self._claim.lost:
            raise WorkError(f"another process has gone on with {self._storage}, having heard nothing from this one")

    def release(self) -> None:
        """Let others in."""
        if self._claim and self._lock.is_locked:
            self._claim.release()
        self._lock.release()

    def _taken(self, by: str, fix: str = "Wait for it or stop it; munchray results JOB shows how far it is") -> Problem:
        return Problem(str(self._storage), f"another process runs this search ({by})", fix=fix)

    def _owner_text(self) -> str:
        try:
            return owners.shown(read_json(self._storage.folder / OWNER))
        except (OSError, ValueError, KeyError, TypeError):
            return "it is just starting"


def look_at(storage: StoragePath) -> None:
    """Bring this machine's copy up to date, for somebody who only reads; on a shared disk there is nothing to do.

    Raises:
        InputError: the bucket does not answer.
    """
    if not storage.remote:
        return
    storage.check(writable=False)
    storage.folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(storage.folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:  # the process that works here has what is newest
        return
    with lock:
        if not storage.sync():  # somebody deleted it there
            shutil.rmtree(storage.folder)
