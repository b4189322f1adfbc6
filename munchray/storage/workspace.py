"""Working folders: a process writes plain files, and a bucket receives what is needed to resume on another machine."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from munchray.storage.path import StoragePath


class Workspace:
    """A working folder beside the local copy, filled from a bucket; for a storage on disk, that folder itself.

    Attributes:
        folder: to write to.
    """

    def __init__(self, storage: StoragePath) -> None:
        self._storage = storage
        own = storage.folder.with_name(f".{storage.folder.name}.work")
        self.folder = own if storage.remote else storage.folder
        self._uploaded: dict[str, Stamp] = {}

    def upload(self) -> None:
        """Make the bucket hold what the folder holds; what was written last is uploaded last, as readers rely on."""
        if not self._storage.remote:
            return
        now = {path.name: _stamp(path) for path in self.folder.iterdir() if not path.name.startswith(".")}
        for name in sorted(now, key=now.__getitem__):
            if self._uploaded.get(name) != now[name]:
                self._storage.upload(name, self.folder / name)
        for name in self._uploaded.keys() - now.keys():
            self._storage.delete_remote(name)
        self._uploaded = now

    def fill(self) -> None:
        """Empty the folder and download what the bucket holds."""
        shutil.rmtree(self.folder, ignore_errors=True)  # left by a process that died
        self.folder.mkdir(parents=True)
        self._storage.copy_to(self.folder)
        self._uploaded = {path.name: _stamp(path) for path in self.folder.iterdir()}


Stamp = tuple[int, tuple[tuple[str, int], ...]]
"""Newest modification time of a file or folder in nanoseconds, and the size of each file in it."""


@contextlib.contextmanager
def working_in(storage: StoragePath) -> Iterator[Workspace]:
    """Fill a workspace; delete its folder when the block ends, unless it is the storage itself."""
    work = Workspace(storage)
    if not storage.remote:
        yield work
        return
    work.fill()
    try:
        yield work
    finally:
        shutil.rmtree(work.folder, ignore_errors=True)


def _stamp(path: Path) -> Stamp:
    files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
    about = [(each.relative_to(path.parent).as_posix(), each.stat()) for each in sorted(files)]
    newest = max((stat.st_mtime_ns for _, stat in about), default=0)
    return newest, tuple((name, stat.st_size) for name, stat in about)
