"""Memory that runs out: which failures that is, and which settings to change."""

from __future__ import annotations

import contextlib
import errno
import gc
from collections.abc import Iterator

import torch

from munchray.errors import WorkError

SIGNS = (
    "DefaultCPUAllocator: can't allocate memory",
    "CUDA out of memory",
    "CUDA error: out of memory",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "can't start new thread",
)
"""In the message of a plain RuntimeError, which torch and Python raise for want of a class of its own."""


@contextlib.contextmanager
def advice(batch_size: int, device: str) -> Iterator[None]:
    """Inside, memory that runs out is a failure that says what to do about it.

    Args:
        batch_size: sentences an update; it decides the memory of a training step.
        device: ``cpu`` or ``cuda``.

    Raises:
        WorkError: memory ran out.
    """
    try:
        yield
    except (MemoryError, RuntimeError, OSError) as error:
        if not ran_out(error):
            raise
        raise WorkError(f"out of memory ({_first_line(error)}). {_fix(batch_size, device)}") from error


def ran_out(error: BaseException) -> bool:
    """Whether this is how torch, numpy or the system say that there is no memory left."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(sign in str(error) for sign in SIGNS)


def release() -> None:
    """Give back what a trial left: the process may serve another one, or share its GPU."""
    gc.collect()
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.empty_cache()


def _fix(batch_size: int, device: str) -> str:
    fewer = "lower concurrent_trials" + (" or raise resources_per_trial.gpu" if device == "cuda" else "")
    return f"Lower batch_size ({batch_size}) or hidden_size, or let fewer trials share the memory: {fewer}"


def _first_line(error: BaseException) -> str:
    """What was asked for; CUDA goes on with paragraphs."""
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return line.split(". ")[0] if len(line) > 200 else line
