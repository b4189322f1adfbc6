"""One file over HTTP, gone on with where it stopped and tried again while the fault may pass (requests)."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import requests

BLOCK = 1 << 14  # bytes between two reports; a block that breaks off is asked for again
TIMEOUT = (10.0, 60.0)  # seconds to connect, and of silence between two blocks
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})  # answers that ask to come again later

Heard = Callable[[int, int | None], None]  # bytes that are here, and bytes in all when the server says


class NotThereError(Exception):
    """The server answered, and asking again would bring the same: no such file, or not for us."""


class UnreachableError(Exception):
    """No whole answer after all attempts; what came is kept in the partial file."""


class _PassingError(Exception):
    """A fault that another attempt may not meet."""


def download(address: str, part: Path, *, waits: Sequence[float], heard: Heard) -> None:
    """Bring ``address`` into ``part``; of what ``part`` holds already nothing is asked for again.

    Args:
        waits: seconds before the second attempt, the third, and so on; their number limits the attempts.

    Raises:
        NotThereError, UnreachableError: with the reason; ``part`` keeps what came.
    """
    for wait in waits:
        try:
            _attempt(address, part, heard)
            return
        except _PassingError:
            time.sleep(wait)
    try:
        _attempt(address, part, heard)
    except _PassingError as fault:
        raise UnreachableError(f"{fault} (attempt {len(waits) + 1} of {len(waits) + 1})") from fault


def _attempt(address: str, part: Path, heard: Heard) -> None:
    here = part.stat().st_size if part.exists() else 0
    # Of a compressed answer a byte range means something else, so none is wanted.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={here}-"} if here else {})
    try:
        with requests.get(address, headers=headers, stream=True, timeout=TIMEOUT) as answer:
            start = _start(answer, here)
            if start is None:
                part.unlink()
                raise _PassingError("the server cannot go on with the partial file")
            if answer.status_code != 416:
                _receive(answer, part, start, heard)
    except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
        raise _PassingError(_plain(error)) from error
    except requests.RequestException as error:
        raise NotThereError(_plain(error)) from error


def _start(answer: requests.Response, here: int) -> int | None:
    """Where in the file the answer begins; None when it does not fit the ``here`` bytes that came before."""
    status = answer.status_code
    if status == 200:  # the first part, or a server that knows no ranges
        return 0
    if status in (206, 416):  # 416: nothing is left to send when the file is as long as what is here
        said = re.match(r"bytes (?:(\d+)-\d+/|\*/(\d+))", answer.headers.get("Content-Range", ""))
        return here if said and here == int(said[1] or said[2]) else None
    if status in PASSING:
        raise _PassingError(f"the server answered {status} {answer.reason}")
    raise NotThereError(f"the server answered {status} {answer.reason}")


def _receive(answer: requests.Response, part: Path, start: int, heard: Heard) -> None:
    length = None if "Content-Encoding" in answer.headers else answer.headers.get("Content-Length")
    total = start + int(length) if length else None
    here = start
    heard(here, total)
    with part.open("ab" if start else "wb") as stream:
        for block in answer.iter_content(BLOCK):
            here += stream.write(block)
            heard(here, total)
    if total is not None and here != total:
        raise _PassingError(f"the connection ended after {here:,} of {total:,} bytes")


def _plain(error: requests.RequestException) -> str:
    """The fault behind the layers of the library: ``[Errno 111] Connection refused``."""
    text = str(error)
    inner = re.search(r"(\[Errno -?\d+\] [^'\")]+|timed out|IncompleteRead\([^)]*\)|certificate[^'\")]*)", text)
    return inner[1] if inner else text or type(error).__name__
