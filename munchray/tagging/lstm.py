"""One bidirectional LSTM layer over packed tokens, by whatever is fastest where they lie.

On a GPU that is cuDNN, which takes packed sequences as they are. On a CPU, torch's own LSTM runs packed sequences
step by step through autograd, and its fast path wants padding, which random batches have as much of as tokens. Hence
our own: both directions in one loop over time, a matrix product for all tokens wherever time does not matter, and a
backward pass written out, in which only what depends on the step after is left in the loop.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.utils.rnn import PackedSequence

from munchray.tagging.packing import Packing


def run_lstm(lstm: nn.LSTM, inputs: Tensor, packing: Packing) -> Tensor:
    """Hidden states of both directions, from zero states.

    Args:
        lstm: one bidirectional layer.
        inputs: shape: (tokens, width)

    Returns:
        shape: (tokens, 2 * hidden_size)
    """
    if inputs.device.type != "cpu":
        return by_torch(lstm, inputs, packing)
    precision = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else torch.float32
    input_weights, hidden_weights, *biases = (torch.stack(both) for both in zip(*lstm.all_weights, strict=True))
    with torch.autocast("cpu", enabled=False):
        result: Tensor = _BiLSTM.apply(  # type: ignore[no-untyped-call]
            inputs.float(), input_weights, hidden_weights, biases[0] + biases[1], packing, precision
        )
    return result


def by_torch(lstm: nn.LSTM, inputs: Tensor, packing: Packing) -> Tensor:
    """`run_lstm` by torch's own LSTM in float32, which on a GPU is cuDNN.

    Not under autocast: torch would run cuDNN's LSTM in float16 there, whatever type was asked for, and gradients that
    nobody scales vanish in float16. cuDNN multiplies float32 in TF32 where the GPU has it.
    """
    with torch.autocast(inputs.device.type, enabled=False):
        outputs: PackedSequence = lstm(PackedSequence(inputs.float(), torch.tensor(packing.sizes)))[0]
    return outputs.data


class _BiLSTM(torch.autograd.Function):
    """Both directions as a batch of two; the backward one reads its tokens through the packing's mirror.

    Gates are in torch's order: input, forget, cell candidate, output. Matrix products are taken in ``precision``,
    everything else in float32.
    """

    @staticmethod
    def forward(
        ctx: Any,
        inputs: Tensor,
        input_weights: Tensor,
        hidden_weights: Tensor,
        bias: Tensor,
        packing: Packing,
        precision: torch.dtype,
    ) -> Tensor:
        size = hidden_weights.shape[2]
        inputs = torch.stack([inputs, inputs[packing.mirror]]).to(precision)
        input_weights, hidden_weights = input_weights.to(precision), hidden_weights.to(precision)
        gates = _affine(inputs, input_weights, bias)
        cells, squashed, hidden = (gates.new_empty(2, inputs.shape[1], size) for _ in range(3))
        # Views of every step, made at once.
        steps = zip(*(packing.steps(t, 1) for t in (gates, cells, squashed, hidden)), strict=True)
        moves = hidden_weights.transpose(1, 2)
        cell_before = hidden_before = None
        for gate, cell, squash, state in steps:
            if hidden_before is not None:
                _add_product(gate, hidden_before[:, : gate.shape[1]].to(precision), moves)
            gate[..., : 2 * size].sigmoid_()
            gate[..., 2 * size : 3 * size].tanh_()
            gate[..., 3 * size :].sigmoid_()
            into, keep, candidate, out = gate.chunk(4, 2)
            torch.mul(into, candidate, out=cell)
            if cell_before is not None:
                cell.addcmul_(keep, cell_before[:, : gate.shape[1]])
            torch.tanh(cell, out=squash)
            torch.mul(out, squash, out=state)
            cell_before, hidden_before = cell, state
        ctx.save_for_backward(inputs, input_weights, hidden_weights, gates, cells, squashed, hidden)
        ctx.packing = packing
        return torch.cat([hidden[0], hidden[1].index_select(0, packing.mirror)], 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        inputs, input_weights, hidden_weights, gates, cells, squashed, hidden = ctx.saved_tensors
        packing, size, precision = ctx.packing, hidden.shape[2], inputs.dtype
        grad_hidden = torch.stack([grad[:, :size], grad[:, size:].index_select(0, packing.mirror)])
        grad_gates = _gate_slopes(gates, cells, squashed, packing)
        cell_slope = torch.addcmul(gates[..., 3 * size :], hidden, squashed, value=-1)  # out * (1 - tanh(cell)^2)
        keep = gates[..., size : 2 * size]
        _through_time(grad_gates, grad_hidden, cell_slope, keep, hidden_weights, packing)

        grad_gates = grad_gates.to(precision)
        later = grad_gates[:, len(packing) :].transpose(1, 2)
        before = hidden.index_select(1, packing.previous).to(precision)
        grad_inputs = torch.bmm(grad_gates, input_weights).float()
        return (
            grad_inputs[0].add_(grad_inputs[1].index_select(0, packing.mirror)) if ctx.needs_input_grad[0] else None,
            torch.bmm(grad_gates.transpose(1, 2), inputs).float(),
            torch.bmm(later, before).float(),
            grad_gates.sum(1, dtype=torch.float32),
            None,
            None,
        )


def _gate_slopes(gates: Tensor, cells: Tensor, squashed: Tensor, packing: Packing) -> Tensor:
    """What to multiply the gradient of the cell (first three gates) or of the hidden state (the last) with to have
    that of each gate before its non-linearity. shape: (2, tokens, 4 * size)
    """
    into, _, candidate, _ = gates.chunk(4, 2)
    slopes = torch.addcmul(gates, gates, gates, value=-1)  # of the sigmoid; the candidate's is replaced below
    of_into, of_keep, of_candidate, of_out = slopes.chunk(4, 2)
    first = len(packing)
    of_into.mul_(candidate)
    of_keep[:, first:].mul_(cells.index_select(1, packing.previous))
    of_keep[:, :first] = 0
    torch.addcmul(into, into, candidate * candidate, value=-1, out=of_candidate)
    of_out.mul_(squashed)
    return slopes


def _through_time(
    grad_gates: Tensor, grad_hidden: Tensor, cell_slope: Tensor, keep: Tensor, hidden_weights: Tensor, packing: Packing
) -> None:
    """Turn slopes into gradients, from the last step to the first; ``grad_hidden`` collects what later steps add."""
    size, precision = cell_slope.shape[2], hidden_weights.dtype
    grad_cell = cell_slope.new_zeros(2, len(packing), size)
    steps = [packing.steps(t, 1) for t in (grad_gates, grad_hidden, cell_slope, keep)]
    for t in range(len(packing.sizes) - 1, -1, -1):
        gate, state, slope, kept = (views[t] for views in steps)
        cell = grad_cell[:, : gate.shape[1]]
        cell.addcmul_(state, slope)
        gate[..., : 3 * size].view(2, -1, 3, size).mul_(cell.unsqueeze(2))
        gate[..., 3 * size :].mul_(state)
        if t:
            _add_product(steps[1][t - 1][:, : gate.shape[1]], gate.to(precision), hidden_weights)
            cell.mul_(kept)


def _affine(inputs: Tensor, weights: Tensor, bias: Tensor) -> Tensor:
    """``inputs @ weights.T + bias`` in float32. shape: (2, tokens, 4 * size)"""
    if inputs.dtype == torch.float32:
        return torch.baddbmm(bias.unsqueeze(1), inputs, weights.transpose(1, 2))
    return torch.bmm(inputs, weights.transpose(1, 2)).float().add_(bias.unsqueeze(1))


def _add_product(target: Tensor, left: Tensor, right: Tensor) -> None:
    if left.dtype == target.dtype:
        target.baddbmm_(left, right)
    else:
        target.add_(torch.bmm(left, right))
