"""The character language model against one character at a time, and its training."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from munchray.errors import WorkError
from munchray.features import charlm, training
from munchray.features.charlm import Alphabet, CharacterEmbedder, CharacterModel
from munchray.features.training import bits_per_character, train_character_model

SENTENCES = [
    ["BRCA1", "mutations", "cause", "cancer", "."],
    ["a"],
    ["", "x", "", "y", ""],
    [],
    ["a\u0301", "😀", "\ud800", "\x00"],
    ["word"] * 300,
    ["no", "fever"],
]


def toy_embedder(forward: bool = True, layers: int = 1, projection: int | None = None, start: str = "\n"):
    torch.manual_seed(0)
    alphabet = Alphabet({c: n for n, c in enumerate(["<unk>", *" \nabcdefghijklmnopqrstuvwxyz."])})
    model = CharacterModel(len(alphabet.char_to_id), 5, 7, layers, projection)
    return CharacterEmbedder(model, alphabet, forward=forward, fingerprint="toy", start=start)


def states_one_character_at_a_time(embedder: CharacterEmbedder, text: str) -> np.ndarray:
    """The judge: the state after each character of the text, read one by one in a batch of one."""
    model, states, state = copy.deepcopy(embedder.model).cpu(), [], None
    with torch.no_grad():
        for character in text:
            number = embedder.alphabet.char_to_id.get(character, 0)
            output, state = model(torch.tensor([[number]]), state)
            states.append(output[0, 0].numpy())
    return np.stack(states)


@pytest.mark.parametrize("start", ["\n", "<doc>"])
@pytest.mark.parametrize(("layers", "projection"), [(1, None), (2, 3)])
def test_forward_features_equal_stepwise_states(layers, projection, start):
    embedder = toy_embedder(True, layers, projection, start)
    for tokens, features in zip(SENTENCES, embedder.embed(SENTENCES), strict=True):
        states = states_one_character_at_a_time(embedder, start + " ".join(tokens) + " ")
        at = [len(start + " ".join(tokens[: i + 1])) for i in range(len(tokens))]
        np.testing.assert_allclose(features, states[at], atol=1e-6)


def test_backward_features_equal_stepwise_states():
    embedder = toy_embedder(forward=False)
    for tokens, features in zip(SENTENCES, embedder.embed(SENTENCES), strict=True):
        states = states_one_character_at_a_time(embedder, "\n" + " ".join(tokens)[::-1] + " ")
        at = [len("\n" + " ".join(tokens[i:])) for i in range(len(tokens))]
        np.testing.assert_allclose(features, states[at], atol=1e-6)


@pytest.mark.parametrize("forward", [True, False])
def test_features_do_not_depend_on_batching(forward, monkeypatch):
    embedder = toy_embedder(forward)
    expected = [next(embedder.embed([tokens])) for tokens in SENTENCES]
    for characters, window in [(1, 1), (64, 3), (100_000, 100_000)]:
        monkeypatch.setattr(charlm, "BATCH_CHARACTERS", characters)
        monkeypatch.setattr(charlm, "WINDOW_TOKENS", window)
        for features, alone in zip(embedder.embed(SENTENCES), expected, strict=True):
            np.testing.assert_allclose(features, alone, atol=1e-6)


def test_every_token_has_its_row_even_an_empty_one():
    shapes = [features.shape for features in toy_embedder().embed(SENTENCES)]
    assert shapes == [(len(tokens), 7) for tokens in SENTENCES]


def test_no_tf32_on_a_gpu():
    embedder, cudnn, seen = toy_embedder(), torch.backends.cudnn, []
    embedder.model.register_forward_pre_hook(lambda *_: seen.append((cudnn.enabled, cudnn.allow_tf32)))
    before = cudnn.enabled, cudnn.allow_tf32
    list(embedder.embed([["no", "fever"]]))
    assert seen == [(True, False)]
    assert (cudnn.enabled, cudnn.allow_tf32) == before


def test_save_and_load(tmp_path):
    for number, (forward, projection) in enumerate([(True, None), (False, 3)]):
        embedder = toy_embedder(forward, 2, projection, start="<doc>")
        embedder.save(tmp_path / str(number))
        loaded = CharacterEmbedder.load(tmp_path / str(number))
        assert (loaded.fingerprint, loaded.width) == ("toy", embedder.width)
        for ours, theirs in zip(embedder.embed(SENTENCES), loaded.embed(SENTENCES), strict=True):
            assert np.array_equal(ours, theirs)


def periodic_text() -> list[list[str]]:
    return [["ab", "cab"], ["abc", "abc", "c"]] * 200


def trained(forward: bool = True, seed: int = 1, epochs: int = 2):
    messages: list[str] = []
    result = train_character_model(
        periodic_text(), forward=forward, hidden_size=16, epochs=epochs, seed=seed, progress=messages.append
    )
    return *result, messages


@pytest.mark.parametrize("forward", [True, False])
def test_training_learns_a_text_that_repeats_itself(forward):
    model, alphabet, messages = trained(forward, epochs=6)
    uniform = np.log2(len(alphabet.char_to_id))
    assert bits_per_character(model, alphabet, periodic_text(), forward) < uniform / 3
    assert messages[-1].startswith("epoch 6 of 6, ")
    assert messages[-1].endswith("bits per character")


def test_training_is_deterministic():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, second, other = trained()[0], trained()[0], trained(seed=2)[0]
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert not torch.equal(first.encoder.weight, other.encoder.weight)
    assert torch.equal(before, torch.get_rng_state()), "the caller's random numbers are left alone"


def test_bptt_chunks_cover_the_text():
    text = torch.arange(8 * 5_003)
    streams: list[list[int]] = [[] for _ in range(16)]
    for characters, following in training.bptt_chunks(text):
        assert torch.equal(characters + 1, following)
        for stream, column in zip(streams, characters.t().tolist(), strict=True):
            stream += column
    assert [n for stream in streams for n in stream] == list(range(16 * 2_501))


def test_rare_characters_share_the_unknown_number():
    alphabet = training.build_alphabet([["aaaa", "bbb", "z"]])
    assert alphabet.char_to_id == {"<unk>": 0, "a": 1, "\n": 2, " ": 3, "b": 4}
    assert alphabet.encode("az\u1234b").tolist() == [1, 0, 0, 4]


def test_empty_training_text_is_refused():
    with pytest.raises(WorkError, match="training text of this job is empty"):
        train_character_model([], forward=True, hidden_size=4, epochs=1, seed=1, progress=print)
