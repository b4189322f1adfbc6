"""Download one file over HTTP, with retries, resuming a partial file by range requests. (requests)"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import requests

BLOCK = 1 << 14  # bytes between two progress reports; an incomplete block is requested again
TIMEOUT = (10.0, 60.0)  # seconds to connect, and of silence between two blocks
TRANSIENT_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})

OnProgress = Callable[[int, int | None], None]
"""Called with the bytes received so far, and the total if the server states it."""


class PermanentError(Exception):
    """The server's answer is final: a retry would give the same (no such file, access denied)."""


class UnreachableError(Exception):
    """No complete answer after all attempts; the partial file keeps what was received."""


class _TransientError(Exception):
    """A fault that a retry may not meet."""


def download(url: str, part: Path, *, retry_delays: Sequence[float], on_progress: OnProgress) -> None:
    """Download ``url`` into ``part``, resuming after the bytes that ``part`` holds already.

    Args:
        retry_delays: seconds before the second attempt, the third, and so on; their number limits the attempts.

    Raises:
        PermanentError, UnreachableError: with the reason; ``part`` keeps what was received.
    """
    for delay in retry_delays:
        try:
            _attempt(url, part, on_progress)
            return
        except _TransientError:
            time.sleep(delay)
    try:
        _attempt(url, part, on_progress)
    except _TransientError as error:
        attempts = len(retry_delays) + 1
        raise UnreachableError(f"{error} (attempt {attempts} of {attempts})") from error


def _attempt(url: str, part: Path, on_progress: OnProgress) -> None:
    received = part.stat().st_size if part.exists() else 0
    # A byte range of a compressed answer counts compressed bytes, so compression is refused.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={received}-"} if received else {})
    try:
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
            start = _start(response, received)
            if start is None:
                part.unlink()
                raise _TransientError("the server cannot resume the partial file")
            if response.status_code != 416:
                _receive(response, part, start, on_progress)
    except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
        raise _TransientError(_root_cause(error)) from error
    except requests.RequestException as error:
        raise PermanentError(_root_cause(error)) from error


def _start(response: requests.Response, received: int) -> int | None:
    """Offset in the file at which the body starts; None when it does not continue the ``received`` bytes."""
    status = response.status_code
    if status == 200:  # a first request, or a server without range requests
        return 0
    if status in (206, 416):  # 416: nothing is left to send if the file is as long as what was received
        content_range = re.match(r"bytes (?:(\d+)-\d+/|\*/(\d+))", response.headers.get("Content-Range", ""))
        return received if content_range and received == int(content_range[1] or content_range[2]) else None
    reason = f"the server answered {status} {response.reason}"
    raise _TransientError(reason) if status in TRANSIENT_STATUSES else PermanentError(reason)


def _receive(response: requests.Response, part: Path, start: int, on_progress: OnProgress) -> None:
    length = None if "Content-Encoding" in response.headers else response.headers.get("Content-Length")
    total = start + int(length) if length else None
    received = start
    on_progress(received, total)
    with part.open("ab" if start else "wb") as stream:
        for block in response.iter_content(BLOCK):
            received += stream.write(block)
            on_progress(received, total)
    if total is not None and received != total:
        raise _TransientError(f"the connection ended after {received:,} of {total:,} bytes")


def _root_cause(error: requests.RequestException) -> str:
    """The error below the layers of requests and urllib3, such as ``[Errno 111] Connection refused``."""
    text = str(error)
    inner = re.search(r"(\[Errno -?\d+\] [^'\")]+|timed out|IncompleteRead\([^)]*\)|certificate[^'\")]*)", text)
    return inner[1] if inner else text or type(error).__name__
