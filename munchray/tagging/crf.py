"""A linear-chain CRF with start and stop scores: log-likelihood, best path, marginals (paper, Eq. 5-8).

The log partition function is differentiated by the forward-backward algorithm instead of by autograd: its gradients
*are* the marginals, and one loop over time replaces a graph of several nodes per token. Tokens come packed
(`PackedBatch`), so a step computes on the sentences that reach it, without padding.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from munchray.tagging.packed_batch import PackedBatch


class CRF(nn.Module):
    """A linear-chain CRF layer.

    Args:
        num_tags: size of the tag set.

    Attributes:
        transitions: ``[i, j]`` is the score of tag j after tag i (A in Eq. 5). shape: (num_tags, num_tags)
        start: score of beginning with a tag. shape: (num_tags,)
        stop: score of ending with a tag. shape: (num_tags,)
    """

    def __init__(self, num_tags: int) -> None:
        super().__init__()
        self.transitions = nn.Parameter(torch.empty(num_tags, num_tags))
        self.start = nn.Parameter(torch.empty(num_tags))
        self.stop = nn.Parameter(torch.empty(num_tags))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialise from a standard normal distribution, as Flair does."""
        for parameter in self.parameters():
            nn.init.normal_(parameter)

    def negative_log_likelihood(self, emissions: Tensor, tags: Tensor, packing: PackedBatch) -> Tensor:
        """``-log p(tags | sentence)`` of each sentence (Eq. 7).

        Args:
            emissions: P of Eq. 5. shape: (tokens, num_tags)
            tags: gold tags. shape: (tokens,)

        Returns:
            shape: (batch,)
        """
        return self.log_partition(emissions, packing) - self.score(emissions, tags, packing)

    def score(self, emissions: Tensor, tags: Tensor, packing: PackedBatch) -> Tensor:
        """``s(e, y)`` of Eq. 5 for the given tags. shapes as in `negative_log_likelihood`."""
        first = len(packing)
        entered = torch.cat([self.start[tags[:first]], self.transitions[tags[packing.previous], tags[first:]]])
        scores = emissions.gather(1, tags.unsqueeze(1)).squeeze(1) + entered
        return self.stop[tags[packing.last]].index_add(0, packing.sentence, scores)

    def log_partition(self, emissions: Tensor, packing: PackedBatch) -> Tensor:
        """Log of the sum of exponential scores over all tag sequences. shapes as in `negative_log_likelihood`."""
        result: Tensor = _LogPartition.apply(  # type: ignore[no-untyped-call]
            emissions, self.transitions, self.start, self.stop, packing
        )
        return result

    @torch.no_grad()
    def marginals(self, emissions: Tensor, packing: PackedBatch) -> Tensor:
        """Probability of each tag at each token. shape: (tokens, num_tags)"""
        return _unary(*self.forward_backward(emissions, packing), emissions, packing)

    def forward_backward(self, emissions: Tensor, packing: PackedBatch) -> tuple[Tensor, Tensor, Tensor]:
        """Forward and backward log scores of each tag of each token, its emission included in both, and log Z.

        shapes: twice (tokens, num_tags), (batch,)
        """
        left, right = _forward_backward(emissions, self.transitions, self.start, self.stop, packing)
        return left, right, _log_z(left, self.stop, packing)

    @torch.no_grad()
    def decode(self, emissions: Tensor, packing: PackedBatch) -> Tensor:
        """The best tag sequence of each sentence by the Viterbi algorithm (Eq. 6). shape: (tokens,)"""
        steps = packing.steps(emissions)
        # best: score of the best path to each token that ends in each tag
        best = [self.start + steps[0]]
        pointers = []
        for emitted in steps[1:]:
            # a cell is the best path ending in tag i, then tag j. shape: (sentences, num_tags, num_tags)
            scores, previous = (best[-1][: len(emitted)].unsqueeze(2) + self.transitions).max(1)
            pointers.append(previous)
            best.append(scores + emitted)
        # the best tag of each token if its sentence ended there: final for last tokens, overwritten for the others
        tags = (torch.cat(best) + self.stop).argmax(1)
        steps = packing.steps(tags)
        for here, earlier, pointer in zip(steps[:0:-1], steps[-2::-1], reversed(pointers), strict=True):
            earlier[: len(here)] = pointer.gather(1, here.unsqueeze(1)).squeeze(1)
        return tags


class _LogPartition(torch.autograd.Function):
    """The log partition function with the marginals as its gradient."""

    @staticmethod
    def forward(
        ctx: Any, emissions: Tensor, transitions: Tensor, start: Tensor, stop: Tensor, packing: PackedBatch
    ) -> Tensor:
        left, right = _forward_backward(emissions, transitions, start, stop, packing)
        log_z = _log_z(left, stop, packing)
        ctx.save_for_backward(emissions, transitions, left, right, log_z)
        ctx.packing = packing
        return log_z

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        emissions, transitions, left, right, log_z = ctx.saved_tensors
        packing, first = ctx.packing, len(ctx.packing)
        unary = _unary(left, right, log_z, emissions, packing) * grad[packing.sentence].unsqueeze(1)
        # p(tag i at the token before, tag j here). shape: (tokens - batch, num_tags, num_tags)
        entering = packing.sentence[first:]
        ahead = right[first:] - log_z[entering].unsqueeze(1)
        pair = (left[packing.previous].unsqueeze(2) + ahead.unsqueeze(1)).add_(transitions).exp_()
        grad_transitions = torch.einsum("nij,n->ij", pair, grad[entering])
        return unary, grad_transitions, unary[:first].sum(0), unary[packing.last].sum(0), None


def _forward_backward(
    emissions: Tensor, transitions: Tensor, start: Tensor, stop: Tensor, packing: PackedBatch
) -> tuple[Tensor, Tensor]:
    """Forward (left) and backward (right) log scores of each tag of each token, its emission included in both.

    The backward scores are the forward scores of the reversed sentences with transposed transitions, so one loop
    computes both. shapes: (tokens, num_tags)
    """
    both = torch.stack([emissions, emissions[packing.mirror]])
    moves = torch.stack([transitions, transitions.T]).exp()
    steps = packing.steps(both, 1)
    scores = [steps[0] + torch.stack([start, stop]).unsqueeze(1)]
    for emitted in steps[1:]:
        before = scores[-1][:, : emitted.shape[1]]
        peak = before.amax(2, keepdim=True)
        scores.append((before - peak).exp_().bmm(moves).log_().add_(peak).add_(emitted))
    left, right = torch.cat(scores, 1)
    return left, right[packing.mirror]


def _log_z(left: Tensor, stop: Tensor, packing: PackedBatch) -> Tensor:
    """Log of the partition function of each sentence. shape: (batch,)"""
    return (left[packing.last] + stop).logsumexp(1)


def _unary(left: Tensor, right: Tensor, log_z: Tensor, emissions: Tensor, packing: PackedBatch) -> Tensor:
    """Probability of each tag at each token. shape: (tokens, num_tags)"""
    return (left + right - emissions - log_z[packing.sentence].unsqueeze(1)).exp()
