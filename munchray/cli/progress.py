"""What a person sees while work goes on: spinners, bars, a trial's curve, a search's live table. (rich)"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from munchray.cli import terminal
from munchray.orders import order_text

if TYPE_CHECKING:
    from munchray.settings import TrialSettings
    from munchray.training.trial_results import EpochMetrics

SECONDS_BETWEEN_LINES = 5.0
"""Where progress is plain lines, a log should stay short."""


@contextmanager
def working(what: str, quiet: bool = False) -> Iterator[Callable[[str], None]]:
    """A spinner with what is being done; now and then a plain line when stderr is no terminal."""
    if quiet:
        yield lambda line: None
    elif terminal.err.is_terminal:
        with terminal.err.status(Text(what)) as status:
            yield lambda line: status.update(Text(f"{what}: {line}"))
    else:
        said = 0.0

        def say(line: str) -> None:
            nonlocal said
            if time.monotonic() - said > SECONDS_BETWEEN_LINES:
                terminal.err.print(Text(f"{what}: {line}"))
                said = time.monotonic()

        yield say


def download_progress(
    quiet: bool = False,
) -> tuple[AbstractContextManager[object], Callable[[str, int, int | None], None]]:
    """A bar per file being downloaded."""
    if quiet or not terminal.err.is_terminal:
        return nullcontext(), lambda name, done, total: None
    progress = Progress(console=terminal.err)
    tasks: dict[str, object] = {}

    def show(name: str, done: int, total: int | None) -> None:
        task = tasks.setdefault(name, progress.add_task(name, total=total))
        progress.update(task, completed=done, total=total)  # type: ignore[arg-type]

    return progress, show


class EpochLines:
    """The curve of one trial, a line an epoch, with a counter of updates while an epoch runs."""

    HEAD = "stage                            epoch       lr     loss  dev P  dev R  dev F1  updates  tokens/s  clipped"

    def __init__(self, quiet: bool = False) -> None:
        self._quiet = quiet
        self._updates = 0
        self._status = terminal.err.status("") if terminal.err.is_terminal and not quiet else None

    def __enter__(self) -> EpochLines:
        if not self._quiet:
            terminal.out.print(Text(self.HEAD, style="bold"))
        if self._status:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status:
            self._status.stop()

    def tick(self) -> None:
        """One update more."""
        self._updates += 1
        if self._status and self._updates % 10 == 0:
            self._status.update(f"update {self._updates} of this epoch")

    def show(self, report: EpochMetrics) -> None:
        """One epoch."""
        self._updates = 0
        if self._quiet:
            return
        stage = report.stage_name if len(report.stage_name) <= 32 else "..." + report.stage_name[-29:]
        line = (
            f"{stage:<32} {report.stage_epoch:>5} {report.learning_rate:>8.5f} {report.train_loss:>8.4f} "
            f"{report.dev_precision:>6.2f} {report.dev_recall:>6.2f} {report.dev_f1:>7.2f} {report.updates:>8} "
            f"{report.tokens_per_second:>9,.0f} {report.clipped_share:>8.1%}"
        )
        if self._status:  # or the line would be written behind the counter
            self._status.stop()
        terminal.out.print(Text(line))
        if self._status:
            self._status.start()


class SearchView:
    """A search as it goes: a live table on a terminal, a line for each finished trial elsewhere."""

    def __init__(self, trials: int, quiet: bool = False) -> None:
        self._quiet = quiet
        self._running: dict[int, tuple[TrialSettings, EpochMetrics | None]] = {}
        self._best: float | None = None
        self._progress = Progress(
            TextColumn("trials"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.description}"),
        )
        self._task = self._progress.add_task("", total=trials)
        live = terminal.err.is_terminal and not quiet
        self._live = Live(get_renderable=self._render, console=terminal.err, refresh_per_second=2) if live else None

    def shown(self) -> AbstractContextManager[object]:
        """While this is open, the table is on the screen."""
        return self._live or nullcontext()

    def already_finished(self, count: int) -> None:
        """Trials of an earlier session."""
        self._progress.advance(self._task, count)

    def trial_started(self, number: int, settings: TrialSettings) -> None:
        """A trial was handed terminal.out."""
        self._running[number] = (settings, None)

    def epoch_ended(self, number: int, report: EpochMetrics) -> None:
        """A trial reported."""
        settings, _ = self._running[number]
        self._running[number] = (settings, report)

    def trial_finished(self, number: int, dev_f1: float) -> None:
        """A trial ended with a score."""
        settings, _ = self._running.pop(number)
        self._best = max(dev_f1, self._best or 0.0)
        self._advance()
        self._say(f"trial {number:04d}  dev F1 {dev_f1:6.2f}  (best {self._best:.2f})  {setting_text(settings)}")

    def trial_failed(self, number: int, reason: str) -> None:
        """A trial ended without one."""
        settings, _ = self._running.pop(number)
        self._advance()
        self._say(f"trial {number:04d}  failed: {reason}  {setting_text(settings)}")

    def warn(self, message: str) -> None:
        """Something went wrong that does not stop the search."""
        terminal.warn(message)

    def _advance(self) -> None:
        best = "" if self._best is None else f"best dev F1 {self._best:.2f}"
        self._progress.update(self._task, advance=1, description=best)

    def _say(self, line: str) -> None:
        if not self._quiet:
            terminal.err.print(Text(line))

    def _render(self) -> Table:
        grid = Table.grid()
        grid.add_row(self._progress)
        for number, (settings, report) in sorted(self._running.items()):
            grid.add_row(Text(f"  {number:04d}  {_state(report):<26} {setting_text(settings)}"))
        return grid


def _state(report: EpochMetrics | None) -> str:
    if report is None:
        return "starting"
    score = "" if math.isnan(report.dev_f1) else f"  dev F1 {report.dev_f1:6.2f}"  # it trains on dev
    return f"epoch {report.epoch:>3}{score}"


def setting_text(settings: TrialSettings) -> str:
    """``lr 0.1  batch 32  a > b``."""
    order = order_text(settings.auxiliaries)
    return f"lr {settings.learning_rate:g}  batch {settings.batch_size}" + (f"  {order}" if order else "")
