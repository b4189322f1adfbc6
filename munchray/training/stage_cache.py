"""The stage store: a stage is trained once, by whoever needs it first.

With plain SGD the state between two stages is the weights alone, and all randomness of a stage comes from the seed and
the prefix of the order, so two orders that begin alike share that beginning bit for bit (design of Stack, paper,
Algorithm 4). A stage's folder is named by all that decides its result:

    format.json                  the version of this layout
    KEY/weights.safetensors      shared layers, and the heads of the main corpus and the prefix
    KEY/stage.json               scores, curve, what was trained, and the fingerprint of the weights
    KEY.claim                    a process is training it; its time stamp moves while that process lives

Where the store is in a bucket, this is what a machine has of it, and `sharing` says what the machines do together.

Two processes may train the same stage only if one takes over the claim of another that seems dead and is not, for
instance because it was stopped for longer than `TTL_S`. The first to finish publishes, the results are equal.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from munchray.errors import InputError, Problem
from munchray.files import Stillness, digest, file_digest, read_json, write_json
from munchray.storage import owners
from munchray.storage.path import StoragePath
from munchray.training.shared_stages import SharedStages

FORMAT = {"format": "munchray stages", "version": 1}
FORMAT_FILE = "format.json"
HEARTBEAT_S = 5.0  # seconds between signs of life of a claim
TTL_S = 60.0  # seconds without one after which its owner is taken for dead
LOOK_AGAIN = 0.5  # seconds between looks of a process that waits
WEIGHTS = "weights.safetensors"
RECORD = "stage.json"


@dataclass(frozen=True)
class CachedStage:
    """A stage that was trained before.

    Args:
        weights: the file of its weights.
        record: what its trainer wrote about it, as JSON.
    """

    weights: Path
    record: dict[str, Any]


@dataclass(frozen=True)
class ListedStage:
    """A line about a stage, for people.

    Args:
        corpora: main and the auxiliaries in order.
        used: when it was trained or taken last, in seconds since 1970.
        damage: what is wrong with it; empty if nothing is, or if nobody looked.
    """

    key: str
    corpora: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    dev_f1: float = math.nan
    size: int = 0
    used: float = 0.0
    damage: str = ""

    @classmethod
    def read(cls, folder: Path, verify: bool) -> ListedStage:
        """From a folder of the store."""
        try:
            damage = inspect(folder)[0] if verify else ""
            record, used = read_json(folder / RECORD), folder.stat().st_mtime
            corpora, settings, score = tuple(record["corpora"]), record["settings"], record["dev_f1"]
            return cls(folder.name, corpora, settings, score, size_of(folder), used, damage)
        except (OSError, ValueError, KeyError, TypeError):
            return cls(folder.name, size=size_of(folder), damage="its record cannot be read")


class StageCache:
    """The stages that all searches on the same storage share.

    Args:
        storage: where they are; made when the first is published.
        most_bytes: after a stage is published, those that were not used for longest are deleted until this holds.
        warn: told what goes wrong without stopping a trial: a store that cannot be written only means more work.

    Raises:
        InputError: the folder holds something else, or stages of another version.
    """

    def __init__(self, storage: StoragePath, most_bytes: float, warn: Callable[[str], None] = lambda _: None) -> None:
        self.storage = storage
        self.folder = storage.folder
        self._most_bytes = most_bytes
        self._warn = warn
        self._shared = SharedStages(storage) if storage.remote else None
        _check_format(storage)

    @contextlib.contextmanager
    def get_or_lock(self, key: str, waiting: Callable[[], None] = lambda: None) -> Iterator[CachedStage | None]:
        """A stage that was trained before; or None, and until the block ends nobody else trains it.

        Waits while another process trains it.

        Args:
            waiting: called again and again meanwhile.
        """
        watched = _Watched(self._claim_path(key))
        while (kept := self.find(key)) is None:
            claim = self._claim(key)
            if claim is not None:
                with claim, self._turn_among_machines(key, waiting):
                    # Between looking and claiming somebody may have published it.
                    yield self.find(key)
                return
            waiting()
            time.sleep(LOOK_AGAIN)
            watched.take_over_if_dead()
        yield kept

    def find(self, key: str) -> CachedStage | None:
        """A whole stage, or None; a damaged one is deleted."""
        folder = self.folder / key
        try:
            damage, record = inspect(folder)
        except OSError:  # not there, or the whole store is out of reach
            return None
        if damage:
            self._warn(f"{folder}: {damage}; training that stage again")
            _delete(folder)
            self.storage.delete_remote(key)
            return None
        with contextlib.suppress(OSError):  # the time of last use, which decides what is deleted first
            os.utime(folder)
        return CachedStage(folder / WEIGHTS, record)

    def publish(self, key: str, record: dict[str, Any], save_weights: Callable[[Path], None]) -> None:
        """Keep a stage, unless somebody else was first. A store that refuses costs nothing but the reuse."""
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
                self._warn(f"the stage store {self.folder} cannot be written ({error.strerror}); going on without")
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    def entries(self) -> list[Path]:
        """The folders of all stages, those used last at the end."""
        timed = []
        for folder in self.folder.glob("[0-9a-f]*"):
            with contextlib.suppress(OSError):  # deleted by another process meanwhile
                timed += [(folder.stat().st_mtime_ns, folder)] if folder.is_dir() else []
        return [folder for _, folder in sorted(timed)]

    def listed(self, *, verify: bool) -> list[ListedStage]:
        """All stages, those used last at the end; damaged ones stay where they are.

        Args:
            verify: read every byte.
        """
        if self._shared and not verify:
            return [self._listed_elsewhere(key, size, used) for key, (size, used) in self._shared.sizes().items()]
        for key in self._shared.sizes() if self._shared else ():
            self.storage.download(key)
        return [ListedStage.read(folder, verify) for folder in self.entries()]

    def prune(self, most_bytes: float) -> list[Path]:
        """Delete the stages that were not used for longest until the rest fits; those deleted.

        A bucket and each machine's copy of it are kept to the limit, each by itself.
        """
        excess = beyond({folder.name: size_of(folder) for folder in self.entries()}, most_bytes)
        if self._shared:
            sizes = {key: size for key, (size, _) in self._shared.sizes().items()}
            for key in (gone := beyond(sizes, most_bytes)):
                self.storage.delete_remote(key)
            excess = list(dict.fromkeys([*excess, *gone]))
        for key in excess:
            _delete(self.folder / key)
        return [self.folder / key for key in excess]

    def _turn_among_machines(self, key: str, waiting: Callable[[], None]) -> contextlib.AbstractContextManager[None]:
        return self._shared.get_or_lock(key, waiting) if self._shared else contextlib.nullcontext()

    def _listed_elsewhere(self, key: str, size: int, used: float) -> ListedStage:
        """From the record alone, which is all that is fetched of it."""
        try:
            record = json.loads(self.storage.file_of(key, RECORD) or "")
            return ListedStage(key, tuple(record["corpora"]), record["settings"], record["dev_f1"], size, used)
        except (ValueError, KeyError, TypeError):
            return ListedStage(key, size=size, used=used, damage="its record cannot be read")

    def _claim_path(self, key: str) -> Path:
        return self.folder / f"{key}.claim"

    def _claim(self, key: str) -> contextlib.AbstractContextManager[object] | None:
        """The right to train a stage; None while another process has it."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._claim_path(key).open("x", encoding="utf-8") as stream:
                json.dump(owners.this_process(), stream)
        except FileExistsError:
            return None
        except OSError as error:
            with contextlib.suppress(OSError):  # made, but a full disk did not take who made it
                self._claim_path(key).unlink()
            self._warn(f"the stage store {self.folder} cannot be written ({error.strerror}); going on without")
            return contextlib.nullcontext()
        return _Claim(self._claim_path(key))


class _Claim:
    """Shows that its process lives until it is left."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._left.set()
        self._thread.join()
        self._path.unlink(missing_ok=True)

    def _beat(self) -> None:
        while not self._left.wait(HEARTBEAT_S):
            with contextlib.suppress(OSError):  # taken over, or the disk is away for a moment
                os.utime(self._path)


class _Watched:
    """Somebody else's claim, seen from a process that waits."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stillness = Stillness(path)

    def take_over_if_dead(self) -> None:
        """Remove a claim whose owner died."""
        if self._stillness.seconds() > TTL_S or _died_here(self._path):
            with contextlib.suppress(OSError):  # left meanwhile
                # Of several that wait, only one renames it.
                expired = self._path.with_name(f".{self._path.name}.{uuid.uuid4().hex[:8]}")
                self._path.rename(expired)
                expired.unlink()


def _died_here(path: Path) -> bool:
    """Whether the owner of a claim is gone for certain: no need to wait for the claim to expire."""
    try:
        return owners.died_here(read_json(path))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def open_stage_cache(storage: StoragePath, most_gb: float, warn: Callable[[str], None]) -> StageCache | None:
    """The stage store as a job wants it; None when it wants none."""
    return StageCache(storage, most_gb * 1e9, warn) if most_gb else None


def beyond(sizes: Mapping[str, int], most_bytes: float) -> list[str]:
    """The first ones, until the rest fits."""
    excess, chosen = sum(sizes.values()) - most_bytes, []
    for key, size in sizes.items():
        if excess <= 0:
            break
        chosen.append(key)
        excess -= size
    return chosen


def inspect(folder: Path) -> tuple[str, dict[str, Any]]:
    """What is wrong with a stage, empty if nothing is, and its record.

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
        found = FORMAT if text is None else json.loads(text)  # not made yet
    except OSError:  # out of reach: the trial is told when it wants to write
        return
    except ValueError:
        found = None
    if found != FORMAT:
        version = found.get("version", "unknown") if isinstance(found, dict) else "unknown"
        text, expected = f"a stage store of version {version}", f"version {FORMAT['version']}"
        fix = "Set another storage, or use the munchray that made it"
        raise InputError(Problem(str(storage / FORMAT_FILE), text, expected, fix))


def _delete(folder: Path) -> None:
    """Out of sight in one step, then away."""
    with contextlib.suppress(OSError):
        gone = folder.parent / f".{folder.name}.{uuid.uuid4().hex[:8]}.old"
        folder.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)


def _digest_of(record: dict[str, Any]) -> str:
    return digest(json.dumps(record, sort_keys=True))
