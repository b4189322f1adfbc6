"""Matrix products on a CPU by the library that is fastest there, and few shapes of them.

torch multiplies bfloat16 matrices by oneDNN and float32 ones by MKL, which uses AVX-512 on Intel's processors alone. On
any processor with AVX-512, oneDNN multiplies float32 as fast or twice as fast, matrices of few rows most of all. It is
reached by the operator that torch's compiler calls for linear layers.

oneDNN compiles a program for every shape that it meets, which takes half a millisecond, and keeps a thousand of them,
half a megabyte each. Hence rows are rounded up, to meet few shapes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

HAS_ONEDNN = (
    torch.backends.cpu.get_cpu_capability() == "AVX512"
    and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    and hasattr(torch.ops.mkldnn, "_linear_pointwise")
)
BLOCK = 64
"""Products have a multiple of so many rows, or fewer: as many as sentences that reach a step."""


def empty_padded(batch: int, rows: int, width: int, precision: torch.dtype) -> Tensor:
    """Uninitialised matrices to multiply, with zeros as further rows where oneDNN does it.

    shape: (batch, at least rows, width)
    """
    by_onednn = HAS_ONEDNN or precision != torch.float32
    room = torch.empty(batch, -(-rows // BLOCK) * BLOCK if by_onednn else rows, width, dtype=precision)
    room[:, rows:] = 0
    return room


def batch_product(left: Tensor, right: Tensor) -> Tensor:
    """As `torch.bmm`, without a gradient. shapes: (batch, rows, inner), (batch, inner, columns)"""
    return _stacked_products(left, right) if _by_onednn(left) else torch.bmm(left, right)


def add_batch_product(target: Tensor, left: Tensor, right: Tensor) -> None:
    """Add the product of a batch to a float32 one."""
    if _by_onednn(left):
        for own, *factors in zip(target, left, right, strict=True):
            own.add_(product_by_onednn(*factors))
    elif left.dtype == target.dtype:
        target.baddbmm_(left, right)
    else:
        target.add_(torch.bmm(left, right))


def for_few_rows(right: Tensor) -> Tensor:
    """A right factor as products that have few rows on their left read it fastest."""
    return right.contiguous() if HAS_ONEDNN and right.dtype == torch.float32 else right


def transposed_product(left: Tensor, right: Tensor) -> Tensor:
    """The product of the transposed ``left``, the wider one, with ``right``, batch by batch."""
    if _by_onednn(left):  # which copies what is transposed on its left, and nothing on its right
        return _stacked_products(right.transpose(1, 2), left).transpose(1, 2)
    return torch.bmm(left.transpose(1, 2), right)


def product_by_onednn(left: Tensor, right: Tensor) -> Tensor:
    """``left @ right`` of two matrices of one type, without a gradient. shapes: (rows, inner), (inner, columns)"""
    result: Tensor = torch.ops.mkldnn._linear_pointwise(left, right.t(), None, "none", [], "")
    return result


def linear(layer: nn.Linear, inputs: Tensor, precision: torch.dtype) -> Tensor:
    """What ``layer`` makes of its inputs in products of that precision, on any device, as float32.

    shapes: (rows, in_features) to (rows, out_features)
    """
    reduced = precision != torch.float32
    if inputs.device.type == "cpu" and (HAS_ONEDNN or reduced):
        result: Tensor = _Linear.apply(inputs, layer.weight, layer.bias, precision)  # type: ignore[no-untyped-call]
    else:
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=reduced):
            result = layer(inputs).float()
    return result


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor, precision: torch.dtype) -> Tensor:
        factor, weights = _in_room(inputs, precision), weight.to(precision).unsqueeze(0)
        ctx.save_for_backward(factor, weights)
        return torch.add(batch_product(factor, weights.transpose(1, 2))[0, : len(inputs)], bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        inputs, weights = ctx.saved_tensors
        factor = _in_room(grad, inputs.dtype)
        of_inputs = batch_product(factor, weights)[0, : len(grad)].float() if ctx.needs_input_grad[0] else None
        return of_inputs, transposed_product(factor, inputs)[0].float(), grad.sum(0), None


def _in_room(values: Tensor, precision: torch.dtype) -> Tensor:
    rows, width = values.shape
    room = empty_padded(1, rows, width, precision)
    room[0, :rows] = values
    return room


def _by_onednn(left: Tensor) -> bool:
    rows = left.shape[1]
    return HAS_ONEDNN and left.dtype == torch.float32 and (rows <= BLOCK or rows % BLOCK == 0)


def _stacked_products(left: Tensor, right: Tensor) -> Tensor:
    return torch.stack([product_by_onednn(*factors) for factors in zip(left, right, strict=True)])
