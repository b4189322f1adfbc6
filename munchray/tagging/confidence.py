"""How sure a CRF is of a span: the summed probability of all tag sequences in which `spans_of` finds it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from munchray.corpora.tags import OUTSIDE, Span, begins_span
from munchray.tagging.crf import CRF
from munchray.tagging.packed_batch import PackedBatch


@torch.no_grad()
def span_probabilities(
    crf: CRF, tags: Sequence[str], emissions: Tensor, packing: PackedBatch, found: Sequence[Sequence[Span]]
) -> list[list[float]]:
    """The probability of each span, given its sentence: these tokens and no others, as one entity of this type.

    A forward pass over the span's tokens that admits only the moves by which `spans_of` reads this span, between the
    scores of all paths that come up to it and of all paths that go on from it.

    Args:
        tags: the tag that each of the CRF's numbers means.
        emissions: shape: (tokens, num_tags)
        found: the spans of each sentence.

    Returns:
        shape of ``found``; from 0 to 1.
    """
    spans = [(number, *span) for number, of_sentence in enumerate(found) for span in of_sentence]
    if not spans:
        return [[] for _ in found]
    probabilities = iter(_probabilities(_Lattice(crf, tags, emissions, packing), spans).tolist())
    return [[next(probabilities) for _ in of_sentence] for of_sentence in found]


class _Lattice:
    """Scores of all paths of a batch, and which moves begin a span or go on with one; log scores throughout."""

    def __init__(self, crf: CRF, tags: Sequence[str], emissions: Tensor, packing: PackedBatch) -> None:
        self.emissions = emissions
        self.left, self.right, self.log_z = crf.forward_backward(emissions, packing)
        self.lengths = packing.lengths
        self.rows = packing.unpack(torch.arange(len(emissions)))  # of each sentence's tokens
        self.kinds = [tag[2:] for tag in tags]
        begins = torch.tensor([[begins_span(before, tag) for tag in tags] for before in (OUTSIDE, *tags)])
        inside = torch.tensor([tag != OUTSIDE for tag in tags])
        self.start = _only(crf.start, begins[0])
        self.begin = _only(crf.transitions, begins[1:])
        self.go_on = _only(crf.transitions, inside & ~begins[1:])
        self.leave = _only(crf.transitions, ~inside | begins[1:])
        self.stop = crf.stop


def _probabilities(lattice: _Lattice, spans: Sequence[tuple[int, int, int, str]]) -> Tensor:
    """shape: (spans,)"""
    sentences, starts, stops = (np.array(column) for column in list(zip(*spans, strict=True))[:3])
    rows = [lattice.rows[sentence] for sentence in sentences]
    of_kind = torch.tensor([[kind == own for own in lattice.kinds] for *_, kind in spans])
    scores = _entering(lattice, rows, starts) + lattice.emissions[[row[s] for row, s in zip(rows, starts, strict=True)]]
    scores = _only(scores, of_kind)
    for step in range(1, int((stops - starts).max())):
        longer = np.flatnonzero(stops - starts > step)
        emitted = lattice.emissions[[rows[n][starts[n] + step] for n in longer]]
        scores[longer] = _moved(scores[longer], lattice.go_on) + emitted
    within = scores.unsqueeze(2) + lattice.leave
    at_end = torch.from_numpy(stops == lattice.lengths[sentences])
    ahead = lattice.right[[row[min(s, len(row) - 1)] for row, s in zip(rows, stops, strict=True)]]
    ended = torch.where(at_end, (scores + lattice.stop).logsumexp(1), (within + ahead.unsqueeze(1)).logsumexp((1, 2)))
    return (ended - lattice.log_z[sentences]).exp().clamp(max=1)


def _entering(lattice: _Lattice, rows: Sequence[np.ndarray], starts: np.ndarray) -> Tensor:
    """Of all paths that begin a span with each tag at its first token, without its emission. shape: (spans, tags)"""
    before = lattice.left[[row[max(s - 1, 0)] for row, s in zip(rows, starts, strict=True)]]
    is_first = torch.from_numpy(starts == 0).unsqueeze(1)
    return torch.where(is_first, lattice.start, _moved(before, lattice.begin))


def _moved(scores: Tensor, moves: Tensor) -> Tensor:
    """One step on. shapes: (spans, tags), (tags, tags)"""
    return (scores.unsqueeze(2) + moves).logsumexp(1)


def _only(scores: Tensor, allowed: Tensor) -> Tensor:
    return scores.masked_fill(~allowed, -math.inf)
