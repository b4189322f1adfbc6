"""What tests need to start the command as a terminal would."""

import contextlib
import os
import signal

import psutil


def heed_ctrl_c():
    """Run in a child before it starts: pytest's workers ignore Ctrl-C, and a child would inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def kill_family(process):
    """Everything the driver started dies with it, as when a machine loses power."""
    family = [process, *psutil.Process(process.pid).children(recursive=True)]
    for member in family:
        with contextlib.suppress(ProcessLookupError):
            os.kill(member.pid, signal.SIGKILL)
    process.wait()
