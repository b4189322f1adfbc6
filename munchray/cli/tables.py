"""What a person sees when work is done: rankings, counts, stages. (rich)"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from munchray.cli import terminal
from munchray.cli.progress import working
from munchray.errors import InputError, Problem
from munchray.orders import order_text

if TYPE_CHECKING:  # the command line starts without torch, optuna and ray
    from munchray.report.effects import Answer, OrderEvidence
    from munchray.training.stage_cache import StageInfo
    from munchray.tuning.ranking import Ranking

PAIRS = ("before", "beside")
"""Questions with too many effects to show those that may be none."""
NARROW = ("order", "trial", "lr", "batch", "dev F1", "minutes")
ROOM_FOR_ALL = 110
"""Characters a line from which on the ranking shows more than `NARROW`."""


def show_ranking(ranking: Ranking, main: str) -> None:
    """The trials of a search, best first."""
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
    shown = NARROW if terminal.out.is_terminal and terminal.out.width < ROOM_FOR_ALL else columns
    places = [columns.index(name) for name in shown]
    title = f"{main}: {len(rows)} finished trials, best first"
    terminal.table(title, shown, [[row[position] for position in places] for row in rows])
    for number, reason in ranking.failed:
        terminal.out.print(Text(f"failed {number:04d}: {reason}"))
    if ranking.running:
        terminal.out.print(Text(f"not finished: {', '.join(f'{n:04d}' for n in ranking.running)}"))


def show_reuse(ranking: Ranking) -> None:
    """How many stages were trained and reused, and what that saved; nothing where no trial could reuse one."""
    reuse = ranking.reuse
    stages, updates = reuse.stages_trained + reuse.stages_reused, reuse.updates_trained + reuse.updates_saved
    if any(len(trial.stages) > 1 for trial in ranking.trials) or reuse.stages_reused:
        saved = f"{reuse.updates_saved:,} of {updates:,} updates saved ({reuse.updates_saved / updates:.0%})"
        terminal.out.print(f"stages: {reuse.stages_trained} of {stages} trained, {reuse.stages_reused} reused; {saved}")


def show_evidence(evidence: OrderEvidence) -> None:
    """What the trials say about orders; of pairs only those whose interval excludes 0."""
    rows, notes, intervals = [], [], 0
    for answer in evidence.answers:
        shown = [effect for effect in answer.effects if answer.question not in PAIRS or effect.low * effect.high > 0]
        rows += [
            (answer.question, each.of, f"{each.points:+.2f}", f"{each.low:+.2f} to {each.high:+.2f}") for each in shown
        ]
        intervals += len(answer.effects)
        notes += [f"{answer.question}: {_note(answer, len(shown))}"]
    title = f"What {evidence.trials} trials and {evidence.beginnings} beginnings of their orders say, points of dev F1"
    terminal.out.print()
    terminal.table(title, ("effect", "of", "points", "95 % interval"), rows, numeric_from=2)
    for note in notes:
        terminal.out.print(Text(note))
    if intervals:
        terminal.out.print(Text(f"By chance alone about {intervals / 20:.0f} of {intervals} intervals exclude 0."))


def _note(answer: Answer, shown: int) -> str:
    """What an effect means, and what is not in the table."""
    if answer.reason:
        return answer.reason
    text = answer.meaning
    if shown < len(answer.effects):
        text += f"; {len(answer.effects) - shown} more, whose intervals include 0"
    return text + (f"; unknown: {', '.join(answer.unknown)}" if answer.unknown else "")


def show_corpora(data_dir: Path | None) -> None:
    """The corpora that a job can name, and where they are."""
    from munchray.corpora.catalogue import data_folder, find_corpus, known_corpora

    rows = []
    for name, entity_type in known_corpora().items():
        try:
            position = str(find_corpus(name, data_dir).folder or "generated")
        except InputError:
            position = "not here; munchray corpora fetch brings it"
        rows.append((name, entity_type, position))
    terminal.table(f"Corpora (real ones in {data_folder(data_dir)})", ("name", "type", "where"), rows, numeric_from=3)


def show_counts(data_dir: Path | None) -> None:
    """What every split holds, beside the paper's Table 1.

    Raises:
        InputError: a split is not there.
    """
    from munchray.corpora.catalogue import SPLITS, TABLE_1, check_split

    measured = []
    with working("counting") as say:
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


def show_nodes(rows: Sequence[Mapping[str, str]]) -> None:
    """The nodes of a cluster and what is wrong with them, to stderr: no result of a command."""
    terminal.note(f"{len(rows)} nodes")
    for row in rows:
        has = f"{row['CPUs']} CPUs, {row['GPUs']} GPUs, munchray {row['munchray']}, torch {row['torch']}"
        terminal.note(f"  {row['node']:<15}  {row['host']}  {has}  {row[''] or 'fit'}")


def show_stages(folder: Path, stages: Sequence[tuple[StageInfo, bool]]) -> None:
    """The stages of a store and whether each was deleted just now, those used last at the end."""
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
