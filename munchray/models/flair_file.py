"""A model as one file that plain Flair loads, its embeddings included. (flair)

The file is a pickle, as all of Flair's are: whoever loads it must trust whoever wrote it.
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
from munchray.features.flair_embeddings import stacked
from munchray.features.sources import Embedder
from munchray.files import written_aside
from munchray.tagging.tagger import Head, Tagger

START, STOP = "<START>", "<STOP>"
FORBIDDEN = -10_000.0  # Flair's own score of what never happens
TAG_TYPE = "ner"

logging.getLogger("flair").setLevel(logging.WARNING)


def write_flair_file(tagger: Tagger, embedders: Sequence[Embedder], corpus: str, target: Path) -> None:
    """Write the tagger with the head of one corpus as ``SequenceTagger.load`` reads it.

    Raises:
        InputError: the embedders cannot be put into such a file; ``target`` is something else than such a file.
        WorkError: the disk refuses.
    """
    _check_replaceable(target)
    with _on_cpu():
        embeddings, order = stacked(embedders)
        copy = _sequence_tagger(tagger, embeddings, corpus)
        widths = [embedder.width for embedder in embedders]
        copy.load_state_dict({**copy.state_dict(), **_weights(tagger, corpus, _columns(widths, order))})
        with written_aside(target) as aside:
            _save(copy._get_state_dict(), aside, target)


def _save(state: dict[str, Any], aside: Path, target: Path) -> None:
    try:
        with aside.open("wb") as stream:
            torch.save(state, stream, pickle_protocol=4)
    except RuntimeError as error:  # torch's own, when a disk is full
        cause = error.__context__ if isinstance(error.__context__, OSError) else error
        raise WorkError(f"{target} cannot be written: {cause}") from error


def _check_replaceable(target: Path) -> None:
    """An older file may be replaced, nothing else."""
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


def _columns(widths: Sequence[int], order: Sequence[int]) -> list[int]:
    """Our column of each of Flair's."""
    ends = [sum(widths[: position + 1]) for position in range(len(widths))]
    return [column for position in order for column in range(ends[position] - widths[position], ends[position])]


def _weights(tagger: Tagger, corpus: str, columns: Sequence[int]) -> dict[str, Tensor]:
    """Our weights by Flair's names; its embeddings keep theirs."""
    head = tagger.heads[corpus]
    assert isinstance(head, Head)
    state = {f"rnn.{name}": value for name, value in tagger.lstm.state_dict().items()}
    state["embedding2nn.weight"] = tagger.reproject.weight.detach()[:, columns]
    state["embedding2nn.bias"] = tagger.reproject.bias.detach()
    # Flair counts START and STOP among the tags; no token ever has them.
    state["linear.weight"] = torch.cat([head.linear.weight.detach(), torch.zeros(2, head.linear.in_features)])
    state["linear.bias"] = torch.cat([head.linear.bias.detach(), torch.full((2,), FORBIDDEN)])
    state["crf.transitions"] = _transitions(head)
    return state


def _transitions(head: Head) -> Tensor:
    """Our transitions, start and stop in one table: to a tag (row) from a tag (column), START and STOP last."""
    crf = head.crf
    tags = len(crf.start)
    table = torch.full((tags + 2, tags + 2), FORBIDDEN)
    table[:tags, :tags] = crf.transitions.detach().T
    table[:tags, tags] = crf.start.detach()
    table[tags + 1, :tags] = crf.stop.detach()
    return table


@contextmanager
def _on_cpu() -> Iterator[None]:
    """Flair puts what it builds on one global device; what is built to be saved is built on the CPU."""
    before, flair.device = flair.device, torch.device("cpu")
    try:
        yield
    finally:
        flair.device = before
