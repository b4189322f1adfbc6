"""The one training loop: an epoch of updates by SGD, and the score of a split."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from munchray.errors import WorkError
from munchray.seeds import seed_of
from munchray.settings import TrialSettings
from munchray.tagging.packed_batch import PackedBatch
from munchray.tagging.scoring import SpanCounts, sentence_counts
from munchray.tagging.tagger import Tagger
from munchray.training.curriculum import Batch, Pair
from munchray.training.data import Split

DECODE_TOKENS = 1_000  # a batch that is decoded must not need more memory than one that is trained on


@dataclass(frozen=True)
class EpochLoss:
    """What one epoch of training gave.

    Args:
        loss: mean over corpora of the mean loss of the sentences that count towards convergence.
        updates: parameter updates.
        clipped: how many of them were clipped.
        tokens: tokens trained on.
        seconds: wall time.
    """

    loss: float
    updates: int
    clipped: int
    tokens: int
    seconds: float


def train_epoch(
    tagger: Tagger,
    batches: Iterable[Batch],
    splits: dict[str, Split],
    settings: TrialSettings,
    learning_rate: float,
    scope: Sequence[object],
    tick: Callable[[], None],
) -> EpochLoss:
    """One update per batch: plain SGD with clipped gradients.

    Args:
        splits: the training split of each corpus.
        scope: names the epoch's randomness (dropout).
        tick: called after every update.

    Raises:
        WorkError: the loss is not finite any more.
    """
    started = time.monotonic()
    device = next(tagger.parameters()).device
    torch.manual_seed(seed_of(settings.seed, "dropout", *scope))
    tagger.train()
    parameters = list(tagger.parameters())
    # Sums stay on the device: reading a number back makes a GPU wait.
    losses: dict[str, Tensor] = defaultdict(lambda: torch.zeros((), device=device))
    counted: dict[str, int] = defaultdict(int)
    clipped = torch.zeros((), device=device)
    updates = tokens = 0
    for batch in batches:
        features, packing, tags, corpora = assemble(batch.sentences, splits, device)
        per_sentence = tagger.losses(features, packing, tags, corpora)
        loss = per_sentence.mean() if settings.loss_reduction == "mean" else per_sentence.sum()
        tagger.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        clipped += torch.nn.utils.clip_grad_norm_(parameters, settings.clip_norm) > settings.clip_norm
        _descend(parameters, learning_rate)
        if batch.counts:  # such a batch holds sentences of one corpus
            losses[corpora[0]] += per_sentence.detach().sum()
            counted[corpora[0]] += len(corpora)
        updates += 1
        tokens += len(features)
        tick()
    mean = float(np.mean([losses[corpus].item() / counted[corpus] for corpus in losses]))
    if not math.isfinite(mean):
        raise WorkError(f"the training loss became {mean} at learning rate {learning_rate:g}: try a lower one")
    return EpochLoss(mean, updates, int(clipped.item()), tokens, time.monotonic() - started)


@torch.no_grad()
def _descend(parameters: Sequence[Tensor], learning_rate: float) -> None:
    """A step of plain SGD. What torch.optim would import for it takes 68 MB of every process, and a second or two."""
    moved = [(parameter, parameter.grad) for parameter in parameters if parameter.grad is not None]
    torch._foreach_add_([parameter for parameter, _ in moved], [grad for _, grad in moved], alpha=-learning_rate)


def assemble(
    pairs: Sequence[Pair], splits: dict[str, Split], device: torch.device
) -> tuple[Tensor, PackedBatch, Tensor, list[str]]:
    """The sentences of a batch as tensors.

    Returns:
        packed features, shape: (tokens, width); where the sentences are in them; packed tag ids, shape: (tokens,); and
        the corpus of each sentence.
    """
    corpora = [corpus for corpus, _ in pairs]
    numbers = np.array([number for _, number in pairs])
    packing = PackedBatch([splits[corpus].lengths[number] for corpus, number in pairs], device)
    features = np.empty((len(packing.sentences), splits[corpora[0]].features.width), np.float16)
    tags = np.empty(len(features), np.int64)
    for corpus in dict.fromkeys(corpora):
        split = splits[corpus]
        own = np.array([name == corpus for name in corpora])[packing.sentences]
        sentences, positions = numbers[packing.sentences[own]], packing.positions[own]
        features[own] = split.features.gather(sentences, positions)
        tags[own] = split.tag_ids[split.starts[sentences] + positions]
    return _on(device, features).float(), packing, _on(device, tags), corpora


def _on(device: torch.device, array: np.ndarray) -> Tensor:
    """The array as a tensor there. To a GPU it travels from pinned memory, while the GPU works on."""
    tensor = torch.from_numpy(array)
    return tensor if device.type == "cpu" else tensor.pin_memory().to(device, non_blocking=True)


def predict(tagger: Tagger, split: Split, corpus: str) -> list[list[str]]:
    """The best tags of every sentence of a split, by the head of ``corpus``."""
    tagger.eval()
    device = next(tagger.parameters()).device
    tags: list[list[str]] = [[] for _ in split.lengths]
    for chosen in _decoding_batches(split.lengths):
        packing = PackedBatch(split.lengths[chosen], device)
        features = split.features.gather(chosen[packing.sentences], packing.positions)
        for i, path in zip(chosen, tagger.decode(_on(device, features).float(), packing, corpus), strict=True):
            tags[i] = path
    return tags


def _decoding_batches(lengths: np.ndarray) -> list[np.ndarray]:
    """Sentences of similar length, about `DECODE_TOKENS` at a time."""
    by_length = np.argsort(lengths, kind="stable")
    batch = np.cumsum(lengths[by_length]) // DECODE_TOKENS
    return [chosen for chosen in np.split(by_length, np.flatnonzero(np.diff(batch)) + 1) if len(chosen)]


def score(tagger: Tagger, split: Split, corpus: str) -> list[SpanCounts]:
    """Exact-span counts of each sentence of a split."""
    predicted = predict(tagger, split, corpus)
    return [sentence_counts(gold, found) for gold, found in zip(split.tags, predicted, strict=True)]
