"""A disk that refuses is waited for; what it refuses for other reasons is not."""

import errno
import os

import pytest

from munchray import disk
from munchray.errors import HaltError


def refusing(times, number=errno.ENOSPC):
    """A write that works in the end."""
    left = [times]

    def write():
        if left[0]:
            left[0] -= 1
            raise OSError(number, os.strerror(number), "/there/file")

    return write


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    monkeypatch.setattr(disk, "TRY_AGAIN", 0.001)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.ESTALE])
def test_a_disk_that_comes_back_is_said_once_and_waited_for(number):
    said, ticks = [], []
    disk.patiently(refusing(3, number), said.append, lambda: ticks.append(1))
    assert len(ticks) == 3
    assert len(said) == 1
    assert f"/there/file cannot be written: {os.strerror(number)}" in said[0]


def test_a_disk_that_does_not_come_back_halts_the_work_with_advice(monkeypatch):
    monkeypatch.setattr(disk, "PATIENCE", 0.05)
    with pytest.raises(HaltError, match=r"make room .* and the same command goes on"):
        disk.patiently(refusing(-1), lambda line: None)


def test_other_errors_are_nobody_elses_business():
    with pytest.raises(PermissionError):
        disk.patiently(refusing(1, errno.EACCES), pytest.fail)


def test_what_a_full_disk_took_half_of_is_taken_back(tmp_path):
    path = tmp_path / "lines"
    path.write_text("one\n")
    with pytest.raises(OSError, match="full"), disk.appended_whole(path), path.open("a") as stream:  # noqa: PT012
        stream.write("tw")
        stream.flush()
        raise OSError(errno.ENOSPC, "full")
    assert path.read_text() == "one\n"
