"""What tests need to start the command as a terminal would."""

import contextlib
import os
import signal
import subprocess
from pathlib import Path

import psutil


def install_sigint():
    """Run in a child before it starts: pytest's workers ignore Ctrl-C, and a child would inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def kill_family(process):
    """Everything the driver started dies with it, as when a machine loses power."""
    family = [process, *psutil.Process(process.pid).children(recursive=True)]
    for member in family:
        with contextlib.suppress(ProcessLookupError):
            os.kill(member.pid, signal.SIGKILL)
    process.wait()


def words_of(process):
    """The command line of a process; empty when it has just died."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


class SmallDisk:
    """A disk of its own that is soon full. Only commands that begin with ``words`` see it at ``folder``; everybody else
    looks into it at ``seen``.
    """

    def __init__(self, folder, size):
        folder.mkdir(parents=True)
        mount = f'mount -t tmpfs -o size={size} none "{folder}" && echo mounted && exec sleep infinity'
        command = ["unshare", "--map-root-user", "--mount", "sh", "-c", mount]
        self._holder = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert self._holder.stdout.readline() == b"mounted\n"
        inside = ["--user", "--mount", "--preserve-credentials", f"--target={self._holder.pid}"]
        self.words = ["nsenter", *inside]
        self.seen = Path(f"/proc/{self._holder.pid}/root{folder}")

    def fill(self):
        with contextlib.suppress(OSError), (self.seen / "filler").open("wb", buffering=0) as filler:
            while True:
                filler.write(bytes(4096))

    def free(self):
        (self.seen / "filler").unlink()

    def close(self):
        self._holder.kill()
        self._holder.wait()
