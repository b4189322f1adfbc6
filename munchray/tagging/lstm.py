"""A bidirectional LSTM layer over packed tokens: cuDNN on a GPU, an implementation of our own on a CPU.

cuDNN takes packed sequences. On a CPU, torch's LSTM runs packed sequences step by step through autograd, and its fast
path needs padding, of which random batches have as much as tokens. Ours runs both directions in one loop over time,
takes one matrix product for all tokens wherever it does not depend on time, and has an explicit backward pass whose
loop contains only what depends on the next step.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.utils.rnn import PackedSequence

from munchray.tagging.matmul import (
    add_batch_product,
    batch_product,
    empty_padded,
    for_few_rows,
    transposed_product,
)
from munchray.tagging.packed_batch import PackedBatch


def run_lstm(lstm: nn.LSTM, inputs: Tensor, packing: PackedBatch, precision: torch.dtype = torch.float32) -> Tensor:
    """Hidden states of both directions, from zero states.

    Args:
        lstm: one bidirectional layer.
        inputs: shape: (tokens, width)
        precision: of the matrix products on a CPU. cuDNN's are float32 (TF32 where the GPU has it): torch would run its
            LSTM in float16 under autocast, even for bfloat16, and unscaled float16 gradients vanish.

    Returns:
        shape: (tokens, 2 * hidden_size)
    """
    if inputs.device.type != "cpu":
        outputs: PackedSequence = lstm(PackedSequence(inputs, torch.tensor(packing.sizes)))[0]
        return outputs.data
    input_weights, hidden_weights, *biases = (torch.stack(both) for both in zip(*lstm.all_weights, strict=True))
    result: Tensor = _BiLSTM.apply(  # type: ignore[no-untyped-call]
        inputs, input_weights, hidden_weights, biases[0] + biases[1], packing, precision
    )
    return result


class _BiLSTM(torch.autograd.Function):
    """Both directions as a batch of two; the backward one reads its tokens through the packing's mirror.

    Gates are in torch's order: input, forget, cell candidate, output. Matrix products are in ``precision``,
    everything else in float32. Factors of products are padded by `empty_padded`.
    """

    @staticmethod  # as many parameters as tensors and options that the gradient depends on
    def forward(
        ctx: Any,
        inputs: Tensor,
        input_weights: Tensor,
        hidden_weights: Tensor,
        bias: Tensor,
        packing: PackedBatch,
        precision: torch.dtype,
    ) -> Tensor:
        tokens, size = len(inputs), hidden_weights.shape[2]
        both = empty_padded(2, tokens, inputs.shape[1], precision)
        both[0, :tokens] = inputs
        both[1, :tokens] = inputs[packing.mirror]
        input_weights, hidden_weights = input_weights.to(precision), hidden_weights.to(precision)
        gates = batch_product(both, input_weights.transpose(1, 2))[:, :tokens].float().add_(bias.unsqueeze(1))
        cells, squashed, hidden = (gates.new_empty(2, tokens, size) for _ in range(3))
        # Views of every step, created in one call.
        steps = zip(*(packing.steps(t, 1) for t in (gates, cells, squashed, hidden)), strict=True)
        moves = for_few_rows(hidden_weights.transpose(1, 2))
        cell_before = hidden_before = None
        for gate, cell, squash, state in steps:
            if hidden_before is not None:
                add_batch_product(gate, hidden_before[:, : gate.shape[1]].to(precision), moves)
            into, keep, candidate, out = gate.chunk(4, 2)
            # tanh(x) = 2 sigmoid(2 x) - 1, and torch's sigmoid is seven times as fast as its tanh.
            candidate.mul_(2)
            gate.sigmoid_()
            candidate.mul_(2).sub_(1)
            torch.mul(into, candidate, out=cell)
            if cell_before is not None:
                cell.addcmul_(keep, cell_before[:, : gate.shape[1]])
            torch.mul(cell, 2, out=squash).sigmoid_().mul_(2).sub_(1)
            torch.mul(out, squash, out=state)
            cell_before, hidden_before = cell, state
        ctx.save_for_backward(both, input_weights, hidden_weights, gates, cells, squashed, hidden)
        ctx.packing = packing
        return torch.cat([hidden[0], hidden[1].index_select(0, packing.mirror)], 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        inputs, input_weights, hidden_weights, gates, cells, squashed, hidden = ctx.saved_tensors
        packing, size, precision = ctx.packing, hidden.shape[2], inputs.dtype
        grad_hidden = torch.stack([grad[:, :size], grad[:, size:].index_select(0, packing.mirror)])
        factors = empty_padded(2, len(grad), 4 * size, precision)
        to_multiply = factors[:, : len(grad)]
        grad_gates = to_multiply if precision == torch.float32 else torch.empty_like(gates)
        _gate_derivatives(gates, cells, squashed, packing, out=grad_gates)
        cell_derivative = torch.addcmul(gates[..., 3 * size :], hidden, squashed, value=-1)  # out * (1 - tanh(cell)^2)
        keep = gates[..., size : 2 * size]
        _backward_through_time(grad_gates, to_multiply, grad_hidden, cell_derivative, keep, hidden_weights, packing)

        # Zeros before first tokens, because a product over part of the tokens would copy all of them.
        before = empty_padded(2, len(grad), size, precision)
        before[:, : len(packing)] = 0
        before[:, len(packing) : len(grad)] = hidden.index_select(1, packing.previous)
        grad_inputs = None
        if ctx.needs_input_grad[0]:
            ahead, back = batch_product(factors, input_weights)[:, : len(grad)].float()
            grad_inputs = ahead.add_(back.index_select(0, packing.mirror))
        return (
            grad_inputs,
            transposed_product(factors, inputs).float(),
            transposed_product(factors, before).float(),
            grad_gates.sum(1),
            None,
            None,
        )


def _gate_derivatives(gates: Tensor, cells: Tensor, squashed: Tensor, packing: PackedBatch, out: Tensor) -> None:
    """Derivatives of the cell (first three gates) and of the hidden state (the last) by each gate before its
    non-linearity. shape of ``out``: (2, tokens, 4 * size)
    """
    into, _, candidate, _ = gates.chunk(4, 2)
    torch.addcmul(gates, gates, gates, value=-1, out=out)  # of the sigmoid; overwritten below for the candidate
    of_into, of_keep, of_candidate, of_out = out.chunk(4, 2)
    first = len(packing)
    of_into.mul_(candidate)
    of_keep[:, first:].mul_(cells.index_select(1, packing.previous))
    of_keep[:, :first] = 0
    torch.addcmul(into, into, candidate * candidate, value=-1, out=of_candidate)
    of_out.mul_(squashed)


def _backward_through_time(  # seven parameters: the tensors of one recursion
    grad_gates: Tensor,
    to_multiply: Tensor,
    grad_hidden: Tensor,
    cell_derivative: Tensor,
    keep: Tensor,
    hidden_weights: Tensor,
    packing: PackedBatch,
) -> None:
    """Turn derivatives into gradients in place, from the last step to the first; accumulates into ``grad_hidden``.

    ``to_multiply`` receives the gradients in the precision of ``hidden_weights``, and may be the same tensor.
    """
    size, same = cell_derivative.shape[2], to_multiply is grad_gates
    grad_cell = cell_derivative.new_zeros(2, len(packing), size)
    steps = [packing.steps(t, 1) for t in (grad_gates, to_multiply, grad_hidden, cell_derivative, keep)]
    for t in range(len(packing.sizes) - 1, -1, -1):
        gate, factor, state, derivative, kept = (views[t] for views in steps)
        cell = grad_cell[:, : gate.shape[1]]
        cell.addcmul_(state, derivative)
        gate[..., : 3 * size].view(2, -1, 3, size).mul_(cell.unsqueeze(2))
        gate[..., 3 * size :].mul_(state)
        if not same:
            factor.copy_(gate)
        if t:
            add_batch_product(steps[2][t - 1][:, : gate.shape[1]], factor, hidden_weights)
            cell.mul_(kept)
