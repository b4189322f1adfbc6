"""Span confidence: the probability, under a CRF, of all tag sequences in which `spans_of` finds a span."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from munchray.corpora.tags import OUTSIDE, TokenSpan, begins_span
from munchray.tagging.crf import CRF
from munchray.tagging.packed_batch import PackedBatch


@torch.no_grad()
def span_probabilities(
    crf: CRF, tags: Sequence[str], emissions: Tensor, packing: PackedBatch, spans: Sequence[Sequence[TokenSpan]]
) -> list[list[float]]:
    """The probability of each span given its sentence: exactly these tokens, as one entity of this type.

    A forward pass over the tokens of the span, restricted to the transitions by which `spans_of` reads this span,
    between the forward scores of all paths up to it and the backward scores of all paths after it (constrained
    forward-backward, Culotta and McCallum 2004).

    Args:
        tags: the tag of each tag id of the CRF.
        emissions: shape: (tokens, num_tags)
        spans: of each sentence.

    Returns:
        shape of ``spans``; from 0 to 1.
    """
    numbered = [(number, *span) for number, of_sentence in enumerate(spans) for span in of_sentence]
    if not numbered:
        return [[] for _ in spans]
    probabilities = iter(_span_probabilities(_Lattice(crf, tags, emissions, packing), numbered).tolist())
    return [[next(probabilities) for _ in of_sentence] for of_sentence in spans]


class _Lattice:
    """Forward and backward log scores of a batch, and its transition scores by their effect on a span."""

    def __init__(self, crf: CRF, tags: Sequence[str], emissions: Tensor, packing: PackedBatch) -> None:
        self.emissions = emissions
        self.left, self.right, self.log_z = crf.forward_backward(emissions, packing)
        self.lengths = packing.lengths
        self.rows = packing.unpack(torch.arange(len(emissions)))  # indices of each sentence's tokens
        self.kinds = [tag[2:] for tag in tags]
        begins = torch.tensor([[begins_span(before, tag) for tag in tags] for before in (OUTSIDE, *tags)])
        inside = torch.tensor([tag != OUTSIDE for tag in tags])
        self.start = _masked(crf.start, begins[0])
        self.enter = _masked(crf.transitions, begins[1:])
        self.stay = _masked(crf.transitions, inside & ~begins[1:])
        self.leave = _masked(crf.transitions, ~inside | begins[1:])
        self.stop = crf.stop


def _span_probabilities(lattice: _Lattice, spans: Sequence[tuple[int, int, int, str]]) -> Tensor:
    """shape: (spans,)"""
    sentences, starts, stops = (np.array(column) for column in list(zip(*spans, strict=True))[:3])
    rows = [lattice.rows[sentence] for sentence in sentences]
    of_kind = torch.tensor([[kind == own for own in lattice.kinds] for *_, kind in spans])
    scores = (
        _entry_scores(lattice, rows, starts) + lattice.emissions[[row[s] for row, s in zip(rows, starts, strict=True)]]
    )
    scores = _masked(scores, of_kind)
    for step in range(1, int((stops - starts).max())):
        longer = np.flatnonzero(stops - starts > step)
        emitted = lattice.emissions[[rows[n][starts[n] + step] for n in longer]]
        scores[longer] = _advance(scores[longer], lattice.stay) + emitted
    within = scores.unsqueeze(2) + lattice.leave
    at_end = torch.from_numpy(stops == lattice.lengths[sentences])
    ahead = lattice.right[[row[min(s, len(row) - 1)] for row, s in zip(rows, stops, strict=True)]]
    ended = torch.where(at_end, (scores + lattice.stop).logsumexp(1), (within + ahead.unsqueeze(1)).logsumexp((1, 2)))
    return (ended - lattice.log_z[sentences]).exp().clamp(max=1)


def _entry_scores(lattice: _Lattice, rows: Sequence[np.ndarray], starts: np.ndarray) -> Tensor:
    """Scores of all paths that enter a span with each tag, without the emission. shape: (spans, tags)"""
    before = lattice.left[[row[max(s - 1, 0)] for row, s in zip(rows, starts, strict=True)]]
    is_first = torch.from_numpy(starts == 0).unsqueeze(1)
    return torch.where(is_first, lattice.start, _advance(before, lattice.enter))


def _advance(scores: Tensor, moves: Tensor) -> Tensor:
    """One step of the forward recursion. shapes: (spans, tags), (tags, tags)"""
    return (scores.unsqueeze(2) + moves).logsumexp(1)


def _masked(scores: Tensor, allowed: Tensor) -> Tensor:
    return scores.masked_fill(~allowed, -math.inf)
