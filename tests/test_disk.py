"""Retries while a disk is full or away, and no others."""

import errno
import os

import pytest

from munchray import disk, retry
from munchray.errors import HaltError


def refusing(times, number=errno.ENOSPC):
    """A write that fails a number of times."""
    left = [times]

    def write():
        if left[0]:
            left[0] -= 1
            raise OSError(number, os.strerror(number), "/there/file")

    return write


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    monkeypatch.setattr(retry, "FIRST_PAUSE_S", 0.001)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.ESTALE])
def test_write_is_retried_with_one_warning(number):
    said, ticks = [], []
    disk.patiently(refusing(3, number), said.append, lambda: ticks.append(1))
    assert len(ticks) == 3
    assert len(said) == 1
    assert f"/there/file cannot be written: {os.strerror(number)}" in said[0]


def test_patience_ends_with_advice(monkeypatch):
    monkeypatch.setattr(retry, "PATIENCE_S", 0.05)
    with pytest.raises(HaltError, match=r"free some space .*, then run the same command to resume"):
        disk.patiently(refusing(-1), lambda line: None)


def test_other_errors_are_raised_at_once():
    with pytest.raises(PermissionError):
        disk.patiently(refusing(1, errno.EACCES), pytest.fail)


def test_a_half_written_line_is_truncated(tmp_path):
    path = tmp_path / "lines"
    path.write_text("one\n")
    with pytest.raises(OSError, match="full"), disk.appended_whole(path), path.open("a") as stream:  # noqa: PT012
        stream.write("tw")
        stream.flush()
        raise OSError(errno.ENOSPC, "full")
    assert path.read_text() == "one\n"
