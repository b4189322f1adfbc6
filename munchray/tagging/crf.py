"""A linear-chain CRF with start and stop scores: log-likelihood, best path, marginals (paper, Eq. 5-8).

The log partition function is differentiated by the forward-backward algorithm instead of by autograd: its gradients
*are* the marginals, and one loop over time replaces a graph of several nodes per token.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class CRF(nn.Module):
    """Scores of tag sequences.

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
        """Standard normal, as Flair's CRF starts."""
        for parameter in self.parameters():
            nn.init.normal_(parameter)

    def negative_log_likelihood(self, emissions: Tensor, tags: Tensor, lengths: Tensor) -> Tensor:
        """``-log p(tags | sentence)`` of each sentence (Eq. 7).

        Args:
            emissions: P of Eq. 5, anything beyond a sentence's length. shape: (batch, time, num_tags)
            tags: gold tags; anything within the tag set beyond a sentence's length. shape: (batch, time)
            lengths: tokens of each sentence, at least 1. shape: (batch,)

        Returns:
            shape: (batch,)
        """
        return self.log_partition(emissions, lengths) - self.score(emissions, tags, lengths)

    def score(self, emissions: Tensor, tags: Tensor, lengths: Tensor) -> Tensor:
        """``s(e, y)`` of Eq. 5 for the given tags. shapes as in `negative_log_likelihood`."""
        inside = _inside(lengths, tags.shape[1])
        emitted = emissions.gather(2, tags.unsqueeze(2)).squeeze(2) * inside
        moved = self.transitions[tags[:, :-1], tags[:, 1:]] * inside[:, 1:]
        last = tags.gather(1, (lengths - 1).unsqueeze(1)).squeeze(1)
        return self.start[tags[:, 0]] + emitted.sum(1) + moved.sum(1) + self.stop[last]

    def log_partition(self, emissions: Tensor, lengths: Tensor) -> Tensor:
        """Log of the summed exponential scores of all tag sequences. shapes as in `negative_log_likelihood`."""
        result: Tensor = _LogPartition.apply(  # type: ignore[no-untyped-call]
            emissions, self.transitions, self.start, self.stop, lengths
        )
        return result

    @torch.no_grad()
    def marginals(self, emissions: Tensor, lengths: Tensor) -> Tensor:
        """Probability of each tag at each token, zero beyond a sentence. shape: (batch, time, num_tags)"""
        left, right = _forward_backward(emissions, self.transitions, self.start, self.stop, lengths)
        log_z = _last(left + self.stop, lengths).logsumexp(1)
        return _unary(left, right, emissions, log_z, lengths)

    @torch.no_grad()
    def decode(self, emissions: Tensor, lengths: Tensor) -> list[list[int]]:
        """The best tag sequence of each sentence by the Viterbi algorithm (Eq. 6). shapes as above."""
        inside = _inside(lengths, emissions.shape[1]).unsqueeze(2)
        # best: score of the best path that ends in each tag. shape: (batch, num_tags)
        best = self.start + emissions[:, 0]
        pointers = []
        for t in range(1, emissions.shape[1]):
            # a cell is the best path ending in tag i, then tag j. shape: (batch, num_tags, num_tags)
            scores, previous = (best.unsqueeze(2) + self.transitions).max(1)
            pointers.append(previous)
            best = torch.where(inside[:, t], scores + emissions[:, t], best)
        tag = (best + self.stop).argmax(1)
        path = [tag]
        for t in range(len(pointers) - 1, -1, -1):
            earlier = pointers[t].gather(1, tag.unsqueeze(1)).squeeze(1)
            # beyond a sentence's end its last tag is carried along
            tag = torch.where(inside[:, t + 1, 0], earlier, tag)
            path.append(tag)
        rows = torch.stack(path[::-1], 1).tolist()
        return [row[:length] for row, length in zip(rows, lengths.tolist(), strict=True)]


class _LogPartition(torch.autograd.Function):
    """The log partition function with the marginals as its gradient."""

    @staticmethod
    def forward(
        ctx: Any, emissions: Tensor, transitions: Tensor, start: Tensor, stop: Tensor, lengths: Tensor
    ) -> Tensor:
        left, right = _forward_backward(emissions, transitions, start, stop, lengths)
        log_z = _last(left + stop, lengths).logsumexp(1)
        ctx.save_for_backward(emissions, transitions, lengths, left, right, log_z)
        return log_z

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        emissions, transitions, lengths, left, right, log_z = ctx.saved_tensors
        unary = _unary(left, right, emissions, log_z, lengths) * grad[:, None, None]
        # p(tag i at t-1, tag j at t). shape: (batch, time - 1, num_tags, num_tags)
        pair = left[:, :-1, :, None] + right[:, 1:, None, :] + transitions - log_z[:, None, None, None]
        outside = ~_inside(lengths, emissions.shape[1])[:, 1:, None, None]
        grad_transitions = torch.einsum("btij,b->ij", pair.masked_fill(outside, -torch.inf).exp(), grad)
        return unary, grad_transitions, unary[:, 0].sum(0), _last(unary, lengths).sum(0), None


def _forward_backward(
    emissions: Tensor, transitions: Tensor, start: Tensor, stop: Tensor, lengths: Tensor
) -> tuple[Tensor, Tensor]:
    """Log scores of all paths up to (left) and from (right) each tag of each token, its emission in both.

    The right scores are the left scores of the reversed sentences with the transitions transposed, so both
    directions run through one loop. shapes: (batch, time, num_tags)
    """
    steps = emissions.shape[1]
    mirror = mirror_index(lengths, steps).unsqueeze(2).expand_as(emissions)
    # shape: (time, 2, batch, num_tags)
    both = torch.stack([emissions, emissions.gather(1, mirror)]).permute(2, 0, 1, 3).contiguous()
    moves = torch.stack([transitions, transitions.T]).exp()
    scores = [both[0] + torch.stack([start, stop]).unsqueeze(1)]
    for emitted in both[1:].unbind():
        peak = scores[-1].amax(2, keepdim=True)
        scores.append((scores[-1] - peak).exp().bmm(moves).log() + peak + emitted)
    left, right = torch.stack(scores, 2).unbind()
    return left, right.gather(1, mirror)


def _unary(left: Tensor, right: Tensor, emissions: Tensor, log_z: Tensor, lengths: Tensor) -> Tensor:
    """Probability of each tag at each token. shape: (batch, time, num_tags)"""
    # Masked before the exponential: scores of padding mean nothing and may overflow.
    outside = ~_inside(lengths, emissions.shape[1]).unsqueeze(2)
    return (left + right - emissions - log_z[:, None, None]).masked_fill(outside, -torch.inf).exp()


def mirror_index(lengths: Tensor, steps: int) -> Tensor:
    """Positions that reverse each sentence in its own length and leave the padding where it is. shape: (batch, time)"""
    t = torch.arange(steps, device=lengths.device).unsqueeze(0)
    return torch.where(t < lengths.unsqueeze(1), lengths.unsqueeze(1) - 1 - t, t)


def _inside(lengths: Tensor, steps: int) -> Tensor:
    """True for the tokens of a sentence, False for its padding. shape: (batch, time)"""
    return torch.arange(steps, device=lengths.device).unsqueeze(0) < lengths.unsqueeze(1)


def _last(values: Tensor, lengths: Tensor) -> Tensor:
    """The values at each sentence's last token. shape: (batch, num_tags)"""
    return values[torch.arange(len(lengths), device=lengths.device), lengths - 1]
