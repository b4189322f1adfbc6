"""Stages that machines share through a bucket: brought where they are there, else trained by one machine.

KEY.tar             a stage's folder as one object
KEY.used            empty; its time stamp says when a machine took the stage last
.KEY.claims/        who wants to train it
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from munchray.storage.address import PACKED
from munchray.storage.path import StoragePath

LOOK_AGAIN = 5.0
"""Seconds between looks while another machine trains a stage; each costs some requests."""
USED = ".used"


class SharedStages:
    """What a stage store does beyond this machine."""

    def __init__(self, storage: StoragePath) -> None:
        self._storage = storage

    @contextlib.contextmanager
    def get_or_lock(self, key: str, waiting: Callable[[], None]) -> Iterator[None]:
        """Have the stage on this machine; or if there is none, until the block ends no other machine trains it.

        Args:
            waiting: called again and again while another one does.
        """
        claim = self._storage.claim(key)
        while not self._bring(key):
            if claim.acquire() is None:
                try:
                    self._bring(key)  # it may have been published between looking and claiming
                    yield
                finally:
                    claim.release()
                return
            waiting()
            time.sleep(LOOK_AGAIN)
        yield

    def sizes(self) -> dict[str, tuple[int, float]]:
        """Bytes of every stage, and when it was published or taken last; those used last at the end."""
        sizes: dict[str, int] = {}
        used: dict[str, float] = {}
        for found in self._storage.objects():
            key = found.key.removesuffix(PACKED).removesuffix(USED)
            if found.key.endswith(PACKED):
                sizes[key] = found.size
            used[key] = max(found.changed, used.get(key, 0.0))
        return {key: (sizes[key], used[key]) for key in sorted(sizes, key=used.__getitem__)}

    def _bring(self, key: str) -> bool:
        self._storage.download(key)
        there = (self._storage.folder / key).exists()
        if there:
            self._storage.mark(key + USED)
        return there
