"""One MLflow run as a search sees it: what is to be written, and what has been."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from munchray.orders import order_text

if TYPE_CHECKING:  # it imports MLflow, which takes seconds
    from munchray.tracking.mlflow_client import MLflowStore

NOTE = "mlflow.note.content"
SHORT = {"learning_rate": "lr", "batch_size": "bs"}  # as run names show them
POINTS_A_CALL, PARAMS_A_CALL, TAGS_A_CALL = 1000, 100, 100  # what MLflow takes at once
PARAM_LENGTH, TAG_LENGTH, NAME_LENGTH = 6000, 8000, 250

Key = int | str
"""Of a run under a search: the number of a trial, or the name of a training that came after it."""


@dataclass(frozen=True)
class Point:
    """One value of a curve; ``time`` in milliseconds since 1970."""

    key: str
    value: float
    time: int
    step: int


def milliseconds(moment: datetime | None = None) -> int:
    """Since 1970; of now when no moment is given."""
    return time.time_ns() // 1_000_000 if moment is None else int(1000 * moment.timestamp())


@dataclass
class Run:
    """One MLflow run: what is to be written and what has been.

    One thread adds under the lock; the other writes without it and takes away what it has written under it.

    Args:
        key: None for the search itself.
    """

    key: Key | None
    run_id: str = ""
    name: str = ""
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    points: list[Point] = field(default_factory=list)
    files: list[tuple[str, str | Path]] = field(default_factory=list)
    status: str = "RUNNING"
    written_status: str = ""
    began: int = field(default_factory=milliseconds)
    ended: int = 0
    steps: set[int] = field(default_factory=set)  # of what has been logged or waits
    caught_up: bool = True  # False: found in the store, from an earlier process
    failed_at: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def waits(self) -> bool:
        """Whether something is still to be written."""
        unwritten = self.params or self.tags or self.points or self.files
        return bool(unwritten) or self.status != self.written_status

    @property
    def last_step(self) -> int:
        """The last one of its curves; 0 before the first."""
        return max(self.steps, default=0)

    def open(self, name: str, params: Mapping[str, Any], began: datetime | None = None) -> None:
        """Begin, or go on; the name stays the first one."""
        with self.lock:
            self.name = self.name or name[:NAME_LENGTH]
            self.status = "RUNNING"
            self.began = milliseconds(began) if began else self.began
            self.params = {key: _text(key, value) for key, value in params.items()}

    def close(self, status: str, ended: datetime | None = None) -> None:
        """End with this status once all else is written."""
        self.ended = milliseconds(ended)
        self.status = status

    def add_tags(self, tags: Mapping[str, str]) -> None:
        """Too long ones are cut off at the end."""
        with self.lock:
            self.tags.update((key, value[:TAG_LENGTH]) for key, value in tags.items())

    def add_points(self, metrics: Mapping[str, float], step: int, moment: datetime | None = None) -> None:
        """Values at one step of their curves; what is not finite is left out."""
        when = milliseconds(moment)
        points = [Point(key, float(value), when, step) for key, value in metrics.items() if math.isfinite(value)]
        with self.lock:
            self.points += points
            self.steps.add(step)

    def write(self, store: MLflowStore) -> None:
        """Write everything; what a failing store has taken by then is not written again."""
        while self.params or self.tags or self.points:
            self._write_batch(store)
        while self.files:
            store.log_file(self.run_id, *self.files[0])
            del self.files[0]
        status = self.status
        if status != self.written_status:
            store.set_status(self.run_id, status, self.ended)
            self.written_status = status

    def catch_up(self, store: MLflowStore) -> None:
        """Leave out what the run has from an earlier process: MLflow takes no parameter twice."""
        params, logged = store.has(self.run_id)
        with self.lock:
            self.params = {key: value for key, value in self.params.items() if key not in params}
            self.points = [point for point in self.points if (point.key, point.step) not in logged]
            self.steps |= {step for _, step in logged}
            self.caught_up = True

    def _write_batch(self, store: MLflowStore) -> None:
        with self.lock:
            points = self.points[:POINTS_A_CALL]
            params = dict(islice(self.params.items(), PARAMS_A_CALL))
            tags = dict(islice(self.tags.items(), TAGS_A_CALL))
        store.log(self.run_id, points, params, tags)
        with self.lock:
            del self.points[: len(points)]
            for pending, written in ((self.params, params), (self.tags, tags)):
                for key, value in written.items():
                    if pending.get(key) == value:  # else it has changed meanwhile
                        del pending[key]


def run_name(key: Key, params: Mapping[str, Any]) -> str:
    """``0007 bc5cdr-disease > linnaeus lr=0.1 bs=32``; of a later training ``final train+dev seed=5`` and the rest."""
    order = [order_text(params["order"])] if params.get("order") else []
    numbers = [f"{short}={params[name]:g}" for name, short in SHORT.items() if name in params]
    first = f"{key:04d}" if isinstance(key, int) else f"final {params['trained_on']} seed={params['seed']}"
    return " ".join([first, *order, *numbers])


def error_note(text: str) -> dict[str, str]:
    """The tag that MLflow shows as a run's description, with the end of a long text."""
    return {NOTE: f"```\n{text[8 - TAG_LENGTH :]}\n```"}


def _text(key: str, value: Any) -> str:
    if isinstance(value, list | tuple):
        return order_text(value)[:PARAM_LENGTH] if key == "order" else ", ".join(map(str, value))[:PARAM_LENGTH]
    return str(value)[:PARAM_LENGTH]
