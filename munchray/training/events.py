"""The one stream of events of trials, and the interface of those that receive it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from munchray.settings import TrialSettings
    from munchray.training.trial_results import EpochMetrics, TrialResult


@dataclass(frozen=True)
class TrialAssignment:
    """A trial dispatched to a worker.

    Args:
        number: among the trials of its search; among those dispatched so far, for other trainings.
        job: name of the job on whose data it trains.
        folder: where it leaves everything, on this machine.
    """

    number: int
    job: str
    settings: TrialSettings
    folder: Path


@dataclass(frozen=True)
class RecordedTrial:
    """A trial as its record tells of it later, however far it got; times by the local clock.

    Args:
        settings: None if the process was killed while the sampler suggested them.
        state: ``finished``, ``running`` or ``failed``.
        reason: why it failed.
    """

    number: int
    settings: TrialSettings | None
    folder: Path
    state: str
    reason: str
    began: datetime
    ended: datetime | None


class TrialListener:
    """Receives the events of trials, on the thread that schedules them; override those that matter.

    A trial starts, reports epochs, may be retried, and either finishes or fails. A search that is resumed starts its
    interrupted trials again.
    """

    def trial_started(self, trial: TrialAssignment) -> None:
        """A trial was dispatched."""

    def epoch_ended(self, trial: TrialAssignment, report: EpochMetrics) -> None:
        """A trial completed an epoch."""

    def trial_finished(self, trial: TrialAssignment, result: TrialResult) -> None:
        """A trial ended with a result, which lies in its folder."""

    def trial_failed(self, trial: TrialAssignment, reason: str, details: str = "") -> None:
        """A trial ended without a result; ``details`` are the last lines that its process printed."""

    def trial_retried(self, trial: TrialAssignment, reason: str) -> None:
        """The process of a trial died; another one resumes it from its checkpoint."""
