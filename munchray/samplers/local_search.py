"""Local search over permutations too many to enumerate."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from munchray.samplers.order_features import Array, Orders

BEAM_WIDTH = 4  # orders improved in parallel
MAX_STEPS = 25


def hill_climb(start: Orders, expand: Callable[[Orders], Orders], score: Callable[[Orders], Array]) -> Orders:
    """Hill climbing from ``start`` (N, L): expand the `BEAM_WIDTH` best orders until the best stops improving.

    Args:
        expand: the allowed neighbors of some orders.
        score: (N,) for N orders.

    Returns:
        Every order that was scored, best first.
    """
    seen: set[bytes] = set()
    orders = _take_unseen(start, seen)
    scores = score(orders)
    for _ in range(MAX_STEPS):
        found = _take_unseen(expand(_best_first(orders, scores)[:BEAM_WIDTH]), seen)
        if not len(found):
            break
        best = scores.max()
        orders, scores = np.concatenate([orders, found]), np.concatenate([scores, score(found)])
        if scores.max() <= best:
            break
    return _best_first(orders, scores)


def neighbors(order: NDArray[np.int16], count: int, lengths: Sequence[int]) -> Orders:
    """The neighborhood of an order (L,) of ``count`` auxiliaries.

    Moves: swap two auxiliaries, move one, reverse a segment, replace one by an absent one; where the resulting
    length is allowed, insert an absent one or remove one.
    """
    present = order[order >= 0]
    absent = np.setdiff1d(np.arange(count, dtype=np.int16), present)
    found = [present[_permutations(len(present))], *(_replacements(present, other) for other in absent)]
    if len(present) + 1 in lengths:
        found += [_insertions(present, other) for other in absent]
    if len(present) - 1 in lengths:
        found.append(present[_removals(len(present))])
    return np.concatenate([_pad(rows, len(order)) for rows in found])


@lru_cache(maxsize=64)
def _permutations(length: int) -> NDArray[np.intp]:
    """(moves, length): the index from which each position takes its auxiliary."""
    rows = {tuple(row) for row in _moves(length)} - {tuple(range(length))}
    return np.array(sorted(rows), dtype=np.intp).reshape(-1, length)


def _moves(length: int) -> Iterator[list[int]]:
    for low in range(length):
        for high in range(length):
            others = [index for index in range(length) if index != low]
            yield [*others[:high], low, *others[high:]]
            if low < high:
                yield [*range(low), high, *range(low + 1, high), low, *range(high + 1, length)]
                yield [*range(low), *range(high, low - 1, -1), *range(high + 1, length)]


@lru_cache(maxsize=64)
def _removals(length: int) -> NDArray[np.intp]:
    return np.array([[index for index in range(length) if index != out] for out in range(length)], dtype=np.intp)


def _replacements(present: NDArray[np.int16], other: np.int16) -> Orders:
    rows = np.tile(present, (len(present), 1))
    np.fill_diagonal(rows, other)
    return rows


def _insertions(present: NDArray[np.int16], other: np.int16) -> Orders:
    return np.array([np.insert(present, position, other) for position in range(len(present) + 1)])


def _pad(rows: Orders, length: int) -> Orders:
    wide = np.full((len(rows), length), -1, dtype=np.int16)
    wide[:, : rows.shape[1]] = rows
    return wide


def _best_first(orders: Orders, scores: Array) -> Orders:
    return orders[np.argsort(-scores, kind="stable")]


def _take_unseen(orders: Orders, seen: set[bytes]) -> Orders:
    """The distinct orders that are not in ``seen``, which they are added to."""
    rows = {row.tobytes(): row for row in orders}
    unseen = [row for key, row in rows.items() if key not in seen]
    seen.update(rows)
    return np.array(unseen, dtype=np.int16).reshape(len(unseen), orders.shape[1])
