"""Learning-rate schedule and convergence criterion of a stage (paper, section 4.1)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from munchray.settings import TrialSettings


@dataclass
class LRScheduler:
    """The learning rate of one stage, updated after each epoch from the loss on the main corpus.

    ``plateau``, the paper's rule: multiply the rate by ``factor`` after ``patience`` epochs in a row without a loss
    strictly below the minimum so far; the stage ends when the rate falls below ``min_learning_rate``.
    ``linear``: anneal the rate linearly to zero over ``max_epochs``, for short experiments that must end annealed.
    Both end a stage after ``max_epochs``.
    """

    settings: TrialSettings
    learning_rate: float = field(init=False)
    epochs: int = field(default=0, init=False)
    best_loss: float = field(default=math.inf, init=False)
    num_bad_epochs: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.learning_rate = self.settings.learning_rate

    @property
    def finished(self) -> bool:
        """Whether the stage has converged or reached ``max_epochs``."""
        return self.learning_rate < self.settings.min_learning_rate or self.epochs >= self.settings.max_epochs

    def step(self, loss: float) -> None:
        """Update the rate after an epoch with this mean loss on the main corpus."""
        self.epochs += 1
        if self.settings.anneal == "linear":
            self.learning_rate = self.settings.learning_rate * (1 - self.epochs / self.settings.max_epochs)
        elif loss < self.best_loss:
            self.best_loss, self.num_bad_epochs = loss, 0
        else:
            self.num_bad_epochs += 1
            if self.num_bad_epochs >= self.settings.patience:
                self.learning_rate *= self.settings.factor
                self.num_bad_epochs = 0

    def state_dict(self) -> dict[str, Any]:
        """The state for a checkpoint, JSON-serializable."""
        return {
            "learning_rate": self.learning_rate,
            "epochs": self.epochs,
            "best_loss": self.best_loss if math.isfinite(self.best_loss) else None,  # JSON has no infinity
            "num_bad_epochs": self.num_bad_epochs,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state that `state_dict` returned."""
        self.learning_rate, self.epochs = state["learning_rate"], state["epochs"]
        self.best_loss = math.inf if state["best_loss"] is None else state["best_loss"]
        self.num_bad_epochs = state["num_bad_epochs"]
