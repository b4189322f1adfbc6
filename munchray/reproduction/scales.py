"""Scales of a reproduction: ``full``, or ``reduced`` to hours on two CPU cores.

A scale is a job file beside this module, plus parameters that a job file does not have.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from munchray.errors import InputError, Problem


@dataclass(frozen=True)
class Scale:
    """Parameters of a reproduction.

    Args:
        mains: main corpora; scores of the others are not reported.
        dev_main: the main corpus of Table 3.
        tuned: whether models are tuned over the grid; otherwise its first cell is used, except for Table 3.
        speed: tokens per second of one training, for estimates; ``speed_source`` says where it was measured.
    """

    mains: tuple[str, ...]
    dev_main: str
    tuned: bool
    speed: float
    speed_source: str


SCALES: Mapping[str, Scale] = {
    "full": Scale(
        mains=("ncbi-disease", "bc5cdr-disease", "bc5cdr-chem", "chemdner", "bc2gm", "jnlpba", "linnaeus", "s800"),
        dev_main="chemdner",
        tuned=True,
        speed=20_000,
        speed_source="assumed for one of four trainings on a GPU, not measured",
    ),
    "reduced": Scale(
        mains=("ncbi-disease", "bc2gm", "s800"),
        dev_main="ncbi-disease",
        tuned=False,
        speed=5_000,
        speed_source="a core with 612 inputs, docs/speed.md",
    ),
}


def scale_file(name: str) -> Path:
    """The job file of a scale.

    Raises:
        InputError: unknown scale.
    """
    if name not in SCALES:
        raise InputError(Problem("--scale", f"'{name}'", f"one of {', '.join(SCALES)}"))
    return Path(__file__).with_name(f"{name}.yaml")
