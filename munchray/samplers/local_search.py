"""Better orders by small changes, where there are too many orders to look at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from munchray.samplers.order_features import Array, Orders

BEAM = 4  # orders improved side by side
MOST_STEPS = 25


def hill_climb(start: Orders, changed: Callable[[Orders], Orders], score: Callable[[Orders], Array]) -> Orders:
    """Orders found by changing the best `BEAM` of ``start`` (N, L) again and again until the best stays the best.

    Args:
        changed: allowed orders one change away from some.
        score: (N,) for N orders.

    Returns:
        Every order that was scored, best first.
    """
    seen: set[bytes] = set()
    orders = _unseen(start, seen)
    scores = score(orders)
    for _ in range(MOST_STEPS):
        near = _unseen(changed(_best(orders, scores)[:BEAM]), seen)
        if not len(near):
            break
        height = scores.max()
        orders, scores = np.concatenate([orders, near]), np.concatenate([scores, score(near)])
        if scores.max() <= height:
            break
    return _best(orders, scores)


def changes(order: NDArray[np.int16], count: int, lengths: Sequence[int]) -> Orders:
    """Orders of ``count`` auxiliaries one change away from one (L,).

    Two swapped, one moved, a stretch turned round; one of the others put in a position; as far as the lengths are
    allowed, one of the others added or one left out.
    """
    present = order[order >= 0]
    absent = np.setdiff1d(np.arange(count, dtype=np.int16), present)
    found = [present[_rearranged(len(present))], *(_replaced(present, other) for other in absent)]
    if len(present) + 1 in lengths:
        found += [_inserted(present, other) for other in absent]
    if len(present) - 1 in lengths:
        found.append(present[_without_one(len(present))])
    return np.concatenate([_padded(rows, len(order)) for rows in found])


@lru_cache(maxsize=64)
def _rearranged(length: int) -> NDArray[np.intp]:
    """(changes, length): where each position takes its auxiliary from."""
    rows = {tuple(row) for row in _rearrangements(length)} - {tuple(range(length))}
    return np.array(sorted(rows), dtype=np.intp).reshape(-1, length)


def _rearrangements(length: int) -> Iterator[list[int]]:
    for low in range(length):
        for high in range(length):
            moved = [position for position in range(length) if position != low]
            yield [*moved[:high], low, *moved[high:]]
            if low < high:
                yield [*range(low), high, *range(low + 1, high), low, *range(high + 1, length)]
                yield [*range(low), *range(high, low - 1, -1), *range(high + 1, length)]


@lru_cache(maxsize=64)
def _without_one(length: int) -> NDArray[np.intp]:
    return np.array([[at for at in range(length) if at != out] for out in range(length)], dtype=np.intp)


def _replaced(present: NDArray[np.int16], other: np.int16) -> Orders:
    rows = np.tile(present, (len(present), 1))
    np.fill_diagonal(rows, other)
    return rows


def _inserted(present: NDArray[np.int16], other: np.int16) -> Orders:
    return np.array([np.insert(present, position, other) for position in range(len(present) + 1)])


def _padded(rows: Orders, longest: int) -> Orders:
    wide = np.full((len(rows), longest), -1, dtype=np.int16)
    wide[:, : rows.shape[1]] = rows
    return wide


def _best(orders: Orders, scores: Array) -> Orders:
    return orders[np.argsort(-scores, kind="stable")]


def _unseen(orders: Orders, seen: set[bytes]) -> Orders:
    """Each order that was not seen before, once; they are then."""
    rows = {row.tobytes(): row for row in orders}
    fresh = [row for key, row in rows.items() if key not in seen]
    seen.update(rows)
    return np.array(fresh, dtype=np.int16).reshape(len(fresh), orders.shape[1])
