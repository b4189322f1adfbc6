"""Prints results: rankings, effects, corpora, stages. (rich)"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from munchray.cli import terminal
from munchray.errors import InputError, Problem
from munchray.orders import order_text
from munchray.progress import console
from munchray.progress.terminal import TerminalProgress

if TYPE_CHECKING:  # the command line starts without torch, optuna and ray
    from munchray.report.effects import EffectEstimates, OrderEffects
    from munchray.training.stage_cache import StageInfo
    from munchray.tuning.ranking import Ranking

PAIRS = ("before", "beside")
"""Kinds of effects that are many, so that only those whose interval excludes 0 are shown."""
NARROW = ("order", "trial", "lr", "batch", "dev F1", "minutes")
WIDE = 110
"""Characters per line from which the ranking shows all columns."""


def show_ranking(ranking: Ranking, main: str) -> None:
    """Print the trials of a search, best first."""
    columns = ("order", "trial", "lr", "batch", "dev P", "dev R", "dev F1", "epochs", "updates", "minutes")
    rows = [
        (
            order_text(trial.order) or "(no auxiliary)",
            f"{trial.number:04d}",
            f"{trial.learning_rate:g}",
            str(trial.batch_size),
            f"{trial.dev_precision:.2f}",
            f"{trial.dev_recall:.2f}",
            f"{trial.dev_f1:.2f}",
            str(trial.epochs),
            str(trial.updates),
            f"{trial.seconds / 60:.1f}",
        )
        for trial in ranking.trials
    ]
    shown = NARROW if console.out.is_terminal and console.out.width < WIDE else columns
    shown_at = [columns.index(name) for name in shown]
    title = f"{main}: {len(rows)} finished trials, best first"
    terminal.table(title, shown, [[row[position] for position in shown_at] for row in rows])
    for number, reason in ranking.failed:
        console.out.print(Text(f"failed {number:04d}: {reason}"))
    if ranking.running:
        console.out.print(Text(f"not finished: {', '.join(f'{n:04d}' for n in ranking.running)}"))


def show_reuse(ranking: Ranking) -> None:
    """Print how many stages were trained and reused, if any could be."""
    reuse = ranking.reuse
    stages, updates = reuse.stages_trained + reuse.stages_reused, reuse.updates_trained + reuse.updates_saved
    if any(len(trial.stages) > 1 for trial in ranking.trials) or reuse.stages_reused:
        saved = f"{reuse.updates_saved:,} of {updates:,} updates saved ({reuse.updates_saved / updates:.0%})"
        console.out.print(f"stages: {reuse.stages_trained} of {stages} trained, {reuse.stages_reused} reused; {saved}")


def show_effects(order_effects: OrderEffects) -> None:
    """Print the estimated effects of order; of pairs only those whose interval excludes 0."""
    rows, notes, intervals = [], [], 0
    for estimates in order_effects.kinds:
        shown = [effect for effect in estimates.effects if estimates.kind not in PAIRS or effect.low * effect.high > 0]
        rows += [
            (estimates.kind, each.of, f"{each.points:+.2f}", f"{each.low:+.2f} to {each.high:+.2f}") for each in shown
        ]
        intervals += len(estimates.effects)
        notes += [f"{estimates.kind}: {_note(estimates, len(shown))}"]
    title = f"Effects on dev F1 in points, from {order_effects.trials} trials and {order_effects.prefixes} prefixes"
    console.out.print()
    terminal.table(title, ("effect", "of", "points", "95 % interval"), rows, numeric_from=2)
    for note in notes:
        console.out.print(Text(note))
    if intervals:
        console.out.print(Text(f"By chance alone about {intervals / 20:.0f} of {intervals} intervals exclude 0."))


def _note(estimates: EffectEstimates, shown: int) -> str:
    """What a kind of effect means, and which are left out."""
    if estimates.reason:
        return estimates.reason
    text = estimates.meaning
    if shown < len(estimates.effects):
        text += f"; {len(estimates.effects) - shown} more, whose intervals include 0"
    return text + (f"; unknown: {', '.join(estimates.unknown)}" if estimates.unknown else "")


def show_corpora(data_dir: Path | None) -> None:
    """Print the corpora that a job can name, and where they lie."""
    from munchray.corpora.catalogue import data_folder, find_corpus, known_corpora

    rows = []
    for name, entity_type in known_corpora().items():
        try:
            where = str(find_corpus(name, data_dir).folder or "generated")
        except InputError:
            where = "not here: munchray corpora fetch"
        rows.append((name, entity_type, where))
    terminal.table(f"Corpora (real ones in {data_folder(data_dir)})", ("name", "type", "where"), rows, numeric_from=3)


def show_counts(data_dir: Path | None) -> None:
    """Print the counts of every split beside the paper's Table 1.

    Raises:
        InputError: a split is not there.
    """
    from munchray.corpora.catalogue import SPLITS, TABLE_1, check_split

    measured = []
    with TerminalProgress().task("counting") as say:
        for name in TABLE_1:
            say(name)
            measured += [check_split(name, split, data_dir) for split in SPLITS]
    rows = []
    for row in measured:
        counts = [f"{n:,}" for n in row.measured] if row.measured else ["-", "-", "-"]
        rows.append((f"{row.corpus}/{row.split}", *counts, row.verdict))
    terminal.table("Counts against Table 1", ("split", "sentences", "words", "annotations", "Table 1"), rows)
    missing = [row for row in measured if row.measured is None]
    if missing:
        raise InputError(*(Problem(f"{row.corpus}/{row.split}", row.verdict) for row in missing))


def show_stages(folder: Path, stages: Sequence[tuple[StageInfo, bool]]) -> None:
    """Print cached stages, those used last at the end, and whether each was deleted just now."""
    rows = [
        (
            order_text(stage.corpora[1:]) or "(unknown)",
            stage.corpora[0] if stage.corpora else "",
            *(f"{stage.settings.get(name, math.nan):g}" for name in ("learning_rate", "batch_size", "seed")),
            f"{stage.dev_f1:.2f}",
            f"{stage.size / 1e6:.1f}",
            f"{datetime.fromtimestamp(stage.used):%Y-%m-%d %H:%M}",
            "deleted" if deleted else stage.damage,
        )
        for stage, deleted in stages
    ]
    total = sum(stage.size for stage, _ in stages) / 1e9
    columns = ("order so far", "main", "lr", "batch", "seed", "dev F1", "MB", "last used", "")
    terminal.table(f"{len(rows)} stages in {folder}, {total:.2f} GB", columns, rows, numeric_from=2)
