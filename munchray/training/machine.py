"""What a trial takes from the machine it runs on: a device, its precision, threads.

torch, whose import takes seconds, is asked only where nothing else can answer.
"""

from __future__ import annotations

import os

from munchray.errors import InputError, Problem


def device_for(wanted: str) -> str:
    """``auto`` is a GPU where there is one.

    Raises:
        InputError: ``cuda`` was asked for and there is none.
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
    """See that the device multiplies in this precision; emulating it would be slower than float32.

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
    """See that this machine has the cores that a trial is to compute with.

    Raises:
        InputError: it has fewer.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if cpus > cores:
        found = f"resources_per_trial.cpu is {cpus:g}, but this machine has {cores} cores"
        fix = "Lower it: one thread a trial and more trials at once is faster"
        raise InputError(Problem("resources_per_trial", found, f"at most {cores}", fix))


def use_threads(cpus: float) -> None:
    """As many threads as a trial has cores: trials side by side beat threads, and sums depend on their number."""
    import torch

    torch.set_num_threads(max(1, int(cpus)))
