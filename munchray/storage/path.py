"""A folder that all processes of a search see: on a disk that they share, or in a bucket.

A folder on disk needs nothing else. Of one in a bucket every machine has a copy on its own disk, in which all code
reads and writes plain files, and what other machines must see is uploaded and downloaded by name:

    a file                                                              an object of the same name
    a folder that is written as a whole (a model, a stage, features)    one object, NAME.tar
"""

from __future__ import annotations

import contextlib
import functools
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from filelock import FileLock

from munchray.files import digest
from munchray.storage import address
from munchray.storage.address import PACKED, Address
from munchray.storage.lease import DiskLeaseStore, Lease

if TYPE_CHECKING:
    from munchray.storage.bucket import Bucket, Object

AT_ONCE = 8
"""Files downloaded concurrently: most are small, and each waits for an answer."""


@dataclass(frozen=True)
class StoragePath:
    """A folder on disk or in a bucket; travels to other machines as its text.

    Args:
        text: a path, or an address such as ``s3://bucket/path?region=eu-west-1``.
    """

    text: str

    @classmethod
    def at(cls, where: str | Path) -> StoragePath:
        """From a path or an address.

        Raises:
            ValueError: it looks like an address and is none.
        """
        text = str(where)
        return cls(str(address.parse(text)) if address.is_address(text) else text)

    @property
    def remote(self) -> bool:
        """Whether it is in a bucket."""
        return address.is_address(self.text)

    @property
    def folder(self) -> Path:
        """This machine's folder of its files."""
        if not self.remote:
            return Path(self.text)
        there = self._address
        return cache_folder() / f"{there.bucket}-{digest(there.query)[:8]}" / there.path

    def __truediv__(self, name: str) -> StoragePath:
        return StoragePath(str(self._address / name) if self.remote else str(Path(self.text, name)))

    def __str__(self) -> str:
        return self.text

    def within(self, path: Path) -> StoragePath:
        """The storage path of a folder below this one, by its path on this machine."""
        return self / path.relative_to(self.folder).as_posix() if self.remote else StoragePath(str(path))

    def check(self, *, writable: bool) -> None:
        """Check that a bucket answers and, if it is to be written, takes objects and honours conditional writes.

        Raises:
            InputError: it does not.
        """
        if self.remote:
            self._bucket.check(self._address.path, writable=writable)
        if self.remote and writable:
            from munchray.storage.bucket_lease import check_conditional_writes

            check_conditional_writes(self._address / f".probe-{uuid4().hex[:8]}")

    def upload(self, name: str, source: Path | None = None) -> None:
        """Upload a file or folder as it is now; ``source`` if it lies elsewhere on this machine."""
        if self.remote:
            path = source or self.folder / name
            put = self._bucket.put_folder if path.is_dir() else self._bucket.put
            put(self._key(name), path)

    def download(self, name: str) -> None:
        """Download a folder into the local copy unless it is there; concurrent callers download once."""
        target = self.folder / name
        if not self.remote or target.exists():
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_name(f".{target.name}.lock")):
            if not target.exists():
                self._bucket.fetch_folder(self._key(name), target)

    def sync(self) -> bool:
        """Download the files, but not the folders, that changed since the last download; whether there are any."""
        if not self.remote:
            return self.folder.exists()
        found = [each for each in self.objects() if not each.key.endswith(PACKED)]
        with ThreadPoolExecutor(AT_ONCE) as threads:
            list(threads.map(self._fetch_if_changed, found))
        return bool(found)

    def copy_to(self, folder: Path) -> None:
        """Download everything, folders as well, into another folder of this machine."""
        for each in self.objects():
            name = each.key.removesuffix(PACKED)
            fetch = self._bucket.fetch if name == each.key else self._bucket.fetch_folder
            fetch(self._key(name), folder / name)

    def mark(self, name: str) -> None:
        """Write an empty file that other machines see.

        Raises:
            OSError: the folder cannot be written.
        """
        if self.remote:
            self._bucket.put_text(self._key(name), "")
        else:
            (self.folder / name).touch()

    def read(self, name: str) -> str | None:
        """Read a file as other machines see it; None if there is none."""
        if self.remote:
            return self._bucket.text(self._key(name))
        path = self.folder / name
        return path.read_text(encoding="utf-8") if path.exists() else None

    def has(self, name: str) -> bool:
        """Whether other machines see a file or folder."""
        return self._bucket.has(self._key(name)) if self.remote else (self.folder / name).exists()

    def delete_remote(self, name: str) -> None:
        """Delete a file or folder from the bucket; the copy on this machine stays."""
        if self.remote:
            self._bucket.remove(self._key(name))

    def objects(self) -> list[Object]:
        """The bucket's objects below this path, by key below it; hidden ones, such as leases, are left out."""
        begin = len(self._address.path) + 1 if self._address.path else 0
        found = [replace(each, key=each.key[begin:]) for each in self._bucket.objects(self._address.path)]
        return [each for each in found if not any(part.startswith(".") for part in each.key.split("/"))]

    def file_of(self, folder: str, name: str) -> bytes | None:
        """Read a file of a folder in a bucket, without downloading the others."""
        return self._bucket.file_in_folder(self._key(folder), name)

    def lease(self, name: str) -> Lease:
        """The right to what is named, among all processes that see this path: ``NAME.lease``, hidden in a bucket."""
        if not self.remote:
            return Lease(DiskLeaseStore(self.folder / f"{name}.lease"))
        from munchray.storage.bucket_lease import BucketLeaseStore  # importing boto3 takes a moment

        return Lease(BucketLeaseStore(self._address / f".{name}.lease"))

    @property
    def _address(self) -> Address:
        return address.parse(self.text)

    @property
    def _bucket(self) -> Bucket:
        return _opened(self._address.bucket, self._address.query)

    def _key(self, name: str) -> str:
        return (self._address / name).path

    def _fetch_if_changed(self, found: Object) -> None:
        target = self.folder / found.key
        with contextlib.suppress(FileNotFoundError):
            about = target.stat()
            if (about.st_size, int(about.st_mtime)) == (found.size, int(found.changed)):
                return
        if self._bucket.fetch(self._key(found.key), target):
            os.utime(target, (found.changed, found.changed))


def cache_folder() -> Path:
    """The folder of a machine's copies of what is in buckets; it may be deleted while nothing runs."""
    return Path(os.environ.get("MUNCHRAY_CACHE") or "~/.cache/munchray").expanduser()


@functools.cache
def _opened(name: str, query: str) -> Bucket:
    from munchray.storage.bucket import Bucket  # importing pyarrow takes a moment

    return Bucket(Address(name, "", query))
