"""The right to do something, of one process among all that see a bucket.

S3 through pyarrow has no "put if absent", so nobody can simply take a name. Instead everyone who wants the right first
puts an object of its own beside the others' and then lists them. Whoever sees another's steps back: of two that come at
the same time at least one sees the other, since what is put is listed from then on, so they never both have the right;
if both see each other they try again after unequal pauses. An object whose time stamp has not moved for `TTL_S` by
the server's own clock belongs to a dead process and is taken away. Two can have the right only when a process was
stopped for longer than that and then goes on: it notices at its next sign of life (`lost`).
"""

from __future__ import annotations

import contextlib
import json
import random
import threading
import time
from typing import Any
from uuid import uuid4

from munchray.errors import HaltError
from munchray.storage import owners
from munchray.storage.bucket import Bucket, Object

HEARTBEAT_S = 15.0  # seconds between signs of life
TTL_S = 60.0  # seconds without one, by the server's clock
ATTEMPTS = 3


class Lease:
    """A right that is to be taken.

    Args:
        above: where the objects of all claimants lie.

    Attributes:
        lost: another process took it, having seen no sign of life from this one.
    """

    def __init__(self, bucket: Bucket, above: str) -> None:
        self.lost = False
        self._bucket = bucket
        self._above = above
        self._own = f"{above}/{uuid4().hex}"
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def acquire(self) -> dict[str, Any] | None:
        """Try to; whoever has it instead, None if this process has it now."""
        other = self._try()
        for _ in range(ATTEMPTS - 1):
            if other is None:
                break
            time.sleep(random.random())
            other = self._try()
        if other is None:
            self._thread.start()
        return other

    def release(self) -> None:
        """Let others have it."""
        self._left.set()
        if self._thread.is_alive():
            self._thread.join(HEARTBEAT_S)
            with contextlib.suppress(HaltError):  # then it expires
                self._bucket.remove(self._own)

    def _try(self) -> dict[str, Any] | None:
        self._say()
        found = {each.key: each for each in self._bucket.objects(self._above)}
        own = found.pop(self._own)
        for each in found.values():
            if owner := self._owner(each, own.changed):
                self._bucket.remove(self._own)
                return owner
            self._bucket.remove(each.key)
        return None

    def _owner(self, found: Object, now: float) -> dict[str, Any] | None:
        """Whose it is; None if that process is dead, or has just taken it away."""
        if now - found.changed > TTL_S:
            return None
        text = self._bucket.text(found.key)
        owner: dict[str, Any] | None = json.loads(text) if text else None
        return None if owner is None or owners.died_here(owner) else owner

    def _say(self) -> None:
        self._bucket.put_text(self._own, json.dumps(owners.this_process()))

    def _beat(self) -> None:
        while not self._left.wait(HEARTBEAT_S):
            with contextlib.suppress(OSError, HaltError):  # it waits for the bucket itself
                if self._bucket.text(self._own) is None:
                    self.lost = True
                    return
                self._say()
