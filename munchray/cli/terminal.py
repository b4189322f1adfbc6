"""Prints tables, errors, marked text and download bars. (rich)"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext

from rich.progress import Progress, TaskID
from rich.table import Table
from rich.text import Text

from munchray.errors import Problem
from munchray.progress import console


def problems_found(problems: Sequence[Problem]) -> None:
    """Print every problem in the input to stderr."""
    for problem in problems:
        failed(str(problem), "error")


def failed(message: str, kind: str = "failed") -> None:
    """Print why there is no result to stderr."""
    console.err.print(Text(f"{kind}: ", style="bold red"), Text(message), sep="")


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], numeric_from: int = 1) -> None:
    """Print a table to stdout, numbers from column ``numeric_from`` on; as tab-separated lines if piped."""
    if not console.out.is_terminal:
        for row in (columns, *rows):
            print("\t".join(row))
        return
    shown = Table(title=title, title_justify="left", title_style="bold")
    for position, column in enumerate(columns):
        shown.add_column(column, justify="right" if position >= numeric_from else "left", overflow="fold")
    for row in rows:
        shown.add_row(*row)
    console.out.print(shown)


def coloured(pieces: Iterable[tuple[str, str]]) -> None:
    """Print a line of text with its spans in colour, or in brackets where there are no colours."""
    shown = Text()
    for text, style in pieces:
        shown.append(text if not style or console.out.is_terminal else f"[{text}]", style)
    console.out.print(shown)


def download_bars(
    quiet: bool = False,
) -> tuple[AbstractContextManager[object], Callable[[str, int, int | None], None]]:
    """A bar for each file that is downloaded: its context, and what to call with name, bytes so far and size."""
    if quiet or not console.err.is_terminal:
        return nullcontext(), lambda name, done, total: None
    bars = Progress(console=console.err)
    tasks: dict[str, TaskID] = {}

    def show(name: str, done: int, total: int | None) -> None:
        if name not in tasks:
            tasks[name] = bars.add_task(name, total=total)
        bars.update(tasks[name], completed=done, total=total)

    return bars, show
