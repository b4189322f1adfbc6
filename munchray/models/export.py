"""A trained model leaves: as munchray's folder without pickle, or as one file for Flair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from munchray.features.sources import Embedder
from munchray.models.bundle import export_model
from munchray.tagging.weights import load_model

FORMATS = ("munchray", "flair")


@dataclass(frozen=True)
class TrainedModel:
    """A model that some training left, with what it takes to use it elsewhere.

    Args:
        name: for people, such as ``trial 0003``.
        folder: its weights, as `save_model` wrote them.
        embedders: what its features came from, in order.
        scores: what it was trained on, by which settings, and what it scored; ready for JSON.
    """

    name: str
    folder: Path
    embedders: Sequence[Embedder]
    scores: Mapping[str, Any]


def export(trained: TrainedModel, target: Path, form: str) -> None:
    """Write the model, its embeddings included.

    Args:
        target: a folder to write, or a file for ``flair``; an older export there is replaced.
        form: one of `FORMATS`.

    Raises:
        InputError: ``target`` holds something else; Flair cannot hold these embeddings.
    """
    if form == "munchray":
        export_model(trained.folder, trained.embedders, trained.scores, target)
        return
    from munchray.models.flair_file import write_flair_file  # importing flair takes many seconds

    tagger, description = load_model(trained.folder)
    write_flair_file(tagger, trained.embedders, description["main"], target)
