"""Who has something that only one process may have: written down, shown, known to be dead."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from typing import Any


def this_process() -> dict[str, Any]:
    """As it is written down."""
    return {"host": socket.gethostname(), "pid": os.getpid()}


def shown(owner: Mapping[str, Any]) -> str:
    """For people."""
    return f"process {owner['pid']} on {owner['host']}"


def died_here(owner: Mapping[str, Any]) -> bool:
    """Whether it ran on this machine and is gone, so that nobody need wait for a sign of life from it."""
    if owner["host"] != socket.gethostname():
        return False
    try:
        os.kill(owner["pid"], 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False
