"""The winner of a search as a registered model of MLflow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from munchray.features.specs import parse_embedding
from munchray.models.card import model_card
from munchray.models.export import TrainedModel
from munchray.settings import Job
from munchray.tracking.tracker import SEARCH, TRIAL, default_uri
from munchray.tuning.search import search_folder, search_id

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
