"""Hardware of the machine that a trial runs on: device, precision, threads.

torch is imported only inside functions that need it, since the import takes seconds.
"""

from __future__ import annotations

import os

from munchray.errors import InputError, Problem


def device_for(wanted: str) -> str:
    """Resolve ``auto`` to ``cuda`` if there is a GPU, else to ``cpu``.

    Raises:
        InputError: ``cuda`` was requested and there is no GPU.
    """
    if wanted == "cpu":
        return "cpu"
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if wanted == "cuda":
        raise InputError(Problem("device", "cuda, but torch sees no GPU here", "a GPU", "Set device: auto or cpu"))
    return "cpu"


def check_precision(precision: str, device: str) -> None:
    """Check that the device supports the precision natively; emulation would be slower than float32.

    Raises:
        InputError: it does not.
    """
    if precision != "float32" and not _has_bfloat16(device):
        where = "this GPU has" if device == "cuda" else "this CPU has"
        fix = "Set precision: float32"
        raise InputError(Problem("precision", f"bfloat16, but {where} no instructions for it", "float32", fix))


def _has_bfloat16(device: str) -> bool:
    import torch

    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def check_threads(cpus: float) -> None:
    """Check that this machine has as many cores as a trial requests.

    Raises:
        InputError: it has fewer.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if cpus > cores:
        found = f"resources_per_trial.cpu is {cpus:g}, but this machine has {cores} cores"
        fix = "Lower it: one thread a trial and more trials at once is faster"
        raise InputError(Problem("resources_per_trial", found, f"at most {cores}", fix))


def use_threads(cpus: float) -> None:
    """One thread per core of a trial: concurrent trials scale better, and sums depend on the number of threads."""
    import torch

    torch.set_num_threads(max(1, int(cpus)))
