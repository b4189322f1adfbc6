"""Packed batches: the tokens of several sentences without padding."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


class PackedBatch:
    """Token order of a batch: the first tokens of all sentences, longest sentence first, then all second tokens, and
    so on. torch calls this a packed sequence.

    A recursion over time takes slices of decreasing size; everything else works on the tokens without padding.
    Sentences keep their indices in ``lengths``.

    Args:
        lengths: tokens of each sentence, at least 1.
        device: of the index tensors.

    Attributes:
        sizes: the number of sentences that have a first token, a second, ...
        sentences: the sentence of each token. numpy, shape: (tokens,)
        positions: its position in the sentence. numpy, shape: (tokens,)
        sentence: ``sentences`` on the device.
        mirror: the token at this one's index when every sentence is reversed. shape: (tokens,)
        previous: the token before each token that is not the first of its sentence. shape: (tokens - batch,)
        last: the last token of each sentence. shape: (batch,)
    """

    def __init__(self, lengths: Sequence[int] | np.ndarray, device: torch.device | str = "cpu") -> None:
        self.lengths = np.asarray(lengths, np.int64)
        by_length = np.argsort(-self.lengths, kind="stable")
        falling = self.lengths[by_length]
        exists = falling > np.arange(falling[0])[:, None]
        # column: the rank of a token's sentence by length
        self.positions, column = np.nonzero(exists)
        sizes = exists.sum(1)
        starts = np.cumsum(sizes) - sizes
        self.sizes: list[int] = sizes.tolist()
        self.sentences = by_length[column]
        batch = len(falling)
        last = np.empty(batch, np.int64)
        last[by_length] = starts[falling - 1] + np.arange(batch)
        parts = (
            self.sentences,
            starts[falling[column] - 1 - self.positions] + column,
            starts[self.positions[batch:] - 1] + column[batch:],
            last,
        )
        # One transfer to the device instead of four.
        joined = torch.from_numpy(np.concatenate(parts)).to(device, non_blocking=True)
        ends = np.cumsum([len(part) for part in parts])[:-1].tolist()
        self.sentence, self.mirror, self.previous, self.last = joined.tensor_split(ends)

    def __len__(self) -> int:
        """The number of sentences."""
        return len(self.lengths)

    def steps(self, values: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
        """Views of packed values by step of time: of the first tokens, of the second ones, ..."""
        return torch.split(values, self.sizes, dim)

    def select(self, sentences: Sequence[int]) -> tuple[PackedBatch, Tensor | slice]:
        """The packed batch of some sentences (ascending indices), and the indices of their tokens in this one."""
        if len(sentences) == len(self):
            return self, slice(None)
        tokens = np.flatnonzero(np.isin(self.sentences, sentences))
        device = self.mirror.device
        return PackedBatch(self.lengths[list(sentences)], device), torch.from_numpy(tokens).to(
            device, non_blocking=True
        )

    def pack(self, sentences: Sequence[np.ndarray]) -> np.ndarray:
        """Values by sentence and token, of any trailing shape, in packed order."""
        packed = np.empty((len(self.positions), *sentences[0].shape[1:]), sentences[0].dtype)
        for number, values in enumerate(sentences):
            packed[self.sentences == number] = values
        return packed

    def unpack(self, values: Tensor) -> list[np.ndarray]:
        """Packed values by sentence and token; the inverse of `pack`."""
        by_sentence = np.lexsort((self.positions, self.sentences))
        return np.split(values.cpu().numpy()[by_sentence], np.cumsum(self.lengths)[:-1])
