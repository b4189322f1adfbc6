"""The training loop: one epoch of SGD updates; decoding and scoring of a split."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
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

DECODE_TOKENS = 1_000  # keeps the memory of decoding below that of a training step


@dataclass(frozen=True)
class EpochLoss:
    """Loss and statistics of one training epoch.

    Args:
        loss: mean over corpora of the mean loss of the sentences that count toward convergence.
        updates: parameter updates.
        clipped: number of updates whose gradient was clipped.
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
) -> EpochLoss:
    """One update per batch: plain SGD with clipped gradients.

    Args:
        batches: consumed one at a time; see `tick_after_each` for a callback after every update.
        splits: the training split of each corpus.
        scope: identifies the epoch; seeds dropout together with the trial's seed.

    Raises:
        WorkError: the loss is no longer finite.
    """
    started = time.monotonic()
    device = next(tagger.parameters()).device
    torch.manual_seed(seed_of(settings.seed, "dropout", *scope))
    tagger.train()
    parameters = list(tagger.parameters())
    # Sums stay on the device: reading a number back would synchronize with the GPU.
    losses: dict[str, Tensor] = defaultdict(lambda: torch.zeros((), device=device))
    counted: dict[str, int] = defaultdict(int)
    clipped = torch.zeros((), device=device)
    updates = tokens = 0
    for batch in batches:
        features, packed, tags, corpora = assemble(batch.sentences, splits, device)
        per_sentence = tagger.losses(features, packed, tags, corpora)
        loss = per_sentence.mean() if settings.loss_reduction == "mean" else per_sentence.sum()
        tagger.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        clipped += torch.nn.utils.clip_grad_norm_(parameters, settings.clip_norm) > settings.clip_norm
        _sgd_step(parameters, learning_rate)
        if batch.counts_toward_convergence:  # such a batch holds sentences of one corpus
            losses[corpora[0]] += per_sentence.detach().sum()
            counted[corpora[0]] += len(corpora)
        updates += 1
        tokens += len(features)
    mean = float(np.mean([losses[corpus].item() / counted[corpus] for corpus in losses]))
    if not math.isfinite(mean):
        raise WorkError(f"the training loss became {mean} at learning rate {learning_rate:g}: try a lower one")
    return EpochLoss(mean, updates, int(clipped.item()), tokens, time.monotonic() - started)


@torch.no_grad()
def _sgd_step(parameters: Sequence[Tensor], learning_rate: float) -> None:
    """One step of plain SGD; torch.optim's imports would cost every process 68 MB and a second or two."""
    moved = [(parameter, parameter.grad) for parameter in parameters if parameter.grad is not None]
    torch._foreach_add_([parameter for parameter, _ in moved], [grad for _, grad in moved], alpha=-learning_rate)


def tick_after_each(batches: Iterable[Batch], tick: Callable[[], None]) -> Iterator[Batch]:
    """Call ``tick`` after each batch, that is after the update that `train_epoch` makes with it."""
    for batch in batches:
        yield batch
        tick()


def assemble(
    pairs: Sequence[Pair], splits: dict[str, Split], device: torch.device
) -> tuple[Tensor, PackedBatch, Tensor, list[str]]:
    """Assemble the sentences of a batch as packed tensors.

    Returns:
        packed features, shape: (tokens, width); the `PackedBatch` that indexes them; packed tag ids, shape: (tokens,);
        and the corpus of each sentence.
    """
    corpora = [corpus for corpus, _ in pairs]
    indices = np.array([index for _, index in pairs])
    packed = PackedBatch([splits[corpus].lengths[index] for corpus, index in pairs], device)
    features = np.empty((len(packed.sentences), splits[corpora[0]].features.width), np.float16)
    tags = np.empty(len(features), np.int64)
    for corpus in dict.fromkeys(corpora):
        split = splits[corpus]
        own = np.array([name == corpus for name in corpora])[packed.sentences]
        sentences, positions = indices[packed.sentences[own]], packed.positions[own]
        features[own] = split.features.gather(sentences, positions)
        tags[own] = split.tag_ids[split.starts[sentences] + positions]
    return _to_device(device, features).float(), packed, _to_device(device, tags), corpora


def _to_device(device: torch.device, array: np.ndarray) -> Tensor:
    """Copy the array to a device; to a GPU asynchronously, from pinned memory."""
    tensor = torch.from_numpy(array)
    return tensor if device.type == "cpu" else tensor.pin_memory().to(device, non_blocking=True)


def predict(tagger: Tagger, split: Split, corpus: str) -> list[list[str]]:
    """Decode every sentence of a split with the head of ``corpus``."""
    tagger.eval()
    device = next(tagger.parameters()).device
    tags: list[list[str]] = [[] for _ in split.lengths]
    for chosen in _decoding_batches(split.lengths):
        packed = PackedBatch(split.lengths[chosen], device)
        features = split.features.gather(chosen[packed.sentences], packed.positions)
        for i, path in zip(chosen, tagger.decode(_to_device(device, features).float(), packed, corpus), strict=True):
            tags[i] = path
    return tags


def _decoding_batches(lengths: np.ndarray) -> list[np.ndarray]:
    """Indices of sentences of similar length, about `DECODE_TOKENS` tokens per batch."""
    by_length = np.argsort(lengths, kind="stable")
    batch = np.cumsum(lengths[by_length]) // DECODE_TOKENS
    return [chosen for chosen in np.split(by_length, np.flatnonzero(np.diff(batch)) + 1) if len(chosen)]


def score(tagger: Tagger, split: Split, corpus: str) -> list[SpanCounts]:
    """Exact-span counts of each sentence of a split."""
    predicted = predict(tagger, split, corpus)
    return [sentence_counts(gold, found) for gold, found in zip(split.tags, predicted, strict=True)]
