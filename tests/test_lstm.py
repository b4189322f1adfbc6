"""Our LSTM on the CPU against torch's on the same packed sequence."""

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence

from munchray.tagging.lstm import run_lstm
from munchray.tagging.packed_batch import PackedBatch

BATCHES = {"uneven": [3, 9, 1, 4, 4], "one sentence": [6], "one token each": [1, 1, 1], "even": [5, 5]}


def run(forward, lstm, inputs, weights):
    """Outputs, and the gradients of a weighted sum of them with respect to inputs and parameters."""
    lstm.zero_grad()
    inputs = inputs.clone().requires_grad_()
    outputs = forward(lstm, inputs)
    (outputs * weights).sum().backward()
    return [outputs.detach(), inputs.grad, *(parameter.grad.clone() for parameter in lstm.parameters())]


@pytest.mark.parametrize("lengths", BATCHES.values(), ids=BATCHES)
@pytest.mark.parametrize(("width", "size"), [(5, 3), (40, 32)])
def test_outputs_and_gradients_equal_torch(lengths, width, size):
    torch.manual_seed(0)
    packing, lstm = PackedBatch(lengths), nn.LSTM(width, size, bidirectional=True)
    inputs, weights = torch.randn(sum(lengths), width), torch.randn(sum(lengths), 2 * size)

    def torchs(lstm, inputs):
        return lstm(PackedSequence(inputs, torch.tensor(packing.sizes)))[0].data

    ours = run(lambda lstm, inputs: run_lstm(lstm, inputs, packing), lstm, inputs, weights)
    for got, want in zip(ours, run(torchs, lstm, inputs, weights), strict=True):
        torch.testing.assert_close(got, want)


def test_states_do_not_depend_on_the_batch():
    torch.manual_seed(0)
    lstm, sentences = nn.LSTM(4, 6, bidirectional=True), [torch.randn(n, 4) for n in (3, 7, 2)]
    together = PackedBatch([3, 7, 2])
    inputs = torch.from_numpy(together.pack([sentence.numpy() for sentence in sentences]))
    for found, sentence in zip(together.unpack(run_lstm(lstm, inputs, together).detach()), sentences, strict=True):
        alone = run_lstm(lstm, sentence, PackedBatch([len(sentence)]))
        torch.testing.assert_close(torch.from_numpy(found), alone)


def test_bfloat16_is_close_to_float32():
    torch.manual_seed(0)
    lengths = [3, 9, 1, 4]
    packing, lstm = PackedBatch(lengths), nn.LSTM(16, 8, bidirectional=True)
    inputs, weights = torch.randn(sum(lengths), 16), torch.randn(sum(lengths), 16)

    def reduced(lstm, inputs):
        return run_lstm(lstm, inputs, packing, torch.bfloat16)

    exact = run(lambda lstm, inputs: run_lstm(lstm, inputs, packing), lstm, inputs, weights)
    for got, want in zip(run(reduced, lstm, inputs, weights), exact, strict=True):
        assert got.dtype == torch.float32
        assert not torch.equal(got, want)
        assert (got - want).norm() < 0.02 * want.norm()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_gives_the_same_within_rounding():
    torch.manual_seed(0)
    lengths = [3, 9, 1, 4]
    lstm, inputs = nn.LSTM(16, 8, bidirectional=True), torch.randn(sum(lengths), 16)
    expected = run_lstm(lstm, inputs, PackedBatch(lengths))
    for precision in (torch.float32, torch.bfloat16):
        found = run_lstm(lstm.cuda(), inputs.cuda(), PackedBatch(lengths, "cuda"), precision).cpu()
        torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-2)  # cuDNN may multiply in TF32
