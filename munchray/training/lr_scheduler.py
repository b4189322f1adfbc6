"""When the learning rate falls and when a stage ends (paper, section 4.1)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from munchray.settings import TrialSettings


@dataclass
class LRScheduler:
    """The learning rate of a stage, decided after each epoch from the loss on the main corpus.

    ``plateau``, the paper's rule: the rate is multiplied by ``factor`` when the epoch's loss was not below the minimum
    so far for ``patience`` epochs in a row; the stage ends when the rate falls below ``min_learning_rate``.
    ``linear``: the rate falls evenly towards zero over ``max_epochs``, for short experiments that must end annealed.
    ``max_epochs`` ends a stage in both.
    """

    settings: TrialSettings
    learning_rate: float
    epochs: int = 0
    lowest_loss: float = math.inf
    epochs_without_progress: int = 0

    @classmethod
    def begin(cls, settings: TrialSettings) -> LRScheduler:
        """The schedule of a stage that is about to start: rate and minimum afresh."""
        return cls(settings, settings.learning_rate)

    @property
    def finished(self) -> bool:
        """Whether the stage has converged or reached ``max_epochs``."""
        return self.learning_rate < self.settings.min_learning_rate or self.epochs >= self.settings.max_epochs

    def step(self, loss: float) -> None:
        """Take note of the mean main loss of one more epoch."""
        self.epochs += 1
        if self.settings.anneal == "linear":
            self.learning_rate = self.settings.learning_rate * (1 - self.epochs / self.settings.max_epochs)
        elif loss < self.lowest_loss:
            self.lowest_loss, self.epochs_without_progress = loss, 0
        else:
            self.epochs_without_progress += 1
            if self.epochs_without_progress >= self.settings.patience:
                self.learning_rate *= self.settings.factor
                self.epochs_without_progress = 0

    def state(self) -> dict[str, float]:
        """What `resume` needs, as JSON."""
        return {
            "learning_rate": self.learning_rate,
            "epochs": self.epochs,
            # JSON has no infinity
            "lowest_loss": self.lowest_loss if self.epochs and math.isfinite(self.lowest_loss) else -1,
            "epochs_without_progress": self.epochs_without_progress,
        }

    @classmethod
    def resume(cls, settings: TrialSettings, state: dict[str, float]) -> LRScheduler:
        """The schedule as it was when `state` was taken."""
        lowest = state["lowest_loss"] if state["lowest_loss"] >= 0 else math.inf
        return cls(
            settings,
            state["learning_rate"],
            int(state["epochs"]),
            lowest,
            int(state["epochs_without_progress"]),
        )
