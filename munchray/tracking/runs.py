"""One MLflow run as a buffer: what is to be written, and what has been."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

from munchray.orders import order_text

NOTE = "mlflow.note.content"
POINTS_A_CALL, PARAMS_A_CALL, TAGS_A_CALL = 1000, 100, 100  # what MLflow takes at once
PARAM_LENGTH, TAG_LENGTH, NAME_LENGTH = 6000, 8000, 250

Key = int | str
"""Of a run under a search: the number of a trial, or the folder name of a training of finalize."""


@dataclass(frozen=True)
class Point:
    """One value of a curve; ``time`` in milliseconds since 1970."""

    key: str
    value: float
    time: int
    step: int


@dataclass(frozen=True)
class Batch:
    """What is written to a run in one call."""

    points: list[Point]
    params: dict[str, str]
    tags: dict[str, str]


def milliseconds(moment: datetime | None = None) -> int:
    """Milliseconds since 1970, of now when no moment is given."""
    return time.time_ns() // 1_000_000 if moment is None else int(1000 * moment.timestamp())


@dataclass
class Run:
    """One MLflow run: what is to be written and what has been.

    One thread adds, another writes; both change the buffers under the lock, and no call to MLflow is made under it.

    Args:
        key: None for the search itself.
        steps: of the points that have been logged or wait.
        caught_up: False if it was found in the store, written by an earlier process.
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
    steps: set[int] = field(default_factory=set)
    caught_up: bool = True
    failed_at: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def pending(self) -> bool:
        """Whether something is still to be written."""
        unwritten = self.params or self.tags or self.points or self.files
        return bool(unwritten) or self.status != self.written_status

    def open(self, name: str, params: Mapping[str, Any], began: datetime | None = None) -> None:
        """Begin or resume; the name stays the first one."""
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
        """Buffer tags; long ones are cut off at the end."""
        with self.lock:
            self.tags.update((key, value[:TAG_LENGTH]) for key, value in tags.items())

    def add_points(self, metrics: Mapping[str, float], step: int | None = None, moment: datetime | None = None) -> None:
        """Buffer one step of the curves, unless it has been logged; values that are not finite are left out.

        Args:
            step: the last one of the curves, whether logged or not, when it is None.
        """
        at = max(self.steps, default=0) if step is None else step
        if step is not None and step in self.steps:
            return
        when = milliseconds(moment)
        points = [Point(key, float(value), when, at) for key, value in metrics.items() if math.isfinite(value)]
        with self.lock:
            self.points += points
            self.steps.add(at)

    def skip_written(self, params: set[str], logged: set[tuple[str, int]]) -> None:
        """Drop what the store has from an earlier process: MLflow takes no parameter twice."""
        with self.lock:
            self.params = {key: value for key, value in self.params.items() if key not in params}
            self.points = [point for point in self.points if (point.key, point.step) not in logged]
            self.steps |= {step for _, step in logged}
            self.caught_up = True

    def next_batch(self) -> Batch | None:
        """As much of what waits as one call takes; None if there is nothing."""
        with self.lock:
            if not (self.points or self.params or self.tags):
                return None
            params = dict(islice(self.params.items(), PARAMS_A_CALL))
            tags = dict(islice(self.tags.items(), TAGS_A_CALL))
            return Batch(self.points[:POINTS_A_CALL], params, tags)

    def drop(self, written: Batch) -> None:
        """Forget what has been written, unless it has changed since."""
        with self.lock:
            del self.points[: len(written.points)]
            for waiting, done in ((self.params, written.params), (self.tags, written.tags)):
                for key in [key for key, value in done.items() if waiting.get(key) == value]:
                    del waiting[key]


def error_note(text: str) -> dict[str, str]:
    """The tag that MLflow shows as a run's description, with the end of a long text."""
    return {NOTE: f"```\n{text[8 - TAG_LENGTH :]}\n```"}


def _text(key: str, value: Any) -> str:
    if isinstance(value, list | tuple):
        return order_text(value)[:PARAM_LENGTH] if key == "order" else ", ".join(map(str, value))[:PARAM_LENGTH]
    return str(value)[:PARAM_LENGTH]
