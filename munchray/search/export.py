"""From a trial of a search to a model that one can take away."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from munchray.errors import InputError, Problem
from munchray.files import read_json
from munchray.models.bundle import export_model
from munchray.search.results import RankedTrial, Ranking, ranking
from munchray.search.search import trial_folder
from munchray.settings import Job
from munchray.training.inputs import open_embedders


def export_trial(job: Job, number: int | None, target: Path, progress: Callable[[str], None]) -> int:
    """Export a finished trial of a job's search, the best one when no number is given.

    Returns:
        The number of the trial.

    Raises:
        InputError: no such trial; ``target`` holds something else.
        WorkError: no trial has finished.
    """
    ranked = ranking(job)
    chosen = ranked.best if number is None else _chosen(ranked, number)
    folder = trial_folder(ranked.folder, chosen.number)
    scores = {
        "search": job.name,
        "trial": asdict(chosen),
        "settings": read_json(folder / "settings.json"),
        "data": read_json(ranked.folder / "job.json")["data"],
    }
    export_model(folder / "model", open_embedders(job, progress), scores, target)
    return chosen.number


def _chosen(ranked: Ranking, number: int) -> RankedTrial:
    for trial in ranked.trials:
        if trial.number == number:
            return trial
    valid = ", ".join(str(trial.number) for trial in ranked.trials) or "none"
    raise InputError(Problem("--trial", f"{number}", f"a finished trial ({valid})"))
