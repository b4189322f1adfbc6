"""Errors that users see, and the exit codes that the command line gives them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One mistake in the input: where it is, what was found, what was expected, how to fix it."""

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
    """Invalid input (exit code 2). Holds every mistake that was found, not only the first."""

    def __init__(self, *problems: Problem) -> None:
        if not problems:
            raise ValueError("an InputError needs at least one problem")
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


class WorkError(Exception):
    """Valid input, but the operation failed (exit code 1): says what failed and where its log is."""


class HaltError(WorkError):
    """A resource is unreachable or full: nothing has failed, and the same command resumes later."""


class Interrupted(Exception):  # noqa: N818 - stopping is no error
    """The user stopped the command (exit code 130): says how to resume."""


def nearest(name: str, valid: Iterable[str]) -> str:
    """``Did you mean 'batch_size'?``, or the list of valid names when none is close."""
    names = sorted(valid)
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f"Did you mean '{close[0]}'?"
    return f"Valid names: {', '.join(names)}" if names else ""
