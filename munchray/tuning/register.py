"""Registers the best model of a search, or the final one, in MLflow."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from munchray.errors import InputError, WorkError
from munchray.features.specs import parse_embedding
from munchray.models.card import model_card
from munchray.models.export import TrainedModel
from munchray.progress import Progress
from munchray.settings import Job
from munchray.tracking.run_writer import SEARCH, TRIAL, default_uri
from munchray.tuning.folder import search_folder, search_id

if TYPE_CHECKING:
    from munchray.tracking.registry import Registered


def register(job: Job, trained: TrainedModel) -> Registered:
    """Register a model under the job's name, as its champion; the same model twice is one version.

    Raises:
        InputError: MLflow cannot be reached, or does not know this search.
    """
    from munchray.tracking.registry import Registry  # importing MLflow takes seconds

    registry = Registry(job.tracking_uri or default_uri(search_folder(job)))
    tags = {SEARCH: search_id(job)}
    if "trial" in trained.scores:
        tags[TRIAL] = str(trained.scores["trial"]["number"])
    embeddings = [parse_embedding(entry, "embeddings") for entry in job.embeddings]
    return registry.register(job.name, trained, tags, model_card(job.name, trained.scores, embeddings))


def register_winner(job: Job, open_model: Callable[[], TrainedModel], progress: Progress, option: str = "") -> None:
    """Register what a search or finalize found, at its end; if that fails, what was found stays found.

    Args:
        option: what `munchray register` needs to repeat it.
    """
    with progress.task("registering the best model"):
        try:
            entry = register(job, open_model())
        except (InputError, WorkError, OSError) as error:
            again = f"munchray register JOB{option}"
            progress.note(f"the best model was not registered in MLflow ({error}); {again} does it")
            return
    if entry.new:
        progress.note(f"the best model is version {entry.version} and champion of models:/{entry.name}")
