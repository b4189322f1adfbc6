"""Packed batches against torch's packed sequences and against their definitions."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.utils.rnn import pack_sequence

from munchray.tagging.packed_batch import PackedBatch

LENGTHS = st.lists(st.integers(1, 9), min_size=1, max_size=8)


def numbered(lengths):
    """Sentences in which every token has a number of its own."""
    return np.split(np.arange(sum(lengths)), np.cumsum(lengths)[:-1])


@given(LENGTHS)
def test_order_equals_torch(lengths):
    packing, sentences = PackedBatch(lengths), numbered(lengths)
    by_length = sorted(sentences, key=len, reverse=True)
    judge = pack_sequence([torch.from_numpy(tokens) for tokens in by_length])
    assert packing.pack(sentences).tolist() == judge.data.tolist()
    assert packing.sizes == judge.batch_sizes.tolist()


@given(LENGTHS)
def test_unpacking_undoes_packing(lengths):
    packing, sentences = PackedBatch(lengths), numbered(lengths)
    for found, tokens in zip(packing.unpack(torch.from_numpy(packing.pack(sentences))), sentences, strict=True):
        assert found.tolist() == tokens.tolist()


@given(LENGTHS)
def test_index_tensors(lengths):
    packing, sentences = PackedBatch(lengths), numbered(lengths)
    packed = torch.from_numpy(packing.pack(sentences))
    for mirrored, tokens in zip(packing.unpack(packed[packing.mirror]), sentences, strict=True):
        assert mirrored.tolist() == tokens[::-1].tolist()
    assert packed[packing.last].tolist() == [tokens[-1] for tokens in sentences]
    assert packed[packing.previous].tolist() == (packed[len(lengths) :] - 1).tolist()
    for token, sentence, position in zip(packed, packing.sentences, packing.positions, strict=True):
        assert token == sentences[sentence][position]


@given(LENGTHS, st.data())
def test_select_equals_packing_alone(lengths, data):
    chosen = sorted(data.draw(st.sets(st.sampled_from(range(len(lengths))), min_size=1)))
    sentences = numbered(lengths)
    packing = PackedBatch(lengths)
    own, tokens = packing.select(chosen)
    packed = torch.from_numpy(packing.pack(sentences))
    assert packed[tokens].tolist() == own.pack([sentences[i] for i in chosen]).tolist()


@pytest.mark.parametrize("width", [(), (3,)])
def test_values_of_any_width_are_packed(width):
    sentences = [np.ones((n, *width), np.float32) * n for n in (2, 1, 3)]
    assert PackedBatch([2, 1, 3]).pack(sentences).shape == (6, *width)
