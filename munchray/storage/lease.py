"""Leases: the exclusive right to run a search's folder or to train a stage, among all processes that see a storage.

A lease is a record below a storage path that names its owner. It is created only if absent, and its owner renews it
every `HEARTBEAT_S`. Another process may replace it, if it is unchanged since it was judged, once the owner is dead on
the same machine, or has not renewed it for `TTL_S` by the observer's monotonic clock: neither skewed clocks nor equal
host names mislead it. Two processes can own a lease only when one was stopped for longer than `TTL_S`; it learns of the
loss at its next heartbeat (`Lease.lost`).

On disk the record is a file (`DiskLeaseStore`); in a bucket it is an object (`bucket_lease.BucketLeaseStore`), written
by boto3 with If-None-Match and If-Match: on SeaweedFS 4.48 one of six simultaneous writers succeeded in each of 40
rounds. pyarrow drops these headers without an error, and obstore (0.12, 16 MB) honours them as well but would be a new
dependency, while boto3 is one of Flair's.

filelock's `SoftFileLease` is not used: it takes over a dead owner's file only where the file system exchanges two names
in one step, which NFS and overlayfs do not, and never takes over an empty file, which a power failure may leave.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import json
import os
import socket
import threading
import time
import uuid
import weakref
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from munchray.errors import HaltError
from munchray.files import written_aside

HEARTBEAT_S = 10.0
"""Between two renewals; in a bucket each is one request, so an hour of training costs 360."""
TTL_S = 60.0
"""Without a renewal, after which the owner counts as dead: five heartbeats may fail or be late."""
POLL_S = 0.5
"""Between two tries of a process that waits; a bucket's store multiplies it, since each try is a request or two."""


@dataclass(frozen=True)
class LeaseOwner:
    """Identity and liveness of a lease owner.

    Args:
        machine: distinguishes machines, and containers of one machine, even of equal host names.
        started: of the process, so that its ID can be reused.
        token: distinguishes the leases of one process.
    """

    host: str
    pid: int
    machine: str
    started: str | None
    token: str

    @classmethod
    def this_process(cls) -> LeaseOwner:
        """The owner of a new lease."""
        pid = os.getpid()
        return cls(socket.gethostname(), pid, _machine(), _start_of(pid), uuid.uuid4().hex)

    @classmethod
    def parse(cls, text: str) -> LeaseOwner | None:
        """The owner that a record's first line names; None where it names none, as while it is being written."""
        try:
            return cls(**json.loads(text.partition("\n")[0]))
        except (ValueError, TypeError):
            return None

    def record(self) -> str:
        """The first line of the lease's record."""
        return json.dumps(asdict(self))

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"

    def alive(self) -> bool | None:
        """Whether the process runs; None for one on another machine."""
        if self.machine != _machine():
            return None
        started = _start_of(self.pid)
        return started is None or started == self.started


@dataclass(frozen=True)
class Record:
    """What a store holds at one moment.

    Args:
        version: changes with every write and renewal.
    """

    text: str
    version: str


class LeaseStore(Protocol):
    """One record that all processes see.

    Each method raises `OSError`, or `HaltError` after retries, when the disk or the bucket refuses.
    """

    poll_s: float

    def read(self) -> Record | None:
        """The record; None if there is none."""

    def write(self, text: str, expected: Record | None) -> Record | None:
        """Create it if absent, or replace it if it is as `expected`; None if it is not."""

    def renew(self, record: Record) -> Record | None:
        """Give this process's own record a new version; None if another process has replaced it."""

    def remove(self, record: Record) -> None:
        """Remove this process's own record, unless another process has replaced it."""


class Lease:
    """A right that one thread has at a time; released when this object is garbage-collected.

    Attributes:
        owner: of the record, as the last try found it.
    """

    def __init__(self, store: LeaseStore) -> None:
        self.owner: LeaseOwner | None = None
        self.poll_s = store.poll_s
        self._store = store
        self._heartbeat: _Heartbeat | None = None
        self._release: weakref.finalize[..., Lease] | None = None
        self._seen, self._since, self._renewed = "", 0.0, False

    def acquire(self) -> bool:
        """Try once; whether this thread has the lease now."""
        current = self._store.read()
        if current is not None and not self._expired(current):
            return False
        record = self._store.write(LeaseOwner.this_process().record(), current)
        if record is None:
            return False
        self._heartbeat = _Heartbeat(self._store, record)
        self._heartbeat.start()
        self._release = weakref.finalize(self, self._heartbeat.end)
        self._release.atexit = False  # other processes see that this one has ended
        return True

    def acquire_or_owner(self, patience_s: float = 0.0) -> LeaseOwner | None:
        """Acquire, or return the owner once it is known to be alive, which may take `TTL_S` for another machine's.

        Args:
            patience_s: for which to wait for a live owner.
        """
        end = time.monotonic() + patience_s
        while not self.acquire():
            if self.owner and (self._renewed or self.owner.alive()) and time.monotonic() >= end:
                return self.owner
            time.sleep(self.poll_s)
        return None

    @property
    def lost(self) -> bool:
        """Whether another process replaced the record, having seen no renewal for `TTL_S`."""
        return self._heartbeat is not None and self._heartbeat.lost

    def release(self) -> None:
        """Let others acquire it; nothing happens if it is not acquired."""
        if self._release:
            self._release()

    def _expired(self, current: Record) -> bool:
        self.owner, now = LeaseOwner.parse(current.text), time.monotonic()
        if self.owner and self.owner.alive() is False:
            return True
        if current.version != self._seen:
            self._renewed = self._seen != ""
            self._seen, self._since = current.version, now
        return now - self._since > TTL_S


class _Heartbeat(threading.Thread):
    """Renews a record until it ends or is lost; knows nothing of the `Lease`, which may be garbage-collected."""

    def __init__(self, store: LeaseStore, record: Record) -> None:
        super().__init__(daemon=True)
        self.lost = False
        self._store, self._record = store, record
        self._ended = threading.Event()

    def run(self) -> None:
        """Renew."""
        while not self.lost and not self._ended.wait(HEARTBEAT_S):
            with contextlib.suppress(OSError, HaltError):  # out of reach for now, perhaps for the others as well
                renewed = self._store.renew(self._record)
                self._record, self.lost = renewed or self._record, renewed is None

    def end(self) -> None:
        """Stop renewing and remove the record; should that fail, the record expires."""
        running = self.is_alive()  # not in a forked process, whose lease this is not
        self._ended.set()
        if threading.current_thread() is not self:  # in which the garbage collector may run
            self.join(HEARTBEAT_S)
        if running and not self.lost:
            with contextlib.suppress(OSError, HaltError):
                self._store.remove(self._record)


class DiskLeaseStore:
    """A lease's record as a file, renewed by touching it, which a full disk allows."""

    poll_s = POLL_S

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> Record | None:
        """The file; None if there is none."""
        try:
            with self._path.open(encoding="utf-8") as file:
                text, about = file.read(), os.fstat(file.fileno())
        except FileNotFoundError:
            return None
        return Record(text, f"{about.st_ino} {about.st_mtime_ns}")

    def write(self, text: str, expected: Record | None) -> Record | None:
        """Create the file exclusively, or replace it in one step."""
        if expected is None:
            return self._create(text)
        with self._locked() as current:
            if current != expected:
                return None
            with written_aside(self._path) as aside:
                aside.write_text(text, encoding="utf-8")
        return Record(text, "")

    def renew(self, record: Record) -> Record | None:
        """Touch the file."""
        current = self.read()
        if current is None or current.text != record.text:
            return None
        os.utime(self._path)
        return record

    def remove(self, record: Record) -> None:
        """Delete the file."""
        with self._locked() as current:
            if current is not None and current.text == record.text:
                self._path.unlink()

    def _create(self, text: str) -> Record | None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        try:
            file = self._path.open("x", encoding="utf-8")
        except FileExistsError:
            return None
        try:
            with file:
                file.write(text)
        except OSError:  # the disk is full
            with contextlib.suppress(OSError):
                self._path.unlink()
            raise
        return Record(text, "")

    @contextlib.contextmanager
    def _locked(self) -> Iterator[Record | None]:
        """The record, which no other process that sees the same file locks replaces or removes until the block ends.

        On a shared disk without locks another machine might, within milliseconds; then one owner finds the lease lost.
        """
        try:
            file = self._path.open("r+", encoding="utf-8")  # NFS locks only what is open for writing
        except FileNotFoundError:
            yield None
            return
        with file:
            with contextlib.suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_EX)
            yield self.read()  # by name: the file that is locked may have been replaced meanwhile


@functools.cache
def _machine() -> str:
    """This machine until it reboots, and this container of it."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:  # no Linux
        return f"{socket.gethostname()} {uuid.getnode():x}"


def _start_of(pid: int) -> str | None:
    """When a process of this machine started, in ticks since boot; empty if it has ended, None if that is unknown."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:  # it runs as another user
        pass
    try:
        state, *fields = (
            Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        )
    except OSError:
        return None
    return "" if state in "ZX" else fields[18]  # field 22 of proc(5); a zombie has ended
