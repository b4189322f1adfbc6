"""How large a reproduction of the paper is: ``full``, or ``reduced`` to what two CPU cores do in hours.

A scale is a job file beside this one and what a job file does not hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from munchray.errors import InputError, Problem


@dataclass(frozen=True)
class Scale:
    """How large a reproduction is.

    Args:
        mains: the corpora that are main; the scores of the others are not reported.
        dev_main: the main corpus of Table 3.
        tuned: whether models are tuned over the grid; otherwise its first cell is taken, except for Table 3.
        speed: tokens a second of one training, for estimates, and where that number comes from.
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
        speed_source="an assumption for one of four trainings on a GPU, never measured",
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
        InputError: no such scale.
    """
    if name not in SCALES:
        raise InputError(Problem("--scale", f"'{name}'", f"one of {', '.join(SCALES)}"))
    return Path(__file__).with_name(f"{name}.yaml")
