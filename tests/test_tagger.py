"""The tagger against torch's LSTM, mixed batches, dropout."""

import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import PackedSequence

from munchray.tagging.packed_batch import PackedBatch
from munchray.tagging.tagger import Tagger, locked_dropout, word_dropout

TAGS = {"main": ["O", "B-X", "I-X"], "other": ["O", "B-Y"]}
LENGTHS = [5, 1, 3]
PACKING = PackedBatch(LENGTHS)


def make(seed=1, tag_sets=TAGS, **dropout):
    rates = {"word_dropout": 0.0, "locked_dropout": 0.0, **dropout}
    tagger = Tagger(4, tag_sets, hidden_size=3, **rates)
    tagger.initialise(seed)
    return tagger


def batch(seed=0):
    torch.manual_seed(seed)
    return torch.randn(sum(LENGTHS), 4), torch.ones(sum(LENGTHS), dtype=torch.long)


def test_encoding_equals_torch_modules():
    tagger, (features, _) = make(), batch()
    hidden, _ = tagger.lstm(PackedSequence(tagger.reproject(features), torch.tensor(PACKING.sizes)))
    torch.testing.assert_close(tagger.encode(features, PACKING), hidden.data)


def test_mixed_batches_use_the_right_heads():
    tagger, (features, tags) = make(), batch()
    mixed = tagger.losses(features, PACKING, tags, ["main", "other", "main"])
    by_main = tagger.losses(features, PACKING, tags, ["main"] * 3)
    by_other = tagger.losses(features, PACKING, tags, ["other"] * 3)
    torch.testing.assert_close(mixed, torch.stack([by_main[0], by_other[1], by_main[2]]))
    mixed[1].backward()
    assert all(p.grad is None or p.grad.abs().sum() == 0 for p in tagger.heads["main"].parameters())


def test_initial_weights_do_not_depend_on_other_heads():
    both, alone = make(), make(tag_sets={"main": TAGS["main"]})
    assert all(torch.equal(value, both.state_dict()[name]) for name, value in alone.state_dict().items())
    assert not torch.equal(make(seed=2).reproject.weight, alone.reproject.weight)


def test_dropout_zeroes_whole_words_and_features():
    torch.manual_seed(0)
    packing, ones = PackedBatch([9] * 200), torch.ones(1800, 4)
    words = word_dropout(ones, 0.5, True)
    assert set(words.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(words.amin(1), words.amax(1))
    locked = np.array(packing.unpack(locked_dropout(ones, packing, 0.5, True)))
    assert set(np.unique(locked)) == {0.0, 2.0}
    assert (locked.min(1) == locked.max(1)).all()
    assert locked.mean() == pytest.approx(1, abs=0.15)
    assert torch.equal(locked_dropout(word_dropout(ones, 0.5, False), packing, 0.5, False), ones)


def test_a_tagger_drops_only_in_training():
    tagger, (features, _) = make(word_dropout=0.5, locked_dropout=0.5), batch()
    hidden = make().encode(features, PACKING)
    assert torch.equal(tagger.eval().encode(features, PACKING), hidden)
    assert not torch.equal(tagger.train().encode(features, PACKING), hidden)


def test_bfloat16_changes_losses_but_not_decoding():
    exact, reduced = make(), Tagger(4, TAGS, hidden_size=3, word_dropout=0.0, locked_dropout=0.0, precision="bfloat16")
    reduced.load_state_dict(exact.state_dict())
    features, tags = batch()
    expected = exact.losses(features, PACKING, tags, ["main", "other", "main"])
    found = reduced.losses(features, PACKING, tags, ["main", "other", "main"])
    assert found.dtype == torch.float32
    assert not torch.equal(found, expected)
    torch.testing.assert_close(found, expected, rtol=0.05, atol=0.05)
    assert torch.equal(exact.encode(features, PACKING), reduced.encode(features, PACKING))


def test_decoding_uses_the_tags_of_the_corpus():
    tagger, (features, _) = make().eval(), batch()
    paths = tagger.decode(features, PACKING, "other")
    assert [len(path) for path in paths] == LENGTHS
    assert {tag for path in paths for tag in path} <= set(TAGS["other"])
