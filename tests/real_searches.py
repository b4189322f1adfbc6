"""Searches as processes, and the same trainings in this process to compare with."""

import subprocess
import sys
import time

from processes import install_sigint

from munchray.training.inputs import prepare
from munchray.training.machine import use_threads
from munchray.training.trial import run_trial


def command(job_file, *changes, program=("-m", "munchray")):
    """The command line of a search; a change is ``key=value`` or an option of the command."""
    typed = (word for change in changes for word in ([change] if change.startswith("--") else ["--set", change]))
    return [sys.executable, *program, "search", str(job_file), *typed]


def search(job_file, *changes):
    """A search, run to its end."""
    return subprocess.run(command(job_file, *changes), capture_output=True, text=True, cwd=job_file.parent, timeout=400)


def start(job_file, *changes, program=("-m", "munchray")):
    """A search in a process group of its own as in a terminal; its output is added to ``log.txt``."""
    with (job_file.parent / "log.txt").open("a") as log:
        return subprocess.Popen(
            command(job_file, *changes, program=program),
            stdout=log,
            stderr=log,
            cwd=job_file.parent,
            start_new_session=True,
            preexec_fn=install_sigint,
        )


def wait_for(condition, process, seconds=240):
    """Poll until a condition holds, which it must while the process runs."""
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, "the search ended too early"
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)


def train_here(job, entries, folder):
    """Train settings of a job one by one in this process: results by order."""
    data = prepare(job, lambda line: None)
    use_threads(1)
    found = {}
    for number, entry in enumerate(entries):
        settings = job.trial(entry)
        found[tuple(settings.auxiliaries)] = run_trial(settings, data.open(settings), folder / str(number))
    return found
