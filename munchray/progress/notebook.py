"""Progress in a notebook: one cell output with the state of the work and a table of running trials. (IPython)"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
from typing import TYPE_CHECKING

from IPython.display import HTML, display

from munchray.progress.base import Progress
from munchray.progress.terminal import setting_text, state_text

if TYPE_CHECKING:
    from munchray.settings import TrialSettings
    from munchray.training.events import TrialAssignment
    from munchray.training.trial_results import EpochMetrics, TrialResult

SECONDS_BETWEEN_UPDATES = 0.5
"""Each update of a cell's output is a message that the notebook keeps."""


class NotebookProgress(Progress):
    """A bar, the best score, the running trials, and lines of notes and warnings; one output that is updated."""

    def __init__(self) -> None:
        self._what = ""
        self._total, self._ended = 0, 0
        self._best: tuple[float, str] | None = None
        self._running: dict[int, tuple[TrialSettings, EpochMetrics | None]] = {}
        self._lines: list[str] = []
        self._handle = display(HTML(""), display_id=True)
        self._drawn = 0.0

    @contextmanager
    def task(self, what: str) -> Iterator[Callable[[str], None]]:
        """Its name, and the details as they come."""
        self._say(what)
        yield lambda detail: self._say(f"{what}: {detail}", soon=False)
        self._say("")

    @contextmanager
    def trials(self, total: int, ended: int = 0) -> Iterator[None]:
        """The bar and the table."""
        self._total, self._ended = total, ended
        try:
            yield
        finally:
            self._running.clear()
            self._draw()

    def note(self, line: str) -> None:
        """A line below the table."""
        self._add(line)

    def warn(self, message: str) -> None:
        """The same, marked."""
        self._add(f"warning: {message}")

    def trial_started(self, trial: TrialAssignment) -> None:
        """Add it to the table."""
        self._running[trial.number] = (trial.settings, None)
        self._draw()

    def epoch_ended(self, trial: TrialAssignment, report: EpochMetrics) -> None:
        """Show its last epoch."""
        self._running[trial.number] = (trial.settings, report)
        self._draw(soon=False)

    def trial_finished(self, trial: TrialAssignment, result: TrialResult) -> None:
        """Count it, and compare it with the best."""
        main = trial.settings.main
        if main in result.dev:
            found = (result.dev_f1(main), f"trial {trial.number:04d}  {setting_text(trial.settings)}")
            self._best = max(found, self._best or found)
        self._end(trial)

    def trial_failed(self, trial: TrialAssignment, reason: str, details: str = "") -> None:
        """Count it, and say why."""
        self._lines.append(f"trial {trial.number:04d} failed: {reason}")
        self._end(trial)

    def trial_retried(self, trial: TrialAssignment, reason: str) -> None:
        """A warning."""
        self.warn(f"trial {trial.number:04d}: {reason}")

    def _end(self, trial: TrialAssignment) -> None:
        self._running.pop(trial.number, None)
        self._ended += 1
        self._draw()

    def _say(self, what: str, soon: bool = True) -> None:
        self._what = what
        self._draw(soon)

    def _add(self, line: str) -> None:
        self._lines.append(line)
        self._draw()

    def _draw(self, soon: bool = True) -> None:
        if soon or time.monotonic() - self._drawn > SECONDS_BETWEEN_UPDATES:
            self._drawn = time.monotonic()
            self._handle.update(HTML(self._html()))

    def _html(self) -> str:
        parts = [f"<div>{escape(self._what)}</div>"] if self._what else []
        if self._total:
            best = f" best dev F1 {self._best[0]:.2f}: {escape(self._best[1])}" if self._best else ""
            bar = f'<progress value="{self._ended}" max="{self._total}"></progress>'
            parts.append(f"<div>{bar} {self._ended} of {self._total} trials{best}</div>")
        rows = "".join(
            f"<tr><td>{number:04d}</td><td>{escape(state_text(report))}</td><td>{escape(setting_text(settings))}</td></tr>"
            for number, (settings, report) in sorted(self._running.items())
        )
        parts.append(f"<table>{rows}</table>" if rows else "")
        parts.extend(f"<div>{escape(line)}</div>" for line in self._lines)
        return "".join(parts)
