"""Draw the README's picture: the ranking of a quickstart search, as SVG.

    python docs/ranking_picture.py [--storage DIR]

The search takes about four minutes on two cores. A finished one in ``--storage`` is reused.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import munchray as mr

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "images" / "ranking.svg"
JOB = "jobs/quickstart.yaml"
COLOURS = ("#0072b2", "#8e4585", "#00795a", "#c0500c")
WIDTH, TOP, ROW, MARGIN = 860, 72, 28, 20
CHIP, GAP = 132, 22  # an auxiliary, and the arrow to the next
RATE = MARGIN + 3 * CHIP + 2 * GAP + 44  # right end of the column of learning rates
AXIS = (RATE + 30, WIDTH - MARGIN - 50)
TICK = 5.0  # points of F1


def main() -> None:
    """Search and draw."""
    parser = argparse.ArgumentParser(prog="python docs/ranking_picture.py", description=__doc__)
    parser.add_argument("--storage", type=Path, help="storage of the search (default: temporary)")
    options = parser.parse_args()
    with TemporaryDirectory() as aside:
        job = mr.load_job(ROOT / JOB, storage=str((options.storage or Path(aside)).resolve()))
        ranking = mr.search(job).ranking
    PICTURE.write_text(drawn(ranking.to_dict("records"), job.main), encoding="utf-8")
    print(f"{PICTURE.relative_to(ROOT)}: {PICTURE.stat().st_size // 1000} KB")


def drawn(trials: list[dict[str, Any]], main: str) -> str:
    """A row for each trial: its order as chips, its learning rate, its dev F1 on an axis."""
    names = sorted({name for trial in trials for name in trial["order"]})
    colours = dict(zip(names, COLOURS, strict=True))
    scores = [trial["dev_f1"] for trial in trials]
    low, high = TICK * math.floor(min(scores) / TICK), TICK * math.ceil(max(scores) / TICK)
    bottom = TOP + ROW * len(trials)

    def x_of(score: float) -> float:
        return AXIS[0] + (AXIS[1] - AXIS[0]) * (score - low) / (high - low)

    parts = [
        text(MARGIN, 26, f"{len(trials)} trials of {JOB}, best first", weight="bold", size=15),
        text(MARGIN, 50, f"order of auxiliaries for {main}", fill="#555"),
        text(RATE, 50, "rate", anchor="end", fill="#555"),
        text(AXIS[0], 50, "dev F1", fill="#555"),
    ]
    for tick in range(round((high - low) / TICK) + 1):
        score = low + tick * TICK
        parts += [
            f'<path d="M{x_of(score):.1f} {TOP - 12}V{bottom}" stroke="#ddd"/>',
            text(x_of(score), bottom + 16, f"{score:g}", anchor="middle", fill="#555", size=11),
        ]
    for row, trial in enumerate(trials):
        middle = TOP + ROW * row
        for position, name in enumerate(trial["order"]):
            x = MARGIN + position * (CHIP + GAP)
            arrow = [text(x - GAP / 2, middle + 4, "→", anchor="middle", fill="#555")] if position else []
            chip = f'<rect x="{x}" y="{middle - 11}" width="{CHIP}" height="22" rx="11" fill="{colours[name]}"/>'
            parts += [*arrow, chip, text(x + CHIP / 2, middle + 4, name, anchor="middle", fill="#fff", size=12)]
        x = x_of(trial["dev_f1"])
        parts += [
            text(RATE, middle + 4, f"{trial['learning_rate']:g}", anchor="end"),
            f'<circle cx="{x:.1f}" cy="{middle}" r="5" fill="#333"/>',
            text(x + 10, middle + 4, f"{trial['dev_f1']:.1f}"),
        ]
    size = f'width="{WIDTH}" height="{bottom + 30}"'
    box = f'<rect x="0.5" y="0.5" width="{WIDTH - 1}" height="{bottom + 29}" rx="8" fill="#fff" stroke="#ccc"/>'
    opened = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="Helvetica, Arial, sans-serif">'
    return "\n".join([opened, box, *parts, "</svg>"]) + "\n"


def text(x: float, y: float, content: str, **style: Any) -> str:
    """A text element; ``anchor``, ``fill``, ``size`` and ``weight`` as in SVG."""
    anchor, fill = style.get("anchor", "start"), style.get("fill", "#222")
    font = f'font-size="{style.get("size", 13)}" font-weight="{style.get("weight", "normal")}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{fill}" {font}>{content}</text>'


if __name__ == "__main__":
    main()
