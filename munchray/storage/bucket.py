"""Objects of an S3 bucket: put, fetched, listed, removed, with retries while the server does not answer. (pyarrow)"""

from __future__ import annotations

import os
import re
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from pyarrow import fs

from munchray.errors import HaltError, InputError, Problem
from munchray.files import written_aside
from munchray.retry import PATIENCE_S, retry
from munchray.storage.address import KEYS, PACKED, Address

CONNECT_SECONDS = 5.0
BLOCK = 1 << 20

T = TypeVar("T")


@dataclass(frozen=True)
class Object:
    """One object.

    Args:
        key: its name below the bucket.
        size: bytes.
        changed: seconds since 1970 by the server's clock, whole ones.
    """

    key: str
    size: int
    changed: float


class Bucket:
    """The bucket of an address; keys are names below it. An object is whole or absent, as S3 has it.

    Every operation but `check` is retried for `retry.PATIENCE_S`, and then raises `HaltError`.
    """

    def __init__(self, address: Address) -> None:
        self._address = address
        options: dict[str, Any] = {"connect_timeout": CONNECT_SECONDS, "allow_delayed_open": True, **address.options}
        if KEYS[0] in os.environ or "endpoint_override" in options:
            # Without this, pyarrow asks Amazon's own network for a key and waits.
            os.environ.setdefault("AWS_EC2_METADATA_DISABLED", "true")
        self._files = fs.S3FileSystem(**options)

    def check(self, path: str, *, writable: bool) -> None:
        """Check that the bucket answers and takes objects at a path, without retries.

        Raises:
            InputError: it does not.
        """
        name, where = self._address.bucket, str(self._address / path)
        try:
            if self._files.get_file_info(name).type == fs.FileType.NotFound:
                fix = "Create it, or correct the address"
                raise InputError(Problem(where, f"{self._address.server} has no bucket '{name}'", fix=fix))
            if writable:
                probe = self._path((self._address / path / f".probe-{uuid4().hex[:8]}").path)
                self._put_text(probe, "")
                self._files.delete_file(probe)
        except OSError as error:
            raise InputError(self._refused(where, str(error))) from error

    def put(self, key: str, source: Path) -> None:
        """Upload a file."""

        def upload() -> None:
            with source.open("rb") as file, self._files.open_output_stream(self._path(key)) as stream:
                shutil.copyfileobj(file, stream, BLOCK)

        self._patiently(upload)

    def put_folder(self, key: str, source: Path) -> None:
        """Upload a folder as one object, its small files first."""

        def upload() -> None:
            with (
                self._files.open_output_stream(self._path(key + PACKED)) as stream,
                tarfile.open(fileobj=stream, mode="w|", bufsize=BLOCK) as packed,
            ):
                for path in sorted(source.rglob("*"), key=lambda path: path.stat().st_size):
                    packed.add(path, path.relative_to(source).as_posix(), recursive=False)

        self._patiently(upload)

    def put_text(self, key: str, text: str) -> None:
        """Write a small object."""
        self._patiently(lambda: self._put_text(self._path(key), text))

    def text(self, key: str) -> str | None:
        """Read a small object; None if there is none."""

        def download() -> str:
            with self._files.open_input_stream(self._path(key)) as stream:
                return bytes(stream.read()).decode()

        return self._patiently(_or_none(download))

    def fetch(self, key: str, target: Path) -> bool:
        """Download an object to a file; False if there is none."""

        def download() -> bool:
            with (
                self._files.open_input_stream(self._path(key)) as stream,
                written_aside(target) as aside,
                aside.open("wb") as file,
            ):
                shutil.copyfileobj(stream, file, BLOCK)
            return True

        return bool(self._patiently(_or_none(download)))

    def fetch_folder(self, key: str, target: Path) -> bool:
        """Download what `put_folder` uploaded, replacing an older folder; False if it is absent or cut off."""

        def download() -> bool:
            with (
                self._files.open_input_stream(self._path(key + PACKED)) as stream,
                written_aside(target) as aside,
                tarfile.open(fileobj=stream, mode="r|", bufsize=BLOCK) as packed,
            ):
                aside.mkdir()
                packed.extractall(aside, filter="data")
            return True

        try:
            return bool(self._patiently(_or_none(download)))
        except tarfile.TarError:  # its writer failed halfway
            return False

    def file_in_folder(self, key: str, name: str) -> bytes | None:
        """Read one file of a folder, and the object no further; None if there is none."""

        def download() -> bytes | None:
            with (
                self._files.open_input_stream(self._path(key + PACKED)) as stream,
                tarfile.open(fileobj=stream, mode="r|") as packed,
            ):
                found = next((entry for entry in packed if entry.name == name), None)
                file = packed.extractfile(found) if found else None
                return file.read() if file else None

        try:
            return self._patiently(_or_none(download))
        except tarfile.TarError:
            return None

    def has(self, key: str) -> bool:
        """Whether there is a file or folder of that name."""
        paths = [self._path(key), self._path(key + PACKED)]
        return any(info.is_file for info in self._patiently(lambda: self._files.get_file_info(paths)))

    def objects(self, prefix: str) -> list[Object]:
        """All objects whose key begins with ``prefix/``, by key."""
        chosen = fs.FileSelector(self._path(prefix), recursive=True, allow_not_found=True)
        found = self._patiently(lambda: self._files.get_file_info(chosen))
        key = len(self._address.bucket) + 1
        listed = [Object(each.path[key:], each.size, each.mtime_ns / 1e9) for each in found if each.is_file]
        return sorted(listed, key=lambda each: each.key)

    def remove(self, key: str) -> None:
        """Delete a file or folder, if there is one."""
        for path in (self._path(key), self._path(key + PACKED)):
            self._patiently(_or_none(partial(self._files.delete_file, path)))

    def _put_text(self, path: str, text: str) -> None:
        with self._files.open_output_stream(path) as stream:
            stream.write(text.encode())

    def _path(self, key: str) -> str:
        return f"{self._address.bucket}/{key}".rstrip("/")

    def _patiently(self, act: Callable[[], T]) -> T:
        """Call until it succeeds: `check` has reported what is wrong for good."""
        return retry(act, away(self._address))

    def _refused(self, where: str, said: str) -> Problem:
        if "NETWORK" in said or "curlCode" in said:
            found, fix = f"{self._address.server} does not answer", "Start it, or correct endpoint_override"
        elif not all(os.environ.get(name) for name in KEYS):
            found = f"{self._address.server} refuses access without keys"
            fix = f"Set {KEYS[0]} and {KEYS[1]} in the environment, on every node"
        else:
            found = f"{self._address.server} refuses access"
            fix = f"Correct {KEYS[0]} and {KEYS[1]}, or give that key the right to read, write and list the bucket"
        return Problem(where, f"{found} ({_code(said)})", fix=fix)


def away(address: Address) -> Callable[[OSError], HaltError | None]:
    """What to end with when the server of an address has not answered for long; None for errors of other origin."""

    def explain(error: OSError) -> HaltError | None:
        if error.errno is not None:  # of this machine's own disk, or there is no such object
            return None
        silent = f"{address} has not answered for {PATIENCE_S / 60:.0f} minutes ({_code(str(error))})"
        return HaltError(f"{silent}; run the same command to resume when it does")

    return explain


def _or_none(act: Callable[[], T]) -> Callable[[], T | None]:
    """The same call, with None where there is no such object."""

    def tried() -> T | None:
        try:
            return act()
        except FileNotFoundError:
            return None

    return tried


def _code(said: str) -> str:
    """The server's name for its refusal, or the first line of the message."""
    named = re.search(r"AWS Error (\w+)", said)
    return named[1] if named else said.strip().splitlines()[0]
