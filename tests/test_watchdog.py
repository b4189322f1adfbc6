"""The watchdog, each in a process of its own."""

import subprocess
import sys

import pytest

SECOND = 1 / 60


@pytest.fixture
def run(tmp_path):
    def run(body):
        code = f"import time\nfrom pathlib import Path\nfrom munchray.training.watchdog import watched\n{body}"
        command = [sys.executable, "-c", f"{code}\nprint('alive')"]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path)

    return run


@pytest.mark.parametrize("hang", ["time.sleep(50)", "sum(iter(int, 1))"])  # asleep, or holding the interpreter
def test_a_hung_process_exits_with_a_trace(hang, run, tmp_path):
    done = run(f"with watched({SECOND}, Path('pulse')) as tick:\n    tick()\n    {hang}")
    assert done.returncode == 1
    assert "alive" not in done.stdout
    assert "Timeout (0:00:01" in done.stderr
    assert 'File "<string>", line 6' in done.stderr
    assert (tmp_path / "pulse").exists()


def test_progress_and_the_end_of_the_block_keep_a_process_alive(run):
    progress = "    for _ in range(3):\n        time.sleep(1.1)\n        tick()"
    done = run(f"with watched({2 * SECOND}, Path('pulse')) as tick:\n{progress}\ntime.sleep(2.5)")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "alive\n"


def test_an_unwritable_pulse_file_is_ignored(run):
    done = run(f"with watched({9 * SECOND}, Path('nowhere/pulse')) as tick:\n    tick()")
    assert done.stdout == "alive\n", done.stderr
