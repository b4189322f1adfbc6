"""Export a trained model: as a folder of safetensors and JSON, or as one file for Flair."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from munchray.features.sources import Embedder
from munchray.files import write_json, written_aside
from munchray.tagging.weights import load_tagger, read_description

FORMATS = ("munchray", "flair")


@dataclass(frozen=True)
class TrainedModel:
    """The result of a training, with everything that an export needs.

    Args:
        name: for messages, such as ``trial 0003``.
        folder: its weights, as `save_tagger` wrote them.
        embedders: of its features, in order.
        scores: corpora, settings and scores of the training; ready for JSON.
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
        InputError: ``target`` is something else than an export; Flair does not support these embeddings.
    """
    if form == "munchray":
        export_folder(trained, target)
        return
    from munchray.models.flair_file import write_flair_file  # importing flair takes many seconds

    tagger, description = load_tagger(trained.folder)
    write_flair_file(tagger, trained.embedders, description["main"], target)


def export_folder(trained: TrainedModel, target: Path) -> None:
    """Write a self-contained folder, without pickle, that `Model.load` reads.

    weights.safetensors, model.json   the tagger        embeddings/0, 1, ...   its embedders
    scores.json                       origin and scores

    Raises:
        InputError: ``target`` is neither empty nor an export.
    """
    if target.exists() and any(target.iterdir() if target.is_dir() else [target]):
        read_description(target)
    with written_aside(target) as aside:
        aside.mkdir()
        for file in trained.folder.iterdir():
            shutil.copyfile(file, aside / file.name)
        for index, embedder in enumerate(trained.embedders):
            embedder.save(aside / "embeddings" / str(index))
        write_json(aside / "scores.json", trained.scores)
