"""Probe of one cluster node: its versions, and its access to storages and files. Independent of Ray."""

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
"""Libraries whose versions must be equal on all nodes, as must munchray and Python: results depend on them."""


@dataclass(frozen=True)
class Requirements:
    """Storages and files that every node must be able to access.

    Args:
        marker: name of a file that the driver has written to every storage.
        storages: storages to read and write.
        files: sizes in bytes, by path.
    """

    marker: str
    storages: tuple[StoragePath, ...]
    files: Mapping[str, int]


@dataclass(frozen=True)
class NodeView:
    """The state of a node.

    Args:
        versions: versions of Python, munchray and libraries.
        problems: problems by storage or file.
    """

    host: str
    versions: Mapping[str, str]
    problems: Mapping[str, str]


def inspect_node(required: Requirements, node: str) -> NodeView:
    """Check this node, and write a file ``MARKER.NODE`` to every storage."""
    problems = {**dict(_storage_problems(required, node)), **dict(_file_problems(required.files))}
    return NodeView(socket.gethostname(), versions(), problems)


@functools.cache
def versions() -> dict[str, str]:
    """Versions of Python, munchray (with a hash of its code) and the libraries that results depend on."""
    package = Path(munchray.__file__).parent
    code = digest(*(path.read_bytes() for path in sorted(package.rglob("*.py"))))[:8]
    installed = {name: importlib.metadata.version(name) for name in LIBRARIES}
    return {"python": platform.python_version(), "munchray": f"{munchray.__version__} ({code})", **installed}


def _storage_problems(required: Requirements, node: str) -> Iterator[tuple[str, str]]:
    for storage in required.storages:
        try:
            storage.check(writable=True)
            if storage.has(required.marker):
                storage.folder.mkdir(parents=True, exist_ok=True)
                storage.mark(f"{required.marker}.{node}")
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
