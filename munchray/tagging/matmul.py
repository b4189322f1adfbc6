"""Matrix products on a CPU by the faster library, oneDNN or MKL, with rows padded to few distinct shapes.

torch multiplies bfloat16 matrices by oneDNN and float32 ones by MKL, which uses AVX-512 on Intel's processors alone. On
any processor with AVX-512, oneDNN multiplies float32 up to twice as fast, most of all matrices of few rows. It is
called by the operator that torch's compiler uses for linear layers.

oneDNN compiles a kernel for every shape, which takes half a millisecond, and caches a thousand of them, half a megabyte
each. Hence the number of rows is rounded up, so that there are few shapes.
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
"""Rows are padded to multiples of it to bound oneDNN's kernel cache; the smaller products of a step are not."""


def empty_padded(batch: int, rows: int, width: int, precision: torch.dtype) -> Tensor:
    """Uninitialised matrices with zero rows as padding where oneDNN multiplies them.

    shape: (batch, at least rows, width)
    """
    by_onednn = HAS_ONEDNN or precision != torch.float32
    padded = torch.empty(batch, -(-rows // BLOCK) * BLOCK if by_onednn else rows, width, dtype=precision)
    padded[:, rows:] = 0
    return padded


def batch_product(left: Tensor, right: Tensor) -> Tensor:
    """As `torch.bmm`, without a gradient. shapes: (batch, rows, inner), (batch, inner, columns)"""
    return _stacked_products(left, right) if _by_onednn(left) else torch.bmm(left, right)


def add_batch_product(target: Tensor, left: Tensor, right: Tensor) -> None:
    """Add the batched product of two matrices to a float32 ``target`` in place."""
    if _by_onednn(left):
        for matrix, *factors in zip(target, left, right, strict=True):
            matrix.add_(product_by_onednn(*factors))
    elif left.dtype == target.dtype:
        target.baddbmm_(left, right)
    else:
        target.add_(torch.bmm(left, right))


def for_few_rows(right: Tensor) -> Tensor:
    """A right factor in the memory layout that is fastest for left factors of few rows."""
    return right.contiguous() if HAS_ONEDNN and right.dtype == torch.float32 else right


def transposed_product(left: Tensor, right: Tensor) -> Tensor:
    """Batched product of the transposed ``left``, which is the wider one, and ``right``."""
    if _by_onednn(left):  # oneDNN copies a transposed left factor, but not a transposed right one
        return _stacked_products(right.transpose(1, 2), left).transpose(1, 2)
    return torch.bmm(left.transpose(1, 2), right)


def product_by_onednn(left: Tensor, right: Tensor) -> Tensor:
    """``left @ right`` of two matrices of one type, without a gradient. shapes: (rows, inner), (inner, columns)"""
    result: Tensor = torch.ops.mkldnn._linear_pointwise(left, right.t(), None, "none", [], "")
    return result


def linear(layer: nn.Linear, inputs: Tensor, precision: torch.dtype) -> Tensor:
    """Apply a linear layer with products in the given precision, on any device; returns float32.

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
        factor, weights = _padded_copy(inputs, precision), weight.to(precision).unsqueeze(0)
        ctx.save_for_backward(factor, weights)
        return torch.add(batch_product(factor, weights.transpose(1, 2))[0, : len(inputs)], bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        inputs, weights = ctx.saved_tensors
        factor = _padded_copy(grad, inputs.dtype)
        grad_inputs = batch_product(factor, weights)[0, : len(grad)].float() if ctx.needs_input_grad[0] else None
        return grad_inputs, transposed_product(factor, inputs)[0].float(), grad.sum(0), None


def _padded_copy(values: Tensor, precision: torch.dtype) -> Tensor:
    rows, width = values.shape
    padded = empty_padded(1, rows, width, precision)
    padded[0, :rows] = values
    return padded


def _by_onednn(left: Tensor) -> bool:
    rows = left.shape[1]
    return HAS_ONEDNN and left.dtype == torch.float32 and (rows <= BLOCK or rows % BLOCK == 0)


def _stacked_products(left: Tensor, right: Tensor) -> Tensor:
    return torch.stack([product_by_onednn(*factors) for factors in zip(left, right, strict=True)])
