"""Opens the model of a finished trial, with its embeddings, for export."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

from munchray.errors import InputError, Problem
from munchray.files import read_json
from munchray.models.export import TrainedModel
from munchray.settings import Job
from munchray.training.inputs import open_embedders
from munchray.tuning.folder import search_storage, trial_folder
from munchray.tuning.ranking import RankedTrial, Ranking, ranking


def trained_by(job: Job, number: int | None, progress: Callable[[str], None] = lambda line: None) -> TrainedModel:
    """Open the model of a finished trial, the best one when no number is given.

    Raises:
        InputError: no such trial; an embedding is missing.
        WorkError: no trial has finished.
    """
    ranked = ranking(job)
    chosen = ranked.best if number is None else _chosen(ranked, number)
    folder = trial_folder(ranked.folder, chosen.number)
    search_storage(job).within(folder).download("model")
    scores = {
        "search": job.name,
        "trial": asdict(chosen),
        "settings": read_json(folder / "settings.json"),
        "data": read_json(ranked.folder / "job.json")["data"],
    }
    return TrainedModel(f"trial {chosen.number:04d}", folder / "model", open_embedders(job, progress), scores)


def _chosen(ranked: Ranking, number: int) -> RankedTrial:
    for trial in ranked.trials:
        if trial.number == number:
            return trial
    valid = ", ".join(str(trial.number) for trial in ranked.trials) or "none"
    raise InputError(Problem("--trial", f"{number}", f"a finished trial ({valid})"))
