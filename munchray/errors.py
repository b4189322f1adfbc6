"""What a user can get wrong, said once and clearly; the command line turns it into an exit code."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One mistake in the input: where it is, what was found, what was expected, what to do."""

    where: str
    found: str
    expected: str = ""
    fix: str = ""

    def __str__(self) -> str:
        text = f"{self.where}: {self.found}"
        if self.expected:
            text += f"; expected {self.expected}"
        if self.fix:
            text += f". {self.fix}"
        return text


class InputError(Exception):
    """The input was wrong (exit code 2). Holds every mistake that was found, not only the first."""

    def __init__(self, *problems: Problem) -> None:
        if not problems:
            raise ValueError("an InputError needs at least one problem")
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


class WorkError(Exception):
    """The input was right but the work failed (exit code 1): says what failed and where its log is."""


class HaltError(WorkError):
    """What the work needs is away or full: nothing of it has failed, and the same command goes on later."""


class Interrupted(Exception):  # noqa: N818 - stopping is no error
    """The user stopped the work (exit code 130): says how to go on."""


def nearest(name: str, valid: Iterable[str]) -> str:
    """``did you mean 'batch_size'?``, or the valid names when none is near."""
    names = sorted(valid)
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f"Did you mean '{close[0]}'?"
    return f"Valid names: {', '.join(names)}" if names else ""
