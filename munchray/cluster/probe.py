"""What one node of a cluster has and sees. Knows no Ray: it runs on a node and looks around."""

from __future__ import annotations

import functools
import importlib.metadata
import platform
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import munchray
from munchray.errors import InputError
from munchray.files import digest
from munchray.storage.path import StoragePath

LIBRARIES = ("torch", "ray", "numpy")
"""Besides munchray and Python, what must be the same everywhere: the same weights everywhere, or none."""


@dataclass(frozen=True)
class Wanted:
    """What every node must see.

    Args:
        mark: the name of a file that the asking process has written to every storage.
        storages: to be read and written.
        files: their sizes in bytes.
    """

    mark: str
    storages: tuple[StoragePath, ...]
    files: Mapping[str, int]


@dataclass(frozen=True)
class View:
    """What a node answers.

    Args:
        versions: of Python, munchray and libraries.
        problems: what it does not see as it should, by what that is.
    """

    host: str
    versions: Mapping[str, str]
    problems: Mapping[str, str]


def look(wanted: Wanted, node: str) -> View:
    """Look around on this node, and leave a file in every storage: ``mark.node``."""
    problems = {**dict(_storage_problems(wanted, node)), **dict(_file_problems(wanted.files))}
    return View(socket.gethostname(), versions(), problems)


@functools.cache
def versions() -> dict[str, str]:
    """Of Python, munchray with a fingerprint of its code, and the libraries that decide results."""
    package = Path(munchray.__file__).parent
    code = digest(*(path.read_bytes() for path in sorted(package.rglob("*.py"))))[:8]
    installed = {name: importlib.metadata.version(name) for name in LIBRARIES}
    return {"python": platform.python_version(), "munchray": f"{munchray.__version__} ({code})", **installed}


def _storage_problems(wanted: Wanted, node: str) -> Iterator[tuple[str, str]]:
    for storage in wanted.storages:
        try:
            storage.check(writable=True)
            if storage.has(wanted.mark):
                storage.folder.mkdir(parents=True, exist_ok=True)
                storage.mark(f"{wanted.mark}.{node}")
            else:
                yield str(storage), "is another folder there" if storage.folder.exists() else "is not there"
        except InputError as error:
            yield str(storage), f"is out of reach there: {error.problems[0].found}"
        except OSError as error:
            yield str(storage), f"cannot be written there ({error.strerror})"


def _file_problems(files: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    for path, size in files.items():
        try:
            found = Path(path).stat().st_size
        except OSError as error:
            yield path, f"cannot be read there ({error.strerror})"
        else:
            if found != size:
                yield path, f"has {found:,} bytes there, {size:,} here"
