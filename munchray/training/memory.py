"""Out-of-memory errors: recognize them, and advise which settings to change."""

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
"""Found in the message of a plain RuntimeError: torch and Python have no exception class for these."""


@contextlib.contextmanager
def advice(batch_size: int, device: str) -> Iterator[None]:
    """Convert out-of-memory errors inside the block to a `WorkError` that says what to do.

    Args:
        batch_size: sentences per update; determines the memory of a training step.
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
    """Whether torch, numpy or the system raised this for lack of memory."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(sign in str(error) for sign in SIGNS)


def release() -> None:
    """Release memory after a trial: the process may run another one, or share its GPU."""
    gc.collect()
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.empty_cache()


def _fix(batch_size: int, device: str) -> str:
    fewer = "lower concurrent_trials" + (" or raise resources_per_trial.gpu" if device == "cuda" else "")
    return f"Lower batch_size ({batch_size}) or hidden_size, or let fewer trials share the memory: {fewer}"


def _first_line(error: BaseException) -> str:
    """The first line of the message, or its first sentence: CUDA's has several paragraphs."""
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return line.split(". ")[0] if len(line) > 200 else line
