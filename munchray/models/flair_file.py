"""Write a model as one file that plain Flair loads, its embeddings included. (flair)

The file is a pickle, as all of Flair's models are: load only files from a trusted origin.
"""

from __future__ import annotations

import logging
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import flair
import torch
from flair.data import Dictionary
from flair.models import SequenceTagger
from torch import Tensor

from munchray.errors import InputError, Problem, WorkError
from munchray.features.flair_embeddings import stack_embeddings
from munchray.features.sources import Embedder
from munchray.files import written_aside
from munchray.tagging.tagger import Head, Tagger

START, STOP = "<START>", "<STOP>"
IMPOSSIBLE = -10_000.0  # Flair's score of impossible tags and transitions
TAG_TYPE = "ner"

logging.getLogger("flair").setLevel(logging.WARNING)


def write_flair_file(tagger: Tagger, embedders: Sequence[Embedder], corpus: str, target: Path) -> None:
    """Write the tagger with the head of one corpus in the format of ``SequenceTagger.load``.

    Raises:
        InputError: Flair does not support these embedders; ``target`` exists and is not a Flair model.
        WorkError: the file cannot be written.
    """
    _check_replaceable(target)
    with _on_cpu():
        embeddings, order = stack_embeddings(embedders)
        flair_tagger = _sequence_tagger(tagger, embeddings, corpus)
        widths = [embedder.width for embedder in embedders]
        flair_tagger.load_state_dict(
            {**flair_tagger.state_dict(), **_weights(tagger, corpus, _column_order(widths, order))}
        )
        with written_aside(target) as aside:
            _save(flair_tagger._get_state_dict(), aside, target)


def _save(state: dict[str, Any], aside: Path, target: Path) -> None:
    try:
        with aside.open("wb") as stream:
            torch.save(state, stream, pickle_protocol=4)
    except RuntimeError as error:  # raised by torch when a disk is full
        cause = error.__context__ if isinstance(error.__context__, OSError) else error
        raise WorkError(f"{target} cannot be written: {cause}") from error


def _check_replaceable(target: Path) -> None:
    """Refuse to replace anything but an older Flair model."""
    if target.is_dir():
        found, fix = "is a folder", f"Name a file in it, such as {target / 'tagger.pt'}"
        raise InputError(Problem(str(target), found, "a file to write", fix))
    if target.exists() and target.stat().st_size and not zipfile.is_zipfile(target):
        raise InputError(Problem(str(target), "a file that is no Flair model", "a new name, or an older model"))


def _sequence_tagger(tagger: Tagger, embeddings: Any, corpus: str) -> Any:
    dictionary = Dictionary(add_unk=False)
    for tag in (*tagger.tag_sets[corpus], START, STOP):
        dictionary.add_item(tag)
    return SequenceTagger(
        embeddings,
        dictionary,
        TAG_TYPE,
        tag_format="BIOES" if any(tag.startswith("E-") for tag in tagger.tag_sets[corpus]) else "BIO",
        hidden_size=tagger.lstm.hidden_size,
        dropout=0.0,
        word_dropout=tagger.word_dropout,
        locked_dropout=tagger.locked_dropout,
        init_from_state_dict=True,
    ).eval()


def _column_order(widths: Sequence[int], order: Sequence[int]) -> list[int]:
    """For each column of Flair's features, the index of ours."""
    ends = [sum(widths[: position + 1]) for position in range(len(widths))]
    return [column for position in order for column in range(ends[position] - widths[position], ends[position])]


def _weights(tagger: Tagger, corpus: str, columns: Sequence[int]) -> dict[str, Tensor]:
    """The weights of the tagger by Flair's names; those of the embeddings are loaded already."""
    head = tagger.heads[corpus]
    assert isinstance(head, Head)
    state = {f"rnn.{name}": value for name, value in tagger.lstm.state_dict().items()}
    state["embedding2nn.weight"] = tagger.reproject.weight.detach()[:, columns]
    state["embedding2nn.bias"] = tagger.reproject.bias.detach()
    # START and STOP are tags in Flair, but impossible for any token.
    state["linear.weight"] = torch.cat([head.linear.weight.detach(), torch.zeros(2, head.linear.in_features)])
    state["linear.bias"] = torch.cat([head.linear.bias.detach(), torch.full((2,), IMPOSSIBLE)])
    state["crf.transitions"] = _transitions(head)
    return state


def _transitions(head: Head) -> Tensor:
    """Transition, start and stop scores in Flair's layout: [to, from], START and STOP last."""
    crf = head.crf
    tags = len(crf.start)
    table = torch.full((tags + 2, tags + 2), IMPOSSIBLE)
    table[:tags, :tags] = crf.transitions.detach().T
    table[:tags, tags] = crf.start.detach()
    table[tags + 1, :tags] = crf.stop.detach()
    return table


@contextmanager
def _on_cpu() -> Iterator[None]:
    """Set Flair's global device to the CPU while modules are built for saving."""
    before, flair.device = flair.device, torch.device("cpu")
    try:
        yield
    finally:
        flair.device = before
