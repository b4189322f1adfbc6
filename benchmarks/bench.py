"""Shared by all benchmarks: interleaved rounds, description of the machine, results as a table and as JSON."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import shlex
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from munchray.files import write_json

FOLDER = Path(__file__).parent
FLAGS = ("avx", "amx", "fma", "f16c", "asimd", "sve")  # prefixes of the flags of vector instructions
LIBRARIES = ("torch", "flair", "numpy")
WIDTH = 120  # of a table that goes to a file

Contender = Callable[[], float]
"""Runs one round of one side of a comparison; returns the measured value, such as tokens/s or seconds."""


@dataclass(frozen=True)
class Measured:
    """The values of one contender, one per round."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The median of the rounds."""
        return statistics.median(self.values)

    def over(self, other: Measured) -> Measured:
        """Ratios by round: both sides of a round ran under the same load of the machine."""
        return Measured(tuple(mine / theirs for mine, theirs in zip(self.values, other.values, strict=True)))

    def times(self, factor: float) -> Measured:
        """The values times a factor, for another unit."""
        return Measured(tuple(factor * value for value in self.values))

    def as_json(self) -> dict[str, Any]:
        """Median, extremes and all values."""
        return {
            "median": self.median,
            "min": min(self.values),
            "max": max(self.values),
            "values": list(self.values),
        }

    def __str__(self) -> str:
        if len(self.values) == 1:
            return _number(self.median)
        return f"{_number(self.median)} ({_number(min(self.values))} to {_number(max(self.values))})"


def interleaved(contenders: Mapping[str, Contender], rounds: int, what: str = "rounds") -> dict[str, Measured]:
    """Run every contender once per round; a first round warms up and is not counted.

    The order is reversed every round, so that no contender always runs after the same other.
    """
    names = list(contenders)
    values: dict[str, list[float]] = {name: [] for name in names}
    for number in track(range(rounds + 1), what, console=Console(stderr=True), transient=True):
        for name in names if number % 2 else reversed(names):
            value = contenders[name]()
            if number:
                values[name].append(value)
    return {name: Measured(tuple(values[name])) for name in names}


def parser(name: str, doc: str | None) -> argparse.ArgumentParser:
    """A parser with the options of every benchmark: ``--rounds`` and ``--json``."""
    made = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{name}", description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--rounds", type=positive, default=5, help="counted rounds; one more warms up (default: 5)")
    made.add_argument(
        "--json", type=Path, default=FOLDER / "results" / f"{name}.json", help="where the results are written"
    )
    return made


def positive(text: str) -> int:
    """Parse a positive integer option.

    Raises:
        argparse.ArgumentTypeError: it is not one.
    """
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"found '{text}', expected a whole number from 1 on")
    return int(text)


class Results:
    """The rows of one benchmark, printed as a table and written as JSON.

    Args:
        name: of the benchmark.
        title: of the table.
        path: the JSON file.
        arguments: of the command line, for the JSON file.
    """

    def __init__(self, name: str, title: str, path: Path, arguments: Sequence[str] | None = None) -> None:
        self.title = title
        self._name = name
        self._path = path
        given = sys.argv[1:] if arguments is None else arguments
        self._command = shlex.join(["python", "-m", f"benchmarks.{name}", *given])
        self._rows: list[dict[str, Any]] = []
        self._notes: list[str] = []

    def add(self, **cells: Any) -> None:
        """Add a row: text, numbers and `Measured` values by column name."""
        self._rows.append(cells)

    def compare(self, case: Mapping[str, Any], measured: Mapping[str, Measured], unit: str, against: str) -> None:
        """Add a row per contender, with its ratio to the contender ``against``."""
        for name, values in measured.items():
            self.add(**case, contender=name, **{unit: values, f"ratio to {against}": values.over(measured[against])})

    def note(self, text: str) -> None:
        """Add a sentence below the table."""
        self._notes.append(text)

    def publish(self) -> None:
        """Print the table and write the file."""
        write_json(self._path, self.as_json())
        console = Console(width=None if sys.stdout.isatty() else WIDTH)
        console.print(self._table())
        for note in self._notes:
            console.print(note, highlight=False)

    def as_json(self) -> dict[str, Any]:
        """The content of the file."""
        return {
            "benchmark": self._name,
            "title": self.title,
            "command": self._command,
            "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "machine": machine(),
            "rows": [{name: _jsonable(cell) for name, cell in row.items()} for row in self._rows],
            "notes": self._notes,
        }

    def _table(self) -> Table:
        columns = list(dict.fromkeys(name for row in self._rows for name in row))
        table = Table(title=self.title)
        for name in columns:
            table.add_column(name, justify="left" if any(isinstance(r.get(name), str) for r in self._rows) else "right")
        for row in self._rows:
            table.add_row(*(_formatted(row.get(name, "")) for name in columns))
        return table


def machine() -> dict[str, Any]:
    """Description of the machine: processor, versions, threads of this process."""
    information = _cpu_information()
    flags = information.get("flags", information.get("Features", "")).split()
    return {
        "cpu": information.get("model name", platform.processor() or platform.machine()),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "vector_flags": [flag for flag in flags if flag.startswith(FLAGS)],
        "bfloat16": has_bfloat16(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": platform.platform(terse=True),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in LIBRARIES},
        "munchray": commit(),
    }


def has_bfloat16() -> bool:
    """Whether this CPU has instructions for bfloat16 matrix products."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def commit() -> str:
    """The commit of this checkout, with ``-dirty`` if files were modified; ``unknown`` outside of a checkout."""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def _cpu_information() -> dict[str, str]:
    """The entries of /proc/cpuinfo for the first core; empty on other systems than Linux."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").split("\n\n")[0].splitlines() if path.exists() else []
    return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _jsonable(cell: Any) -> Any:
    return cell.as_json() if isinstance(cell, Measured) else cell


def _formatted(cell: Any) -> str:
    return _number(cell) if isinstance(cell, float) else f"{cell:,}" if isinstance(cell, int) else str(cell)
