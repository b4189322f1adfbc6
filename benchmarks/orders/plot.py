"""Plot the regret curves of `benchmarks.orders.synthetic`, by trials and by trained stages.

    python -m benchmarks.orders.plot benchmarks/results/orders_synthetic.json

Needs matplotlib, which comes with mlflow. The shaded bands are the 95 % intervals of the means over repeats.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from munchray.files import read_json, written_aside

AXES = {"by_trials": "trials", "by_stages": "stages trained"}


def main(arguments: Sequence[str] | None = None) -> None:
    """Write both plots beside the JSON file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.orders.plot", description=__doc__.splitlines()[0])
    parser.add_argument("json", type=Path, help="written by benchmarks.orders.synthetic")
    path = parser.parse_args(arguments).json
    for kind in AXES:
        print(draw(read_json(path)["curves"], kind, path.with_name(f"{path.stem}_{kind}.png")))


def draw(curves: Sequence[Mapping[str, Any]], kind: str, target: Path) -> Path:
    """Plot a panel per family (rows) and number of auxiliaries and noise (columns), with a line per sampler.

    Raises:
        ImportError: matplotlib is not installed.
    """
    import matplotlib.pyplot as plt

    families = list(dict.fromkeys(curve["family"] for curve in curves))
    columns = list(dict.fromkeys((curve["auxiliaries"], curve["noise"]) for curve in curves))
    size = (3.2 * len(columns), 2.4 * len(families) + 0.8)
    figure, panels = plt.subplots(len(families), len(columns), figsize=size, squeeze=False, sharey="row")
    for curve in curves:
        panel = panels[families.index(curve["family"]), columns.index((curve["auxiliaries"], curve["noise"]))]
        _add(panel, curve["sampler"], curve[kind])
        panel.set_title(f"{curve['family']}, {curve['auxiliaries']} auxiliaries, noise {curve['noise']:g}", fontsize=9)
    for panel in panels[-1]:
        panel.set_xlabel(AXES[kind])
    for panel in panels[:, 0]:
        panel.set_ylabel("regret (SD)")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper center", ncols=min(len(labels), 8), frameon=False)
    figure.tight_layout(rect=(0, 0, 1, 1 - 0.5 / size[1]))
    with written_aside(target) as aside:
        figure.savefig(aside, format="png", dpi=64)
    plt.close(figure)
    return target


def _add(panel: Any, name: str, curve: Mapping[str, Sequence[float]]) -> None:
    points, means = curve["points"], curve["means"]
    low = [max(mean - half, 0.0) for mean, half in zip(means, curve["halves"], strict=True)]
    high = [mean + half for mean, half in zip(means, curve["halves"], strict=True)]
    (line,) = panel.plot(points, means, label=name, linewidth=1.2)
    panel.fill_between(points, low, high, color=line.get_color(), alpha=0.12, linewidth=0)
    panel.set_ylim(bottom=0)


if __name__ == "__main__":
    main()
