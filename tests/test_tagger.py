"""The tagger against packed LSTMs, mixed batches, dropout."""

import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from munchray.tagging.tagger import Tagger

TAGS = {"main": ["O", "B-X", "I-X"], "other": ["O", "B-Y"]}
LENGTHS = torch.tensor([5, 1, 3])


def make(seed=1, tag_sets=TAGS, **dropout):
    rates = {"word_dropout": 0.0, "locked_dropout": 0.0, **dropout}
    tagger = Tagger(4, tag_sets, hidden_size=3, **rates)
    tagger.initialise(seed)
    return tagger


def batch(seed=0):
    torch.manual_seed(seed)
    features = torch.randn(3, 5, 4)
    for row, length in enumerate(LENGTHS):
        features[row, length:] = 0
    tags = torch.zeros(3, 5, dtype=torch.long)
    tags[:, 0] = 1
    return features, tags


def packed_reference(tagger, features):
    """The same layers by torch's bidirectional LSTM on packed sequences."""
    both = torch.nn.LSTM(4, 3, batch_first=True, bidirectional=True)
    with torch.no_grad():
        for name, value in tagger.forward_lstm.named_parameters():
            getattr(both, name).copy_(value)
        for name, value in tagger.backward_lstm.named_parameters():
            getattr(both, f"{name}_reverse").copy_(value)
    inputs = tagger.reproject(features)
    packed = pack_padded_sequence(inputs, LENGTHS, batch_first=True, enforce_sorted=False)
    hidden, _ = pad_packed_sequence(both(packed)[0], batch_first=True)
    return hidden, both


def test_padded_directions_equal_a_packed_bidirectional_lstm_gradients_too():
    tagger, (features, _) = make(), batch()
    inside = torch.arange(5) < LENGTHS.unsqueeze(1)
    ours = tagger.encode(features, LENGTHS)[inside]
    hidden, both = packed_reference(tagger, features)
    torch.testing.assert_close(ours, hidden[inside])
    weights = torch.randn_like(ours)
    (ours * weights).sum().backward()
    reproject = tagger.reproject.weight.grad.clone()
    tagger.zero_grad()
    (hidden[inside] * weights).sum().backward()
    torch.testing.assert_close(reproject, tagger.reproject.weight.grad)
    torch.testing.assert_close(both.weight_hh_l0_reverse.grad, make_grad(features, weights, inside))


def make_grad(features, weights, inside):
    tagger = make()
    (tagger.encode(features, LENGTHS)[inside] * weights).sum().backward()
    return tagger.backward_lstm.weight_hh_l0.grad


def test_what_lies_in_the_padding_changes_nothing():
    tagger, (features, tags) = make(), batch()
    clean = tagger.losses(features, LENGTHS, tags, ["main"] * 3)
    features[1, 1:], tags[1, 1:] = 1e3, 2
    torch.testing.assert_close(tagger.losses(features, LENGTHS, tags, ["main"] * 3), clean)


def test_a_mixed_batch_scores_each_sentence_by_its_own_head():
    tagger, (features, tags) = make(), batch()
    mixed = tagger.losses(features, LENGTHS, tags, ["main", "other", "main"])
    by_main = tagger.losses(features, LENGTHS, tags, ["main"] * 3)
    by_other = tagger.losses(features, LENGTHS, tags, ["other"] * 3)
    torch.testing.assert_close(mixed, torch.stack([by_main[0], by_other[1], by_main[2]]))
    mixed[1].backward()
    assert all(p.grad is None or p.grad.abs().sum() == 0 for p in tagger.heads["main"].parameters())


def test_weights_depend_on_the_seed_and_not_on_which_other_heads_there_are():
    both, alone = make(), make(tag_sets={"main": TAGS["main"]})
    assert all(torch.equal(value, both.state_dict()[name]) for name, value in alone.state_dict().items())
    assert not torch.equal(make(seed=2).reproject.weight, alone.reproject.weight)


def test_dropout_zeroes_whole_words_and_whole_features_only_in_training():
    tagger = make(word_dropout=0.5, locked_dropout=0.5).train()
    ones = torch.ones(200, 9, 4)
    words = tagger._drop_words(ones)
    assert set(words.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(words.amin(2), words.amax(2))
    locked = tagger._drop_features(ones)
    assert set(locked.unique().tolist()) == {0.0, 2.0}
    assert torch.equal(locked.amin(1), locked.amax(1))
    assert locked.mean() == pytest.approx(1, abs=0.15)
    tagger.eval()
    assert torch.equal(tagger._drop_features(tagger._drop_words(ones)), ones)


def test_decoding_gives_a_tag_of_the_corpus_for_every_token():
    tagger, (features, _) = make().eval(), batch()
    paths = tagger.decode(features, LENGTHS, "other")
    assert [len(path) for path in paths] == LENGTHS.tolist()
    assert {tag for path in paths for tag in path} <= set(TAGS["other"])
