"""Chooses the display that suits this process."""

from __future__ import annotations

import sys

from munchray.progress.base import Progress


def default_progress() -> Progress:
    """HTML in a notebook, else a live table on a terminal or plain lines on stderr."""
    if _in_notebook():
        from munchray.progress.notebook import NotebookProgress

        return NotebookProgress()
    from munchray.progress.terminal import TerminalProgress

    return TerminalProgress()


def _in_notebook() -> bool:
    ipython = sys.modules.get("IPython")  # a kernel has imported it
    shell = ipython.get_ipython() if ipython else None
    return type(shell).__name__ == "ZMQInteractiveShell"
