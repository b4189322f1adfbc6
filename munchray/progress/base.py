"""The interface of a progress display, and a display that shows nothing."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from munchray.training.events import TrialListener


class Progress(TrialListener):
    """Shows nothing; the base of displays that do. All text is plain, without markup."""

    def task(self, what: str) -> AbstractContextManager[Callable[[str], None]]:
        """A step of some seconds or minutes; call what the context gives with each detail worth showing."""
        return nullcontext(lambda detail: None)

    def trials(self, total: int, ended: int = 0) -> AbstractContextManager[object]:
        """The trials of a search, ``total`` of them of which ``ended`` have ended before; events arrive within."""
        return nullcontext()

    def update_made(self) -> None:
        """One parameter update was made, by a training in this process."""

    def note(self, line: str) -> None:
        """Something worth a line."""

    def warn(self, message: str) -> None:
        """Something went wrong that stops nothing; may come from any thread."""
