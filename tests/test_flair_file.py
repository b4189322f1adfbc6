"""Exported Flair files: plain Flair, in a process without munchray, gives the same tags and loss."""

import numpy as np
import pytest
import torch
from tiny_bert import tiny_bert

from benchmarks.exported import flair_predictions, munchray_predictions
from munchray.corpora.catalogue import load_split
from munchray.corpora.tags import spans_of, tag_set
from munchray.errors import InputError
from munchray.features.charlm import Alphabet, CharacterEmbedder, CharacterModel
from munchray.features.flair_adapter import TransformerEmbedder
from munchray.features.words import SubwordVectors, WordVectors
from munchray.models.model import Model
from munchray.tagging.tagger import Tagger

pytestmark = pytest.mark.slow  # importing Flair takes many seconds


def odd_embedders(folder):
    """Word vectors, a backward model that reads lower case and projects, subwords, a transformer: all random."""
    rng, letters = np.random.default_rng(1), "\n abcdefghijklmnopqrstuvwxyz.,"
    alphabet = Alphabet({letter: n for n, letter in enumerate(["<unk>", *letters])})
    torch.manual_seed(1)
    model = CharacterModel(len(alphabet.char_to_id), 8, 12, projection=10)
    words = {word: n for n, word in enumerate(["fever", "the", "of", "cancer", "000"])}
    table = rng.normal(size=(len(words), 6)).astype(np.float32)
    buckets = rng.normal(size=(50, 7)).astype(np.float32)
    own = rng.normal(size=(len(words), 7)).astype(np.float32)
    return [
        WordVectors(table, words, "a"),
        CharacterEmbedder(model, alphabet, forward=False, fingerprint="b", lower=True),
        SubwordVectors(own, words, "c", buckets=buckets, ngrams=(2, 4)),
        TransformerEmbedder(tiny_bert(folder / "bert"), "d"),
    ]


def odd_model(folder):
    """Untrained, IOB2, two types; its weights are large, so that it marks much and few scores are near each other."""
    tags = {"m": tag_set(["Disease", "Gene"], "iob2"), "other": ["O", "B-X", "I-X"]}
    embedders = odd_embedders(folder)
    width = sum(embedder.width for embedder in embedders)
    tagger = Tagger(width, tags, hidden_size=9, word_dropout=0.05, locked_dropout=0.5).eval()
    tagger.initialise(3)
    with torch.no_grad():
        for head in tagger.heads.values():
            head.linear.weight.mul_(8)
            head.linear.bias.zero_()
            head.crf.transitions.mul_(0.3)
        tagger.lstm.weight_ih_l0.mul_(4)
        tagger.lstm.weight_ih_l0_reverse.mul_(4)
    return Model(tagger, embedders, "m")


def test_plain_flair_predicts_the_same(small_model, tmp_path):
    from munchray.models.flair_file import write_flair_file

    split = [s for s in load_split(small_model.data.sources[small_model.job.main], "test") if s.tokens]
    sentences = [list(s.tokens) for s in split]
    gold = [spans_of(s.tags) for s in split]
    trained, odd = Model.load(small_model.folder), odd_model(tmp_path)
    for model, name in ((trained, "trained.pt"), (odd, "odd.pt")):
        write_flair_file(model.tagger, model.embedders, model.main, tmp_path / name)
    trained_says, odd_says = flair_predictions(
        *((str(tmp_path / name), sentences, gold) for name in ("trained.pt", "odd.pt"))
    )

    tags, loss = munchray_predictions(trained, sentences, gold)
    assert trained_says[0] == tags
    assert trained_says[1] == [spans_of(row) for row in tags]
    assert trained_says[2] == pytest.approx(loss, rel=1e-3)
    assert sum(tag != "O" for row in tags for tag in row) > 50

    tags, loss = munchray_predictions(odd, sentences, gold)
    assert odd_says[0] == tags
    assert odd_says[2] == pytest.approx(loss, rel=1e-3)
    assert {tag for row in tags for tag in row} == set(odd.tagger.tag_sets["m"])


def test_unsupported_exports_are_refused(tmp_path):
    from munchray.models.flair_file import write_flair_file

    model = odd_model(tmp_path)
    twice = [model.embedders[2], *model.embedders]
    with pytest.raises(InputError, match=r"2 embeddings with n-grams \(fasttext\); expected at most one"):
        write_flair_file(model.tagger, twice, "m", tmp_path / "two.pt")
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="no Flair model"):
        write_flair_file(model.tagger, model.embedders, "m", tmp_path / "thesis.txt")
    with pytest.raises(InputError, match=r"is a folder.*Name a file in it"):
        write_flair_file(model.tagger, model.embedders, "m", tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bert", "thesis.txt"]
    for _ in range(2):
        write_flair_file(model.tagger, model.embedders, "m", tmp_path / "tagger.pt")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bert", "tagger.pt", "thesis.txt"]
