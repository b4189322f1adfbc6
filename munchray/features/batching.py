"""Batches of sentences of similar length, so that padding stays small."""

from __future__ import annotations

from collections.abc import Iterator, Sequence


def batches_by_length(lengths: Sequence[int], max_padded: int, max_size: int | None = None) -> Iterator[list[int]]:
    """Indices grouped by length, shortest first.

    Args:
        lengths: of the items.
        max_padded: of a batch, its size times its greatest length; a single longer item is a batch of its own.
        max_size: items per batch; None for no limit.
    """
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and (len(batch) == max_size or (len(batch) + 1) * lengths[index] > max_padded):
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch
