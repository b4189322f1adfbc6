"""Progress on stderr: spinners, bars, a live table of trials, the curve of one training. (rich)"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.table import Table
from rich.text import Text

from munchray.orders import order_text
from munchray.progress import console
from munchray.progress.base import Progress

if TYPE_CHECKING:
    from munchray.settings import TrialSettings
    from munchray.training.events import TrialAssignment
    from munchray.training.trial_results import EpochMetrics, TrialResult

SECONDS_BETWEEN_LINES = 5.0
"""Where progress is plain lines, a log should stay short."""


class TerminalProgress(Progress):
    """A live table of the running trials on a terminal; elsewhere one line for each trial that ends."""

    def __init__(self) -> None:
        self._running: dict[int, tuple[TrialSettings, EpochMetrics | None]] = {}
        self._best: float | None = None
        self._bars = Bars(
            TextColumn("trials"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.description}"),
        )
        self._bar = self._bars.add_task("", total=0)

    @contextmanager
    def task(self, what: str) -> Iterator[Callable[[str], None]]:
        """A spinner; a plain line every few seconds where stderr is no terminal."""
        if console.err.is_terminal:
            with console.err.status(Text(what)) as status:
                yield lambda detail: status.update(Text(f"{what}: {detail}"))
            return
        printed = 0.0

        def show(detail: str) -> None:
            nonlocal printed
            if time.monotonic() - printed > SECONDS_BETWEEN_LINES:
                console.err.print(Text(f"{what}: {detail}"))
                printed = time.monotonic()

        yield show

    def trials(self, total: int, ended: int = 0) -> AbstractContextManager[object]:
        """The table, while the context is open."""
        self._bars.update(self._bar, total=total, completed=ended)
        if not console.err.is_terminal:
            return nullcontext()
        return Live(get_renderable=self._table, console=console.err, refresh_per_second=2)

    def note(self, line: str) -> None:
        """A dim line."""
        console.note(line)

    def warn(self, message: str) -> None:
        """A yellow line."""
        console.warn(message)

    def trial_started(self, trial: TrialAssignment) -> None:
        """Add it to the table."""
        self._running[trial.number] = (trial.settings, None)

    def epoch_ended(self, trial: TrialAssignment, report: EpochMetrics) -> None:
        """Show its last epoch in the table."""
        self._running[trial.number] = (trial.settings, report)

    def trial_finished(self, trial: TrialAssignment, result: TrialResult) -> None:
        """A line with its score; a training on train and dev has none, and its test score is not for now."""
        settings = trial.settings
        if settings.main in result.dev:
            score = result.dev_f1(settings.main)
            self._best = max(score, self._best or 0.0)
            text = f"dev F1 {score:6.2f}  (best {self._best:.2f})"
        else:
            text = "on train and dev"
        self._end(trial, text)

    def trial_failed(self, trial: TrialAssignment, reason: str, details: str = "") -> None:
        """A line with the reason."""
        self._end(trial, f"failed: {reason}")

    def trial_retried(self, trial: TrialAssignment, reason: str) -> None:
        """A warning."""
        console.warn(f"trial {trial.number:04d}: {reason}")

    def _end(self, trial: TrialAssignment, outcome: str) -> None:
        self._running.pop(trial.number, None)
        best = "" if self._best is None else f"best dev F1 {self._best:.2f}"
        self._bars.update(self._bar, advance=1, description=best)
        console.err.print(Text(f"trial {trial.number:04d}  {outcome}  {self.describe(trial.settings)}"))

    def describe(self, settings: TrialSettings) -> str:
        """What tells the settings of these trials apart."""
        return setting_text(settings)

    def _table(self) -> Table:
        grid = Table.grid()
        grid.add_row(self._bars)
        for number, (settings, report) in sorted(self._running.items()):
            grid.add_row(Text(f"  {number:04d}  {state_text(report):<26} {self.describe(settings)}"))
        return grid


class Warnings(Progress):
    """Warnings alone, for ``--quiet``."""

    def warn(self, message: str) -> None:
        """A yellow line."""
        console.warn(message)

    def trial_retried(self, trial: TrialAssignment, reason: str) -> None:
        """A warning."""
        console.warn(f"trial {trial.number:04d}: {reason}")


class TerminalCurve(TerminalProgress):
    """The curve of one training on stdout, a line an epoch, with a counter of updates on a terminal."""

    HEAD = "stage                            epoch       lr     loss  dev P  dev R  dev F1  updates  tokens/s  clipped"

    def __init__(self) -> None:
        super().__init__()
        self._updates = 0
        self._status = console.err.status("") if console.err.is_terminal else nullcontext()

    @contextmanager
    def trials(self, total: int, ended: int = 0) -> Iterator[None]:
        """The head of the curve, and the counter while the context is open."""
        console.out.print(Text(self.HEAD, style="bold"))
        with self._status:
            yield

    def update_made(self) -> None:
        """Count it."""
        self._updates += 1
        if not isinstance(self._status, nullcontext) and self._updates % 10 == 0:
            self._status.update(f"update {self._updates} of this epoch")

    def epoch_ended(self, trial: TrialAssignment, report: EpochMetrics) -> None:
        """A line of the curve."""
        self._updates = 0
        stage = report.stage_name if len(report.stage_name) <= 32 else "..." + report.stage_name[-29:]
        line = (
            f"{stage:<32} {report.stage_epoch:>5} {report.learning_rate:>8.5f} {report.train_loss:>8.4f} "
            f"{report.dev_precision:>6.2f} {report.dev_recall:>6.2f} {report.dev_f1:>7.2f} {report.updates:>8} "
            f"{report.tokens_per_second:>9,.0f} {report.clipped_share:>8.1%}"
        )
        if isinstance(self._status, nullcontext):
            console.out.print(Text(line))
            return
        self._status.stop()  # or the line would be written behind the counter
        console.out.print(Text(line))
        self._status.start()

    def trial_finished(self, trial: TrialAssignment, result: TrialResult) -> None:
        """Nothing: the command prints the scores."""


def state_text(report: EpochMetrics | None) -> str:
    """How far a running trial is."""
    if report is None:
        return "starting"
    score = "" if math.isnan(report.dev_f1) else f"  dev F1 {report.dev_f1:6.2f}"  # it trains on dev
    return f"epoch {report.epoch:>3}{score}"


def setting_text(settings: TrialSettings) -> str:
    """``lr 0.1  batch 32  a > b``."""
    order = order_text(settings.auxiliaries)
    return f"lr {settings.learning_rate:g}  batch {settings.batch_size}" + (f"  {order}" if order else "")
