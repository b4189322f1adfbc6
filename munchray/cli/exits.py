"""Turns exceptions into a message and an exit code: 0 done, 1 the work failed, 2 the input was wrong,
130 interrupted. (typer)
"""

from __future__ import annotations

import errno
import os
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from munchray.cli import terminal
from munchray.errors import InputError, Interrupted, WorkError
from munchray.progress import console

NO_ROOM_OR_RIGHT = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG),
    *(errno.EACCES, errno.EPERM, errno.EROFS),
    *(errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG),
}
"""Errors that a disk or its permissions cause; any other `OSError` is a defect and keeps its traceback."""


class Commands(TyperGroup):
    """Commands whose errors end with a message and an exit code; no traceback for what a user can cause."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except InputError as error:
            terminal.problems_found(error.problems)
            raise typer.Exit(2) from None
        except WorkError as error:
            terminal.failed(str(error))
            raise typer.Exit(1) from None
        except Interrupted as stop:
            console.err.print(f"stopped: {stop}")
            raise typer.Exit(130) from None
        except KeyboardInterrupt:
            console.err.print("stopped: the same command resumes from what is finished")
            raise typer.Exit(130) from None
        except BrokenPipeError:  # a reader such as `head` has had enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None
        except OSError as error:
            if error.errno not in NO_ROOM_OR_RIGHT:
                raise
            terminal.failed(f"{error.filename or 'writing'}: {error.strerror}")
            raise typer.Exit(1) from None
