"""Where lines, tables and errors go. (rich)"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from munchray.errors import Problem

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


def warn(message: str) -> None:
    """Something went wrong that stops nothing; to stderr."""
    err.print(Text(f"warning: {message}", style="yellow"))


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], numeric_from: int = 1) -> None:
    """A table to stdout, numbers from column ``numeric_from`` on; tab-separated lines when stdout is no terminal."""
    if not out.is_terminal:
        for row in (columns, *rows):
            print("\t".join(row))
        return
    shown = Table(title=title, title_justify="left", title_style="bold")
    for position, column in enumerate(columns):
        shown.add_column(column, justify="right" if position >= numeric_from else "left", overflow="fold")
    for row in rows:
        shown.add_row(*row)
    out.print(shown)


def coloured(pieces: Iterable[tuple[str, str]]) -> None:
    """A line of text with its spans in colour, or in brackets where there are no colours."""
    shown = Text()
    for text, style in pieces:
        shown.append(text if not style or out.is_terminal else f"[{text}]", style)
    out.print(shown)
