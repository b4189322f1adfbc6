"""The exclusive right to run a search, or trainings, in a folder; and reading one that another process runs."""

from __future__ import annotations

import shutil

from munchray.errors import InputError, Problem, WorkError
from munchray.storage.path import StoragePath

NAME = "search"
READERS_S = 10.0
"""For which readers may be busy with this machine's copy of a folder in a bucket."""


class FolderLock:
    """The right to run a folder; where that is in a bucket, the right to this machine's copy of it as well."""

    def __init__(self, storage: StoragePath) -> None:
        self._storage = storage
        self._leases = {storage.lease(NAME): 0.0}
        if storage.remote:
            self._leases[_copy(storage).lease(NAME)] = READERS_S
        self._acquired = False

    def acquire(self) -> None:
        """Acquire it, unless this process has; then bring the copy of a folder in a bucket up to date.

        Raises:
            InputError: another process has it.
        """
        if self._acquired:
            return
        for lease, patience_s in self._leases.items():
            if owner := lease.acquire_or_owner(patience_s):
                self.release()
                found = f"another process runs this search ({owner})"
                fix = "Wait for it or stop it; munchray results JOB shows how far it is"
                raise InputError(Problem(str(self._storage), found, fix=fix))
        self._acquired = True
        if self._storage.remote:
            self._storage.sync()

    def check(self) -> None:
        """Check that no other process has taken over.

        Raises:
            WorkError: one has, while this one was stopped or cut off.
        """
        if any(lease.lost for lease in self._leases):
            raise WorkError(f"another process has taken over {self._storage}, having seen no heartbeat of this one")

    def release(self) -> None:
        """Let other processes acquire it."""
        for lease in self._leases:
            lease.release()
        self._acquired = False


def sync_for_reading(storage: StoragePath) -> None:
    """Bring this machine's copy of a folder in a bucket up to date, for a reader; a folder on disk needs nothing.

    Raises:
        InputError: the bucket does not answer.
    """
    if not storage.remote:
        return
    storage.check(writable=False)
    lease = _copy(storage).lease(NAME)
    if not lease.acquire():  # the process that runs the folder has the newest files there
        return
    try:
        if not storage.sync():  # it was deleted from the bucket
            shutil.rmtree(storage.folder)
    finally:
        lease.release()


def _copy(storage: StoragePath) -> StoragePath:
    return StoragePath(str(storage.folder))
