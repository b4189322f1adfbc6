"""Files that are whole or absent: everything is written aside, then renamed into place."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any


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
    """Yield a path beside ``target`` to write a file or folder to; rename it to ``target`` when the block succeeds.

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
    """Time since a file was last modified, as observed since this object was made.

    By this process's monotonic clock, so clocks that differ or jump do no harm.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp = -1
        self._since = time.monotonic()

    def seconds(self) -> float:
        """Seconds since the call that found the last modification; a missing file counts as unmodified."""
        with contextlib.suppress(OSError):
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
