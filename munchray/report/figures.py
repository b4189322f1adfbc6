"""Figures of a search, from its ranking: auxiliaries by position, the orders explored, the progress. (matplotlib)

SVGs keep text as text, and every prefix of an order in `path_view` has the id that `node_id` returns.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray

from munchray.files import written_aside
from munchray.orders import Order
from munchray.report.prefix_tree import Position, PrefixTree
from munchray.tuning.ranking import RankedTrial

BEST = "#d62728"  # red
GREY = "#b0b0b0"
COLOUR_MAP = mpl.colormaps["viridis"]
STYLE = {"svg.fonttype": "none", "svg.hashsalt": "munchray", "font.size": 9.0}  # reproducible bytes
UNKNOWN = "#e8e8e8"  # a prefix without a score: only Stack scores prefixes
INCHES_PER_LEAF, INCHES_PER_LEVEL = 0.28, 1.9


class NotebookFigure(Figure):
    """A figure that a notebook shows also where matplotlib's own integration is off."""

    def _repr_png_(self) -> bytes:
        return to_png(self)


def draw_all(trials: Sequence[RankedTrial]) -> dict[str, Figure]:
    """Draw the figures for which there is data; ``trials`` are best first.

    Returns:
        By name: ``positions`` and ``paths`` if there are several orders, ``progress`` if there is any trial.
    """
    kinds: dict[str, Callable[[Sequence[RankedTrial]], Figure]] = {}
    if len({trial.order for trial in trials}) > 1:
        kinds.update(positions=heat_map, paths=path_view)
    if trials:
        kinds.update(progress=progress)
    return {name: draw(trials) for name, draw in kinds.items()}


def to_svg(figure: Figure) -> str:
    """Render as SVG text."""
    text = io.StringIO()
    with mpl.rc_context(STYLE):
        figure.savefig(text, format="svg", bbox_inches="tight", metadata={"Date": None})
    return text.getvalue()


def to_png(figure: Figure) -> bytes:
    """Render as PNG bytes."""
    data = io.BytesIO()
    with mpl.rc_context(STYLE):
        figure.savefig(data, format="png", bbox_inches="tight", dpi=150)
    return data.getvalue()


def save(figures: Mapping[str, Figure], folder: Path) -> list[Path]:
    """Write ``NAME.png`` and ``NAME.svg`` of each figure, replacing existing files."""
    written = []
    for name, figure in figures.items():
        for ending, data in (("png", to_png(figure)), ("svg", to_svg(figure).encode())):
            with written_aside(folder / f"{name}.{ending}") as aside:
                aside.write_bytes(data)
            written.append(folder / f"{name}.{ending}")
    return written


def heat_map(trials: Sequence[RankedTrial]) -> Figure:
    """Heat map of the mean dev F1, and the number, of the trials with an auxiliary at a position."""
    names = sorted({name for trial in trials for name in trial.order})
    means, counts = _mean_by_position(trials, names)
    figure = NotebookFigure(figsize=(2.2 + 0.8 * means.shape[1], 1.2 + 0.45 * len(names)))
    axes = figure.subplots()
    image = axes.imshow(means, cmap=COLOUR_MAP, aspect="auto")
    bright = np.nanquantile(means, (0, 1)) @ (0.4, 0.6)
    for row, column in zip(*np.nonzero(counts), strict=True):
        colour = "black" if means[row, column] > bright else "white"
        text = f"{means[row, column]:.2f}\n{counts[row, column]}"
        axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=8)
    axes.set_yticks(range(len(names)), names)
    axes.set_xticks(range(means.shape[1]), [str(column + 1) for column in range(means.shape[1])])
    axes.set(xlabel="position in the order", title="mean dev F1, number of trials")
    figure.colorbar(image, ax=axes)
    return figure


def path_view(trials: Sequence[RankedTrial]) -> Figure:
    """The orders explored as a tree of prefixes with their best dev F1; the best order on top and in red."""
    tree = PrefixTree.from_trials(trials)
    positions = tree.positions()
    leaves = 1 + max(height for _, height in positions.values())
    levels = 1 + max(depth for depth, _ in positions.values())
    figure = NotebookFigure(figsize=(1 + INCHES_PER_LEVEL * levels, 1 + INCHES_PER_LEAF * leaves))
    axes = figure.subplots()
    _draw_edges(axes, tree, positions)
    known = [order for order in positions if order in tree.scores]
    at = np.array([positions[order] for order in known])
    points = axes.scatter(
        at[:, 0], at[:, 1], c=[tree.scores[order] for order in known], cmap=COLOUR_MAP, s=36, zorder=3
    )
    unscored = np.array([positions[order] for order in positions if order not in tree.scores]).reshape(-1, 2)
    axes.scatter(unscored[:, 0], unscored[:, 1], c=UNKNOWN, edgecolors=GREY, s=36, zorder=3)
    for order, (depth, height) in positions.items():
        if order:
            label = f"{order[-1]} {tree.scores[order]:.2f}" if order in tree.scores else order[-1]
            colour = BEST if order == tree.best[: len(order)] else "black"
            axes.text(depth + 0.03, height - 0.15, label, va="bottom", fontsize=7, color=colour, gid=node_id(order))
    axes.set(title=f"{len(tree.orders)} orders, the best dev F1 of each of their {len(positions) - 1} prefixes")
    axes.set_xlim(-0.1, levels)
    axes.set_ylim(leaves - 0.5, -0.9)
    axes.axis("off")
    figure.colorbar(points, ax=axes, shrink=min(1.0, 4 / (1 + INCHES_PER_LEAF * leaves)), anchor=(0.0, 1.0))
    return figure


def node_id(order: Sequence[str]) -> str:
    """The id of a prefix's node in the SVG of `path_view`."""
    return "path:" + ">".join(order)


def progress(trials: Sequence[RankedTrial]) -> Figure:
    """Dev F1 of each trial and of the best so far, over the updates trained until it ended."""
    ended = sorted(trials, key=lambda trial: (trial.ended, trial.number))
    scores = np.array([trial.dev_f1 for trial in ended])
    updates = np.cumsum([trial.updates - trial.updates_saved for trial in ended])
    figure = NotebookFigure(figsize=(6.4, 3.6))
    axes = figure.subplots()
    axes.plot(updates, scores, "o", color=GREY, label="each trial")
    axes.step(updates, np.maximum.accumulate(scores), where="post", color=BEST, label="best so far")
    axes.set(xlabel="updates trained by the trials that had finished", ylabel="dev F1", title="progress of the search")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def learning_curves(curves: Mapping[str, Sequence[tuple[int, float]]]) -> Figure:
    """Dev F1 over updates of some trials; each curve is (updates, dev F1) per epoch, by label."""
    figure = NotebookFigure(figsize=(6.4, 3.6))
    axes = figure.subplots()
    for (label, curve), style in zip(curves.items(), cycle(["-", "--", ":", "-."]), strict=False):
        axes.plot([updates for updates, _ in curve], [dev_f1 for _, dev_f1 in curve], style, label=label)
    axes.set(xlabel="updates", ylabel="dev F1", title="learning curves of the best trials")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), fontsize=7)
    return figure


def _mean_by_position(trials: Sequence[RankedTrial], names: Sequence[str]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Mean dev F1 (NaN where there is no trial) and number of trials, each (auxiliaries, positions)."""
    sums = np.zeros((len(names), max(len(trial.order) for trial in trials)))
    counts = np.zeros(sums.shape, dtype=int)
    for trial in trials:
        for position, name in enumerate(trial.order):
            sums[names.index(name), position] += trial.dev_f1
            counts[names.index(name), position] += 1
    return np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0), counts


def _draw_edges(axes: Any, tree: PrefixTree, positions: Mapping[Order, Position]) -> None:
    """A line from each prefix to each of its children."""
    edges = {order: [positions[order[:-1]], positions[order]] for order in positions if order}
    best = [order == tree.best[: len(order)] for order in edges]
    colours, widths = ([(BEST, GREY)[not on] for on in best], [2.5 if on else 0.8 for on in best])
    axes.add_collection(LineCollection(list(edges.values()), colors=colours, linewidths=widths, zorder=1))
