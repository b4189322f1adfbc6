"""Save and load taggers as safetensors and JSON, without pickle. (safetensors)"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as as_bytes
from torch import Tensor

from munchray.errors import InputError, Problem
from munchray.files import digest, read_json, write_json, written_aside
from munchray.settings import TrialSettings
from munchray.tagging.tagger import Tagger

FORMAT = "munchray tagger"
VERSION = 1


def save(tagger: Tagger, path: Path, corpora: Sequence[str] | None = None) -> None:
    """Save the weights, from any device.

    Args:
        corpora: save only their heads and the shared layers; None for all.
    """
    state = {name: value.cpu().contiguous() for name, value in _selected_state(tagger, corpora).items()}
    path.write_bytes(as_bytes(state))  # `save_file` would hide the OSError of a full disk


def load(tagger: Tagger, path: Path, corpora: Sequence[str] | None = None) -> None:
    """Load weights that `save` wrote with the same ``corpora`` into a tagger of the same shape.

    Raises:
        SafetensorError, RuntimeError: the file is damaged, or of another shape.
    """
    others = tagger.state_dict().keys() - _selected_state(tagger, corpora).keys()
    tagger.load_state_dict({**load_file(path), **{name: tagger.state_dict()[name] for name in others}})


def _selected_state(tagger: Tagger, corpora: Sequence[str] | None) -> dict[str, Tensor]:
    left_out = {name for name in tagger.tag_sets if corpora is not None and name not in corpora}
    prefixes = tuple(f"heads.{name}." for name in left_out)
    return {name: value for name, value in tagger.state_dict().items() if not name.startswith(prefixes)}


def digest_of(tagger: Tagger) -> str:
    """A digest of the weights, equal if and only if they are equal bit for bit."""
    state = tagger.state_dict()
    return digest(*(part for name in sorted(state) for part in (name, state[name].cpu().numpy().tobytes())))


def save_tagger(folder: Path, tagger: Tagger, settings: TrialSettings) -> None:
    """Save a tagger and the description from which `load_tagger` builds it."""
    description = {
        "format": FORMAT,
        "version": VERSION,
        "main": settings.main,
        "width": tagger.reproject.in_features,
        "tag_sets": tagger.tag_sets,
        "settings": settings.model_dump(mode="json"),
    }
    with written_aside(folder) as aside:
        aside.mkdir()
        save(tagger, aside / "weights.safetensors")
        write_json(aside / "model.json", description)


def load_tagger(folder: Path) -> tuple[Tagger, dict[str, Any]]:
    """Load a tagger in evaluation mode, and its description.

    Raises:
        InputError: the folder is not a model of this format, or is damaged.
    """
    description = read_description(folder)
    try:
        settings = TrialSettings(**description["settings"])
        tagger = Tagger(
            description["width"],
            description["tag_sets"],
            hidden_size=settings.hidden_size,
            word_dropout=settings.word_dropout,
            locked_dropout=settings.locked_dropout,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        problem = Problem(str(folder / "model.json"), f"damaged ({error!r})", "the file that was exported")
        raise InputError(problem) from None
    path = folder / "weights.safetensors"
    try:
        load(tagger, path)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise InputError(Problem(str(path), f"damaged weights ({error})", "the file that was exported")) from None
    return tagger.eval(), description


def read_description(folder: Path) -> dict[str, Any]:
    """The content of ``model.json``.

    Raises:
        InputError: not a model folder, or one of another version.
    """
    fix = "Name a folder that `munchray export` wrote"
    try:
        description = read_json(folder / "model.json")
    except (OSError, json.JSONDecodeError, UnicodeDecodeError):
        raise InputError(Problem(str(folder), "not a model folder", "model.json and weights in it", fix)) from None
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        raise InputError(Problem(str(folder / "model.json"), "not the description of a munchray model", "", fix))
    if description.get("version") != VERSION:
        found = f"model format version {description.get('version')}"
        raise InputError(Problem(str(folder), found, f"version {VERSION}", "Use the munchray that exported it"))
    return description
