"""A cache of trained stages that searches, processes and machines share, so that each stage is trained once.

With plain SGD the state between two stages is the weights alone, and all randomness of a stage comes from the seed and
the prefix of the order, so orders with a common prefix share its stages bit for bit (Watanabe et al. 2022, Alg. 4).
A stage's folder is named by a digest of all that decides its result:

    format.json                  the version of this layout
    KEY/weights.safetensors      shared layers, and the heads of the main corpus and the prefix
    KEY/stage.json               scores, curve, what was trained, and the fingerprint of the weights
    KEY.lease                    a process is training it

In a bucket, of which each machine has a copy, a stage is one object:

    KEY.tar                      the folder
    KEY.used                     empty; its modification time says when a machine last downloaded the stage
    .KEY.lease                   a process is training it

Should a lease be lost, two processes train the same stage. The first to finish publishes; the results are equal.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from munchray.errors import InputError, Problem
from munchray.files import digest, file_digest, read_json, write_json
from munchray.storage.address import PACKED
from munchray.storage.lease import Lease
from munchray.storage.path import StoragePath

FORMAT = {"format": "munchray stages", "version": 1}
FORMAT_FILE = "format.json"
WEIGHTS = "weights.safetensors"
RECORD = "stage.json"
USED = ".used"


@dataclass(frozen=True)
class CachedStage:
    """A trained stage.

    Args:
        weights: the file of its weights.
        record: its scores, curve and settings, as JSON.
    """

    weights: Path
    record: dict[str, Any]


@dataclass(frozen=True)
class StageInfo:
    """Summary of a cached stage.

    Args:
        corpora: main and the auxiliaries in order.
        size: bytes.
        used: when it was trained or last used, in seconds since 1970.
        damage: what is wrong with it; empty if nothing is, or if it was not verified.
    """

    key: str
    corpora: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    dev_f1: float = math.nan
    size: int = 0
    used: float = 0.0
    damage: str = ""

    @classmethod
    def read(cls, folder: Path, verify: bool) -> StageInfo:
        """From a folder of the cache."""
        try:
            damage = inspect(folder)[0] if verify else ""
            record, used = read_json(folder / RECORD), folder.stat().st_mtime
            corpora, settings, score = tuple(record["corpora"]), record["settings"], record["dev_f1"]
            return cls(folder.name, corpora, settings, score, size_of(folder), used, damage)
        except (OSError, ValueError, KeyError, TypeError):
            return cls(folder.name, size=size_of(folder), damage="its record cannot be read")

    @classmethod
    def download(cls, storage: StoragePath, key: str, size: int, used: float) -> StageInfo:
        """From a bucket, of which only the record is downloaded."""
        try:
            record = json.loads(storage.file_of(key, RECORD) or "")
            return cls(key, tuple(record["corpora"]), record["settings"], record["dev_f1"], size, used)
        except (ValueError, KeyError, TypeError):
            return cls(key, size=size, used=used, damage="its record cannot be read")


class StageCache:
    """The stages that all searches of a storage share.

    Args:
        storage: its folder, made when the first stage is published.
        most_bytes: after a stage is published, the least recently used ones are deleted until this holds.
        warn: told what goes wrong without stopping a trial: a cache that cannot be written only means more work.

    Raises:
        InputError: the folder holds something else, or stages of another version.
    """

    def __init__(self, storage: StoragePath, most_bytes: float, warn: Callable[[str], None] = lambda _: None) -> None:
        self.storage = storage
        self.folder = storage.folder
        self._most_bytes = most_bytes
        self._warn = warn
        _check_format(storage)

    @contextlib.contextmanager
    def get_or_lock(self, key: str, waiting: Callable[[], None] = lambda: None) -> Iterator[CachedStage | None]:
        """Yield the cached stage, or None while holding its lease; wait while another process trains it.

        Args:
            waiting: called at every poll.
        """
        lease = self.storage.lease(key)
        while (stage := self.get(key)) is None:
            if self._acquire(lease):
                try:
                    yield self.get(key)  # it may have been published since the last look
                finally:
                    lease.release()
                return
            waiting()
            time.sleep(lease.poll_s)
        yield stage

    def get(self, key: str) -> CachedStage | None:
        """A whole stage, downloaded if need be, or None; a damaged one is deleted."""
        folder = self.folder / key
        if self.storage.remote and not folder.exists():
            self.storage.download(key)
            if folder.exists():
                self.storage.mark(key + USED)
        try:
            damage, record = inspect(folder)
        except OSError:  # absent, or the whole cache is out of reach
            return None
        if damage:
            self._warn(f"{folder}: {damage}; training that stage again")
            _delete(folder)
            self.storage.delete_remote(key)
            return None
        with contextlib.suppress(OSError):  # the time of last use, by which stages are evicted
            os.utime(folder)
        return CachedStage(folder / WEIGHTS, record)

    def publish(self, key: str, record: dict[str, Any], save_weights: Callable[[Path], None]) -> None:
        """Add a stage, unless another process was first; if the cache cannot be written, warn."""
        aside = self.folder / f".{key}.{uuid.uuid4().hex[:8]}.part"
        try:
            aside.mkdir(parents=True)
            if not (self.folder / FORMAT_FILE).exists():
                write_json(self.folder / FORMAT_FILE, FORMAT)
                self.storage.upload(FORMAT_FILE)
            save_weights(aside / WEIGHTS)
            described = {**record, "weights": file_digest(aside / WEIGHTS)}
            write_json(aside / RECORD, {**described, "digest": _digest_of(described)})
            self.storage.upload(key, aside)
            aside.rename(self.folder / key)
            self.prune(self._most_bytes)
        except OSError as error:
            if not (self.folder / key).exists():
                self._warn(f"the stage cache {self.folder} cannot be written ({error.strerror}); continuing without")
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    def entries(self) -> list[Path]:
        """The folders of all stages on this machine, least recently used first."""
        timed = []
        for folder in self.folder.glob("[0-9a-f]*"):
            with contextlib.suppress(OSError):  # deleted by another process meanwhile
                timed += [(folder.stat().st_mtime_ns, folder)] if folder.is_dir() else []
        return [folder for _, folder in sorted(timed)]

    def stages(self, *, verify: bool) -> list[StageInfo]:
        """All stages, least recently used first; damaged ones stay.

        Args:
            verify: read every byte.
        """
        shared = self._shared()
        if shared and not verify:
            return [StageInfo.download(self.storage, key, *found) for key, found in shared.items()]
        for key in shared:
            self.storage.download(key)
        return [StageInfo.read(folder, verify) for folder in self.entries()]

    def prune(self, most_bytes: float) -> list[Path]:
        """Delete the least recently used stages until the rest fits; return those deleted.

        The limit holds for a bucket and for each machine's copy of it, each by itself.
        """
        excess = beyond({folder.name: size_of(folder) for folder in self.entries()}, most_bytes)
        for key in (shared := beyond({key: size for key, (size, _) in self._shared().items()}, most_bytes)):
            self.storage.delete_remote(key)
        deleted = [self.folder / key for key in dict.fromkeys([*excess, *shared])]
        for folder in deleted:
            _delete(folder)
        return deleted

    def _shared(self) -> dict[str, tuple[int, float]]:
        """Bytes and time of last use of every stage in the bucket, least recently used first; empty on disk."""
        sizes: dict[str, int] = {}
        used: dict[str, float] = {}
        for found in self.storage.objects() if self.storage.remote else ():
            key = found.key.removesuffix(PACKED).removesuffix(USED)
            if found.key.endswith(PACKED):
                sizes[key] = found.size
            used[key] = max(found.changed, used.get(key, 0.0))
        return {key: (sizes[key], used[key]) for key in sorted(sizes, key=used.__getitem__)}

    def _acquire(self, lease: Lease) -> bool:
        """Whether this process is to train: it has the lease, or can write none."""
        try:
            return lease.acquire()
        except OSError as error:
            self._warn(f"the stage cache {self.folder} cannot be written ({error.strerror}); continuing without")
            return True


def open_stage_cache(storage: StoragePath, most_gb: float, warn: Callable[[str], None]) -> StageCache | None:
    """The stage cache of a job; None if it is turned off (`stages_gb: 0`)."""
    return StageCache(storage, most_gb * 1e9, warn) if most_gb else None


def beyond(sizes: Mapping[str, int], most_bytes: float) -> list[str]:
    """The first keys, until the rest fits."""
    excess, chosen = sum(sizes.values()) - most_bytes, []
    for key, size in sizes.items():
        if excess <= 0:
            break
        chosen.append(key)
        excess -= size
    return chosen


def inspect(folder: Path) -> tuple[str, dict[str, Any]]:
    """Verify a stage; return what is wrong with it, empty if nothing is, and its record.

    Raises:
        OSError: there is no such stage.
    """
    folder.stat()
    try:
        record = read_json(folder / RECORD)
        if record.pop("digest") != _digest_of(record):
            return "its record has been changed", {}
        if file_digest(folder / WEIGHTS) != record["weights"]:
            return "its weights have been changed", {}
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is not there", {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return "its record cannot be read", {}
    return "", record


def size_of(folder: Path) -> int:
    """Bytes of a stage; 0 once it is gone."""
    with contextlib.suppress(OSError):
        return sum(path.stat().st_size for path in folder.iterdir())
    return 0


def _check_format(storage: StoragePath) -> None:
    try:
        text = storage.read(FORMAT_FILE)
        found = FORMAT if text is None else json.loads(text)  # None: no stage has been published yet
    except OSError:  # out of reach: there will be a warning when it is written
        return
    except ValueError:
        found = None
    if found != FORMAT:
        version = found.get("version", "unknown") if isinstance(found, dict) else "unknown"
        text, expected = f"a stage cache of version {version}", f"version {FORMAT['version']}"
        fix = "Set another storage, or use the munchray that made it"
        raise InputError(Problem(str(storage / FORMAT_FILE), text, expected, fix))


def _delete(folder: Path) -> None:
    """Rename it out of sight in one step, then delete its files."""
    with contextlib.suppress(OSError):
        gone = folder.parent / f".{folder.name}.{uuid.uuid4().hex[:8]}.old"
        folder.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)


def _digest_of(record: dict[str, Any]) -> str:
    return digest(json.dumps(record, sort_keys=True))
