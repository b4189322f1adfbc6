"""Train a small character language model on a job's own text (``train: {characters: ...}``)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import chain

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from munchray.errors import WorkError
from munchray.features.charlm import END, Alphabet, CharacterModel

START = "\n"
STREAMS = 16  # parts of the text that are read side by side, at most
STEPS = 50  # characters between two updates (truncated back-propagation)
UPDATES = 50  # in an epoch, at least: a short text is read in fewer streams
EMBEDDING_SIZE = 32
LEARNING_RATE = 0.01  # of 0.005 and 0.01, with 8 to 32 streams, this learned 290,000 characters best in 4 epochs
CLIP_NORM = 1.0
RARE = 3  # characters seen less often share number 0, so that unknown ones have trained weights


def train_character_model(
    sentences: Sequence[Sequence[str]],
    *,
    forward: bool,
    hidden_size: int,
    epochs: int,
    seed: int,
    progress: Callable[[str], None],
) -> tuple[CharacterModel, Alphabet]:
    """A model of the sentences, each framed as `CharacterEmbedder` frames it; the same for the same seed.

    Adam with the learning rate falling linearly to zero; one epoch reads the text once. `progress` is told the
    epoch's mean loss in bits a character (of the text being learned, not of held-out text).

    Raises:
        WorkError: there is no text to learn from.
    """
    alphabet = alphabet_of(sentences)
    text = torch.from_numpy(alphabet.encode(framed(sentences, forward))).long()
    if len(text) < 2:
        raise WorkError("a character model cannot be trained: the training text of this job is empty")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = CharacterModel(len(alphabet.numbers), EMBEDDING_SIZE, hidden_size, decoder=True)
    optimizer = torch.optim.Adam(model.parameters(), LEARNING_RATE)
    updates = epochs * sum(1 for _ in excerpts(text))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda update: max(0.0, 1 - update / updates))
    for epoch in range(1, epochs + 1):
        bits = _train_epoch(model, text, optimizer, schedule)
        progress(f"epoch {epoch} of {epochs}, {bits:.2f} bits a character")
    return model, alphabet


def alphabet_of(sentences: Sequence[Sequence[str]]) -> Alphabet:
    """The characters of the text, most frequent first, after ``<unk>``."""
    counts = Counter(chain.from_iterable(chain.from_iterable(sentences)))
    counts[" "] += RARE  # what `framed` adds
    counts[START] += RARE
    frequent = sorted((c for c, n in counts.items() if n >= RARE), key=lambda c: (-counts[c], c))
    return Alphabet({character: number for number, character in enumerate(["<unk>", *frequent])})


def framed(sentences: Sequence[Sequence[str]], forward: bool) -> str:
    """One long text: every sentence with its start and end, reversed for a backward model."""
    lines = (" ".join(tokens) for tokens in sentences)
    return "".join(START + (line if forward else line[::-1]) + END for line in lines)


def excerpts(text: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Characters and the characters after them, both [steps, streams], one update's after the other's."""
    streams = max(1, min(STREAMS, len(text) // (UPDATES * STEPS)))
    length = (len(text) - 1) // streams
    characters = text[: streams * length].view(streams, length).t()
    following = text[1 : streams * length + 1].view(streams, length).t()
    for begin in range(0, length, STEPS):
        yield characters[begin : begin + STEPS], following[begin : begin + STEPS]


def bits_per_character(
    model: CharacterModel, alphabet: Alphabet, sentences: Sequence[Sequence[str]], forward: bool
) -> float:
    """The model's mean loss over the text, read as one stream; 2 to this power is its perplexity."""
    text = torch.from_numpy(alphabet.encode(framed(sentences, forward))).long()
    total, state = 0.0, None
    with torch.inference_mode():
        for part in torch.split(torch.arange(len(text) - 1), STEPS):
            output, state = model(text[part].unsqueeze(1), state)
            total += _loss(model, output, text[part + 1].unsqueeze(1)).item() * len(part)
    return total / (len(text) - 1) / math.log(2)


def _train_epoch(
    model: CharacterModel,
    text: Tensor,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LambdaLR,
) -> float:
    """One pass over the text; its mean loss in bits a character."""
    losses, state = [], None
    for characters, following in excerpts(text):
        output, state = model(characters, state)
        loss = _loss(model, output, following)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
        optimizer.step()
        schedule.step()
        state = (state[0].detach(), state[1].detach())
        losses.append(loss.item())
    return float(np.mean(losses)) / math.log(2)


def _loss(model: CharacterModel, output: Tensor, following: Tensor) -> Tensor:
    assert model.decoder is not None, "only a model with its decoder predicts"
    return cross_entropy(model.decoder(output).flatten(0, 1), following.flatten())
