"""Published scores, read from ``published.yaml``; in percent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any

from munchray.settings.yaml_source import load_yaml

Cell = tuple[int, float]
"""Batch size and learning rate."""


@dataclass(frozen=True)
class PublishedRow:
    """Test F1 of one model by corpus, and its averages as printed."""

    f1: Mapping[str, float]
    macro: float
    micro: float

    def macro_over(self, corpora: Sequence[str]) -> float | None:
        """Mean over some corpora; None unless all of them are in the paper."""
        return fmean(self.f1[name] for name in corpora) if set(corpora) <= self.f1.keys() else None


@dataclass(frozen=True)
class DevTable:
    """Table 3: dev F1 on ``main`` by row and (batch size, learning rate).

    Args:
        single_aux: scores by auxiliary.
        sorted_models: scores by model.
        chosen: for each sorted model the setting that the paper chose and the order printed for it.
    """

    main: str
    single_aux: Mapping[str, Mapping[Cell, float]]
    sorted_models: Mapping[str, Mapping[Cell, float]]
    chosen: Mapping[str, tuple[Cell, tuple[str, ...]]]


@dataclass(frozen=True)
class PriorSystem:
    """A row of Table 6: a prior system, and averages over the tasks that it reports."""

    f1: Mapping[str, float]
    macro: float
    iteration: float
    stack: float
    source: str


@dataclass(frozen=True)
class Published:
    """Tables 2 to 4 and 6 of the paper; ``models`` holds Tables 2 and 4."""

    corpora: tuple[str, ...]
    models: Mapping[str, PublishedRow]
    dev: DevTable
    prior_systems: Mapping[str, PriorSystem]


@cache
def published() -> Published:
    """Load all published scores."""
    values = load_yaml(Path(__file__).with_name("published.yaml"), "file of published figures").values
    corpora = tuple(values["corpora"])
    rows = {**values["table_2"], **values["table_4"]}
    models = {
        name: PublishedRow(dict(zip(corpora, row["f1"], strict=True)), row["macro"], row["micro"])
        for name, row in rows.items()
    }
    prior_systems = {name: PriorSystem(**row) for name, row in values["table_6"].items()}
    return Published(corpora, models, _dev_table(values["table_3"]), prior_systems)


def _dev_table(values: Mapping[str, Any]) -> DevTable:
    cells: list[Cell] = [(size, rate) for size, rate in values["cells"]]
    chosen = {name: (tuple(each["cell"]), tuple(each["order"])) for name, each in values["chosen"].items()}

    def by_cell(scores: Sequence[float]) -> dict[Cell, float]:
        return dict(zip(cells, scores, strict=True))

    return DevTable(
        main=values["main"],
        single_aux={name: by_cell(scores) for name, scores in values["single_aux"].items()},
        sorted_models={name: by_cell(values[name]) for name in chosen},
        chosen=chosen,
    )
