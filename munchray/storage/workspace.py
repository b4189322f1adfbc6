"""A folder for one process to work in, of which a bucket has what is needed to go on elsewhere."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from munchray.storage.path import StoragePath


class Workspace:
    """A folder of its own on this machine's disk, begun with all that a storage holds; or the storage itself, on disk.

    Attributes:
        folder: to work in.
    """

    def __init__(self, storage: StoragePath) -> None:
        self._storage = storage
        own = storage.folder.with_name(f".{storage.folder.name}.work")
        self.folder = own if storage.remote else storage.folder
        self._kept: dict[str, Stamp] = {}

    def upload(self) -> None:
        """Have the storage hold what the folder holds. What was written last is put last, as a reader relies on."""
        if not self._storage.remote:
            return
        now = {path.name: _stamp(path) for path in self.folder.iterdir() if not path.name.startswith(".")}
        for name in sorted(now, key=now.__getitem__):
            if self._kept.get(name) != now[name]:
                self._storage.upload(name, self.folder / name)
        for name in self._kept.keys() - now.keys():
            self._storage.delete_remote(name)
        self._kept = now

    def fill(self) -> None:
        """Begin with what the storage holds."""
        shutil.rmtree(self.folder, ignore_errors=True)  # of a process that died here
        self.folder.mkdir(parents=True)
        self._storage.copy_to(self.folder)
        self._kept = {path.name: _stamp(path) for path in self.folder.iterdir()}


Stamp = tuple[int, tuple[tuple[str, int], ...]]
"""When a file or folder was written, and what is in it."""


@contextlib.contextmanager
def working_in(storage: StoragePath) -> Iterator[Workspace]:
    """A folder to work in; one that is this machine's own goes in the end."""
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
