"""The two streams of a terminal, and lines on them. (rich)"""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

# Paths and error texts may hold brackets and colons: no markup, no emoji.
out = Console(highlight=False, soft_wrap=True, markup=False, emoji=False)
err = Console(stderr=True, highlight=False, soft_wrap=True, markup=False, emoji=False)


def note(line: str) -> None:
    """Print a dim line to stderr."""
    err.print(Text(line, style="dim"))


def warn(message: str) -> None:
    """Print a yellow line to stderr."""
    err.print(Text(f"warning: {message}", style="yellow"))
