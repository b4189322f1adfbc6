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
STREAMS = 16  # parts of the text that are read in parallel, at most
BPTT_STEPS = 50  # characters between two updates (truncated back-propagation)
MIN_UPDATES = 50  # per epoch, at least: a short text is read in fewer streams
EMBEDDING_SIZE = 32
LEARNING_RATE = 0.01  # best of 0.005 and 0.01 with 8 to 32 streams, on 290,000 characters in 4 epochs
CLIP_NORM = 1.0
MIN_COUNT = 3  # rarer characters share id 0, so that unknown characters have a trained embedding


def train_character_model(
    sentences: Sequence[Sequence[str]],
    *,
    forward: bool,
    hidden_size: int,
    epochs: int,
    seed: int,
    progress: Callable[[str], None],
) -> tuple[CharacterModel, Alphabet]:
    """Train a model on the sentences, framed as in `CharacterEmbedder`; deterministic for a seed.

    Adam with the learning rate falling linearly to zero; one epoch reads the text once. `progress` receives the
    epoch's mean training loss in bits per character.

    Raises:
        WorkError: there is no text to train on.
    """
    alphabet = build_alphabet(sentences)
    text = torch.from_numpy(alphabet.encode(frame_text(sentences, forward))).long()
    if len(text) < 2:
        raise WorkError("a character model cannot be trained: the training text of this job is empty")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = CharacterModel(len(alphabet.char_to_id), EMBEDDING_SIZE, hidden_size, decoder=True)
    optimizer = torch.optim.Adam(model.parameters(), LEARNING_RATE)
    updates = epochs * sum(1 for _ in bptt_chunks(text))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda update: max(0.0, 1 - update / updates))
    for epoch in range(1, epochs + 1):
        bits = _train_epoch(model, text, optimizer, schedule)
        progress(f"epoch {epoch} of {epochs}, {bits:.2f} bits per character")
    return model, alphabet


def build_alphabet(sentences: Sequence[Sequence[str]]) -> Alphabet:
    """The characters of the sentences, most frequent first, after ``<unk>``."""
    counts = Counter(chain.from_iterable(chain.from_iterable(sentences)))
    counts[" "] += MIN_COUNT  # added by `frame_text`
    counts[START] += MIN_COUNT
    frequent = sorted((c for c, n in counts.items() if n >= MIN_COUNT), key=lambda c: (-counts[c], c))
    return Alphabet({character: index for index, character in enumerate(["<unk>", *frequent])})


def frame_text(sentences: Sequence[Sequence[str]], forward: bool) -> str:
    """The sentences as one text, each with its start and end, reversed for a backward model."""
    lines = (" ".join(tokens) for tokens in sentences)
    return "".join(START + (line if forward else line[::-1]) + END for line in lines)


def bptt_chunks(text: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Inputs and targets of truncated back-propagation, both [steps, streams], in order of the updates."""
    streams = max(1, min(STREAMS, len(text) // (MIN_UPDATES * BPTT_STEPS)))
    length = (len(text) - 1) // streams
    characters = text[: streams * length].view(streams, length).t()
    following = text[1 : streams * length + 1].view(streams, length).t()
    for begin in range(0, length, BPTT_STEPS):
        yield characters[begin : begin + BPTT_STEPS], following[begin : begin + BPTT_STEPS]


def bits_per_character(
    model: CharacterModel, alphabet: Alphabet, sentences: Sequence[Sequence[str]], forward: bool
) -> float:
    """Mean loss over the text, read as one stream; 2 to this power is the perplexity."""
    text = torch.from_numpy(alphabet.encode(frame_text(sentences, forward))).long()
    total, state = 0.0, None
    with torch.inference_mode():
        for part in torch.split(torch.arange(len(text) - 1), BPTT_STEPS):
            output, state = model(text[part].unsqueeze(1), state)
            total += _loss(model, output, text[part + 1].unsqueeze(1)).item() * len(part)
    return total / (len(text) - 1) / math.log(2)


def _train_epoch(
    model: CharacterModel,
    text: Tensor,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LambdaLR,
) -> float:
    """One pass over the text; returns its mean loss in bits per character."""
    losses, state = [], None
    for characters, following in bptt_chunks(text):
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
    assert model.decoder is not None, "needs a model with a decoder"
    return cross_entropy(model.decoder(output).flatten(0, 1), following.flatten())
