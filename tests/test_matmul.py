"""Matrix products by either library against torch's, and the number of distinct shapes."""

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from munchray.tagging import matmul
from munchray.tagging.lstm import run_lstm
from munchray.tagging.packed_batch import PackedBatch


@pytest.fixture(params=[False, True], ids=["MKL", "oneDNN"], autouse=True)
def library(request, monkeypatch):
    """Both on every machine: the operator is there without AVX-512 too."""
    monkeypatch.setattr(matmul, "HAS_ONEDNN", request.param)


@pytest.mark.parametrize("rows", [1, 31, 64, 65, 192])
def test_products_are_those_of_torch(rows):
    torch.manual_seed(0)
    left, right, wide = torch.randn(2, rows, 12), torch.randn(2, 12, 7), torch.randn(2, rows, 9)
    torch.testing.assert_close(matmul.batch_product(left, right), left @ right)
    torch.testing.assert_close(matmul.transposed_product(wide, left), wide.transpose(1, 2) @ left)
    target = torch.ones(2, rows, 7)
    matmul.add_batch_product(target, left, matmul.for_few_rows(right))
    torch.testing.assert_close(target, 1 + left @ right)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_linear_equals_torch(precision):
    torch.manual_seed(0)
    layer, inputs, weights = nn.Linear(20, 6), torch.randn(70, 20, requires_grad=True), torch.randn(70, 6)
    variables = (inputs, layer.weight, layer.bias)
    ours, theirs = matmul.linear(layer, inputs, precision), layer(inputs)
    tolerance = {} if precision == torch.float32 else {"rtol": 0.02, "atol": 0.1}
    torch.testing.assert_close(ours, theirs, **tolerance)
    for got, want in zip(*(torch.autograd.grad((y * weights).sum(), variables) for y in (ours, theirs)), strict=True):
        torch.testing.assert_close(got, want, **tolerance)


def test_further_rows_are_zero_and_change_nothing():
    padded = matmul.empty_padded(2, 70, 3, torch.bfloat16)
    assert padded.shape == (2, 128, 3)
    assert not padded[:, 70:].any()
    assert matmul.empty_padded(2, 70, 3, torch.float32).shape[1] == (128 if matmul.HAS_ONEDNN else 70)


class Sizes(TorchDispatchMode):
    """All sizes of the bfloat16 matrices that are multiplied."""

    def __init__(self):
        super().__init__()
        self.seen = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket == torch.ops.aten.bmm:
            self.seen |= {size for factor in args for size in factor.shape[1:] if factor.dtype == torch.bfloat16}
        return func(*args, **(kwargs or {}))


def test_few_shapes_are_multiplied():
    lstm, layer, sizes = nn.LSTM(5, 3, bidirectional=True), nn.Linear(5, 5), Sizes()
    for longest in range(30, 60):
        packing = PackedBatch([longest, longest - 1, longest - 2])
        with sizes:
            reprojected = matmul.linear(layer, torch.randn(len(packing.positions), 5), torch.bfloat16)
            run_lstm(lstm, reprojected, packing, torch.bfloat16).sum().backward()
    assert sizes.seen == {1, 2, 3, 5, 12, 128, 192}
