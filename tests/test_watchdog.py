"""The watchdog, in processes of its own: one that hangs, one that gets on, one that is done."""

import subprocess
import sys

import pytest

SECOND = 1 / 60


def run(body):
    code = f"import time\nfrom munchray.training.watchdog import watched\n{body}\nprint('alive')"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("hang", ["time.sleep(50)", "sum(iter(int, 1))"])  # asleep, or holding the interpreter
def test_who_hangs_ends_with_a_trace_of_where(hang):
    done = run(f"with watched({SECOND}) as tick:\n    tick()\n    {hang}")
    assert done.returncode == 1
    assert "alive" not in done.stdout
    assert "Timeout (0:00:01" in done.stderr
    assert 'File "<string>", line 5' in done.stderr


def test_who_gets_on_or_is_done_is_left_alone():
    gets_on = f"with watched({2 * SECOND}) as tick:\n    for _ in range(3):\n        time.sleep(1.1)\n        tick()"
    done = run(f"{gets_on}\ntime.sleep(2.5)")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "alive\n"
