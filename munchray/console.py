"""What a person sees while work goes on and when it is done; plain lines where no one looks. (rich)"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from munchray.errors import InputError, Problem
from munchray.orders import order_text

if TYPE_CHECKING:  # the command line starts without torch, optuna and ray
    from munchray.search.results import Ranking
    from munchray.settings import TrialSettings
    from munchray.training.record import EpochReport
    from munchray.training.stages import ListedStage

SECONDS_BETWEEN_LINES = 5.0
"""Where progress is plain lines, a log should stay short."""

NARROW = ("order", "trial", "lr", "batch", "dev F1", "minutes")
ROOM_FOR_ALL = 110
"""Characters a line from which on the ranking shows more than `NARROW`."""

# Paths and error texts may hold brackets and colons: no markup, no emoji.
out = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)
err = Console(stderr=True, highlight=False, soft_wrap=True, markup=False, emoji=False)


def problems_found(problems: Sequence[Problem]) -> None:
    """Every mistake in the input, to stderr."""
    for problem in problems:
        failed(str(problem), "error")


def failed(message: str, kind: str = "failed") -> None:
    """Why there is no result, to stderr."""
    err.print(Text(f"{kind}: ", style="bold red"), Text(message), sep="")


def note(message: str, *, quiet: bool = False) -> None:
    """One line about the work, to stderr."""
    if not quiet:
        err.print(Text(message, style="dim"))


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], numeric_from: int = 1) -> None:
    """A table to stdout, numbers from column ``numeric_from`` on; tab-separated lines when stdout is no terminal."""
    if not out.is_terminal:
        for row in (columns, *rows):
            print("\t".join(row))
        return
    shown = Table(title=title, title_justify="left", title_style="bold")
    for place, column in enumerate(columns):
        shown.add_column(column, justify="right" if place >= numeric_from else "left", overflow="fold")
    for row in rows:
        shown.add_row(*row)
    out.print(shown)


def show_ranking(ranking: Ranking, main: str) -> None:
    """The trials of a search, best first."""
    columns = ("order", "trial", "lr", "batch", "dev P", "dev R", "dev F1", "epochs", "updates", "minutes")
    rows = [
        (
            order_text(trial.order) or "(no auxiliary)",
            f"{trial.number:04d}",
            f"{trial.learning_rate:g}",
            str(trial.batch_size),
            f"{trial.dev_precision:.2f}",
            f"{trial.dev_recall:.2f}",
            f"{trial.dev_f1:.2f}",
            str(trial.epochs),
            str(trial.updates),
            f"{trial.seconds / 60:.1f}",
        )
        for trial in ranking.trials
    ]
    shown = NARROW if out.is_terminal and out.width < ROOM_FOR_ALL else columns
    places = [columns.index(name) for name in shown]
    title = f"{main}: {len(rows)} finished trials, best first"
    table(title, shown, [[row[place] for place in places] for row in rows])
    for number, reason in ranking.failed:
        out.print(Text(f"failed {number:04d}: {reason}"))
    if ranking.running:
        out.print(Text(f"not finished: {', '.join(f'{n:04d}' for n in ranking.running)}"))


def show_corpora(data_dir: Path | None) -> None:
    """The corpora that a job can name, and where they are."""
    from munchray.corpora.catalogue import data_folder, find_corpus, known_corpora

    rows = []
    for name, entity_type in known_corpora().items():
        try:
            place = str(find_corpus(name, data_dir).folder or "generated")
        except InputError:
            place = "not here; munchray corpora fetch brings it"
        rows.append((name, entity_type, place))
    table(f"Corpora (real ones in {data_folder(data_dir)})", ("name", "type", "where"), rows, numeric_from=3)


def show_counts(data_dir: Path | None) -> None:
    """What every split holds, beside the paper's Table 1.

    Raises:
        InputError: a split is not there.
    """
    from munchray.corpora.catalogue import SPLITS, TABLE_1, check_split

    measured = []
    with working("counting") as say:
        for name in TABLE_1:
            say(name)
            measured += [check_split(name, split, data_dir) for split in SPLITS]
    rows = []
    for row in measured:
        counts = [f"{n:,}" for n in row.measured] if row.measured else ["-", "-", "-"]
        rows.append((f"{row.corpus}/{row.split}", *counts, row.verdict))
    table("Counts against Table 1", ("split", "sentences", "words", "annotations", "Table 1"), rows)
    missing = [row for row in measured if row.measured is None]
    if missing:
        raise InputError(*(Problem(f"{row.corpus}/{row.split}", row.verdict) for row in missing))


def show_stages(folder: Path, stages: Sequence[tuple[ListedStage, bool]]) -> None:
    """The stages of a store and whether each was deleted just now, those used last at the end."""
    rows = [
        (
            order_text(stage.corpora[1:]) or "(unknown)",
            stage.corpora[0] if stage.corpora else "",
            *(f"{stage.settings.get(name, math.nan):g}" for name in ("learning_rate", "batch_size", "seed")),
            f"{stage.dev_f1:.2f}",
            f"{stage.size / 1e6:.1f}",
            f"{datetime.fromtimestamp(stage.used):%Y-%m-%d %H:%M}",
            "deleted" if deleted else stage.damage,
        )
        for stage, deleted in stages
    ]
    total = sum(stage.size for stage, _ in stages) / 1e9
    columns = ("order so far", "main", "lr", "batch", "seed", "dev F1", "MB", "last used", "")
    table(f"{len(rows)} stages in {folder}, {total:.2f} GB", columns, rows, numeric_from=2)


class EpochLines:
    """The curve of one trial, a line an epoch, with a counter of updates while an epoch runs."""

    HEAD = "stage                            epoch       lr     loss  dev P  dev R  dev F1  updates  tokens/s  clipped"

    def __init__(self, quiet: bool = False) -> None:
        self._quiet = quiet
        self._updates = 0
        self._status = err.status("") if err.is_terminal and not quiet else None

    def __enter__(self) -> EpochLines:
        if not self._quiet:
            out.print(Text(self.HEAD, style="bold"))
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

    def show(self, report: EpochReport) -> None:
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
        out.print(Text(line))
        if self._status:
            self._status.start()


class SearchView:
    """A search as it goes: a live table on a terminal, a line for each finished trial elsewhere."""

    def __init__(self, trials: int, quiet: bool = False) -> None:
        self._quiet = quiet
        self._running: dict[int, tuple[TrialSettings, EpochReport | None]] = {}
        self._best: float | None = None
        self._progress = Progress(
            TextColumn("trials"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.description}"),
        )
        self._task = self._progress.add_task("", total=trials)
        live = err.is_terminal and not quiet
        self._live = Live(get_renderable=self._render, console=err, refresh_per_second=2) if live else None

    def shown(self) -> AbstractContextManager[object]:
        """While this is open, the table is on the screen."""
        return self._live or nullcontext()

    def already_finished(self, count: int) -> None:
        """Trials of an earlier session."""
        self._progress.advance(self._task, count)

    def trial_started(self, number: int, settings: TrialSettings) -> None:
        """A trial was handed out."""
        self._running[number] = (settings, None)

    def epoch_ended(self, number: int, report: EpochReport) -> None:
        """A trial reported."""
        settings, _ = self._running[number]
        self._running[number] = (settings, report)

    def trial_finished(self, number: int, dev_f1: float) -> None:
        """A trial ended with a score."""
        settings, _ = self._running.pop(number)
        self._best = max(dev_f1, self._best or 0.0)
        self._advance()
        self._say(f"trial {number:04d}  dev F1 {dev_f1:6.2f}  (best {self._best:.2f})  {_setting(settings)}")

    def trial_failed(self, number: int, reason: str) -> None:
        """A trial ended without one."""
        settings, _ = self._running.pop(number)
        self._advance()
        self._say(f"trial {number:04d}  failed: {reason}  {_setting(settings)}")

    def warn(self, message: str) -> None:
        """Something went wrong that does not stop the search."""
        err.print(Text(f"warning: {message}", style="yellow"))

    def _advance(self) -> None:
        best = "" if self._best is None else f"best dev F1 {self._best:.2f}"
        self._progress.update(self._task, advance=1, description=best)

    def _say(self, line: str) -> None:
        if not self._quiet:
            err.print(Text(line))

    def _render(self) -> Table:
        grid = Table.grid()
        grid.add_row(self._progress)
        for number, (settings, report) in sorted(self._running.items()):
            state = "starting" if report is None else f"epoch {report.epoch:>3}  dev F1 {report.dev_f1:6.2f}"
            grid.add_row(Text(f"  {number:04d}  {state:<26} {_setting(settings)}"))
        return grid


def download_progress(
    quiet: bool = False,
) -> tuple[AbstractContextManager[object], Callable[[str, int, int | None], None]]:
    """A bar per file being downloaded."""
    if quiet or not err.is_terminal:
        return nullcontext(), lambda name, done, total: None
    progress = Progress(console=err)
    tasks: dict[str, object] = {}

    def show(name: str, done: int, total: int | None) -> None:
        task = tasks.setdefault(name, progress.add_task(name, total=total))
        progress.update(task, completed=done, total=total)  # type: ignore[arg-type]

    return progress, show


def _setting(settings: TrialSettings) -> str:
    order = order_text(settings.auxiliaries)
    return f"lr {settings.learning_rate:g}  batch {settings.batch_size}" + (f"  {order}" if order else "")


@contextmanager
def working(what: str, quiet: bool = False) -> Iterator[Callable[[str], None]]:
    """A spinner with what is being done; now and then a plain line when stderr is no terminal."""
    if quiet:
        yield lambda line: None
    elif err.is_terminal:
        with err.status(Text(what)) as status:
            yield lambda line: status.update(Text(f"{what}: {line}"))
    else:
        said = 0.0

        def say(line: str) -> None:
            nonlocal said
            if time.monotonic() - said > SECONDS_BETWEEN_LINES:
                err.print(Text(f"{what}: {line}"))
                said = time.monotonic()

        yield say


def coloured(pieces: Iterable[tuple[str, str]]) -> None:
    """A line of text with its spans in colour, or in brackets where there are no colours."""
    shown = Text()
    for text, style in pieces:
        shown.append(text if not style or out.is_terminal else f"[{text}]", style)
    out.print(shown)
