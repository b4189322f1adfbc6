"""Files that are whole or absent: everything is written aside, then renamed into place. Disks that are full or away."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

PATIENCE = 600.0  # seconds
TRY_AGAIN = 1.0  # seconds between tries
MAY_PASS = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO),
    *(errno.ESTALE, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENOTCONN),
}
"""What a disk says that is full, or that the network has lost."""


def patiently(write: Callable[[], None], waiting: Callable[[OSError, int], None]) -> None:
    """Write; to a disk that is full or away again and again, for `PATIENCE`.

    Args:
        write: leaves nothing behind when it raises.
        waiting: called before every further try, with the number of those that failed.

    Raises:
        OSError: the disk has not come back, or it is another error.
    """
    began = time.monotonic()
    for tries in itertools.count(1):
        try:
            write()
        except OSError as error:
            if error.errno not in MAY_PASS or time.monotonic() - began > PATIENCE:
                raise
            waiting(error, tries)
            time.sleep(TRY_AGAIN)
        else:
            return


@contextlib.contextmanager
def appended_whole(path: Path) -> Iterator[None]:
    """Inside, append to a file that nobody else writes; when the disk refuses, it is as long as before."""
    size = path.stat().st_size if path.exists() else 0
    try:
        yield
    except OSError:
        with contextlib.suppress(OSError):
            os.truncate(path, size)
        raise


def digest(*parts: str | bytes) -> str:
    """A hexadecimal fingerprint (128 bits) of the parts; ``("ab", "c")`` differs from ``("a", "bc")``."""
    state = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        state.update(len(data).to_bytes(8, "little"))
        state.update(data)
    return state.hexdigest()


def file_digest(path: Path) -> str:
    """The fingerprint of a file's bytes."""
    state = hashlib.blake2b(digest_size=16)
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            state.update(block)
    return state.hexdigest()


@contextlib.contextmanager
def written_aside(target: Path) -> Iterator[Path]:
    """A path beside ``target`` to write a file or folder to; renamed to ``target`` when the block ends well.

    An existing file is replaced in one step. An existing folder is moved away first and deleted after the
    rename, so a reader finds the old one or the new one. Nothing is left behind when the block raises.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.parent / f".{target.name}.{uuid.uuid4().hex[:8]}.part"
    try:
        yield aside
        if target.is_dir():
            old = target.parent / f".{target.name}.{uuid.uuid4().hex[:8]}.old"
            target.rename(old)
            aside.rename(target)
            shutil.rmtree(old, ignore_errors=True)
        else:
            aside.replace(target)
    finally:
        if aside.is_dir():
            shutil.rmtree(aside, ignore_errors=True)
        else:
            aside.unlink(missing_ok=True)


class Stillness:
    """How long nobody has touched a file, or made it, since this object was made.

    By this process's own steady clock, so clocks that differ or jump do no harm.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp = -1
        self._since = time.monotonic()

    def seconds(self) -> float:
        """As far as it was looked at: a change counts from the look that found it."""
        with contextlib.suppress(OSError):  # not made yet, or out of reach
            stamp = self._path.stat().st_mtime_ns
            if stamp != self._stamp:
                self._stamp, self._since = stamp, time.monotonic()
        return time.monotonic() - self._since


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON, aside first."""
    with written_aside(path) as aside:
        aside.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read one JSON file.

    Raises:
        FileNotFoundError, json.JSONDecodeError: for the caller to explain.
    """
    return json.loads(path.read_text(encoding="utf-8"))
