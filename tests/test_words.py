"""Word and subword vectors: lookup, saving, deterministic training."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from gensim.models import FastText, KeyedVectors
from gensim.models.fasttext import ft_ngram_hashes
from hypothesis import given
from hypothesis import strategies as st

from munchray.errors import InputError
from munchray.features.words import (
    SubwordVectors,
    WordVectors,
    load_word_vectors,
    ngram_buckets,
    read_gensim,
    train_subwords,
)

TEXT = [["the", "BRCA1", "gene"], ["the", "p53", "gene", "and", "the", "tumour"]] * 30
UNKNOWN = ["brca2", "genes", "", "x", "é", "tumours😀", "\u200b"]


def plain(tmp_path: Path, suffix: str = ".gensim") -> tuple[Path, KeyedVectors]:
    keyed = KeyedVectors(4)
    words = ["Cell", "cell", "p##", "q0", "the"]
    keyed.add_vectors(words, np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32))
    path = tmp_path / f"vectors{suffix}"
    if suffix == ".gensim":
        keyed.save(str(path))
    else:
        keyed.save_word2vec_format(str(path), binary=suffix == ".bin")
    return path, keyed


def fasttext(tmp_path: Path) -> tuple[Path, KeyedVectors]:
    model = FastText(TEXT, vector_size=6, min_count=1, bucket=50, min_n=2, max_n=4, workers=1, seed=1)
    model.wv.save(str(tmp_path / "fasttext.gensim"))
    return tmp_path / "fasttext.gensim", model.wv


@pytest.mark.parametrize("suffix", [".gensim", ".bin", ".txt"])
def test_word_lookup_falls_back_like_flairs(tmp_path, suffix):
    path, keyed = plain(tmp_path, suffix)
    vectors = read_gensim(path, "f", subwords=False)
    found = vectors.vectors_of(["Cell", "CELL", "P53", "Q7", "unknown"])
    expected = [keyed["Cell"], keyed["cell"], keyed["p##"], keyed["q0"], np.zeros(4)]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_subword_vectors_equal_gensims(tmp_path):
    path, keyed = fasttext(tmp_path)
    vectors = read_gensim(path, "f", subwords=True)
    words = ["the", "BRCA1", *UNKNOWN]
    np.testing.assert_allclose(vectors.vectors_of(words), [keyed.get_vector(w) for w in words], atol=1e-7)
    assert vectors.vectors_of(["genes"]).any()


def test_ngrams_are_ignored_for_words(tmp_path):
    path, keyed = fasttext(tmp_path)
    vectors = read_gensim(path, "f", subwords=False)
    assert np.array_equal(vectors.vectors_of(["the", "THE", "genes"]), [keyed["the"], keyed["the"], np.zeros(6)])


def test_plain_vectors_can_be_read_as_subwords(tmp_path):
    path, keyed = plain(tmp_path)
    assert np.array_equal(read_gensim(path, "f", subwords=True).vectors_of(["CELL"]), [keyed["cell"]])


@pytest.mark.parametrize("subwords", [True, False])
def test_save_and_load(tmp_path, subwords):
    vectors = read_gensim(fasttext(tmp_path)[0], "mark", subwords=subwords)
    vectors.save(tmp_path / "saved")
    loaded = load_word_vectors(tmp_path / "saved")
    assert type(loaded) is (SubwordVectors if subwords else WordVectors)
    assert (loaded.fingerprint, loaded.width) == ("mark", 6)
    words = ["the", "THE", "BRCA1", *UNKNOWN]
    assert np.array_equal(vectors.vectors_of(words), loaded.vectors_of(words))
    assert not [file for file in (tmp_path / "saved").iterdir() if file.suffix not in (".json", ".safetensors")]


def test_one_row_per_token_in_order(tmp_path):
    vectors = read_gensim(plain(tmp_path)[0], "f", subwords=False)
    features = list(vectors.embed([["the", "Cell"], [], ["cell"]]))
    assert [f.shape for f in features] == [(2, 4), (0, 4), (1, 4)]
    assert np.array_equal(features[0][1], vectors.vectors_of(["Cell"])[0])


def test_a_file_of_something_else_is_refused_by_name(tmp_path):
    (tmp_path / "random").write_bytes(b"\x80" + os.urandom(500))
    (tmp_path / "pickle").write_bytes(pickle.dumps({"a": 1}))
    (tmp_path / "empty").write_bytes(b"")
    for name in ("random", "pickle", "empty"):
        with pytest.raises(InputError, match=f"{name}: no word vectors, .*expected word vectors: a file saved by"):
            read_gensim(tmp_path / name, "f", subwords=False)


def test_a_missing_part_of_large_vectors_is_named(tmp_path):
    path, keyed = plain(tmp_path)
    keyed.save(str(path), sep_limit=0, separately=["vectors"])
    part = path.with_name(path.name + ".vectors.npy")
    part.unlink()
    with pytest.raises(InputError, match=part.name):
        read_gensim(path, "f", subwords=False)


def test_vectors_do_not_depend_on_the_hash_seed():
    program = (
        "import hashlib, sys; sys.path.insert(0, sys.argv[1])\n"
        "from munchray.features.words import train_subwords\n"
        f"v = train_subwords({TEXT!r}, width=8, epochs=2, seed=1, fingerprint='f')\n"
        "print(hashlib.sha256(v.vectors_of(['the', 'p53', 'unknown']).tobytes()).hexdigest())"
    )
    root = str(Path(__file__).parents[1])
    digests = {
        subprocess.run(
            [sys.executable, "-c", program, root],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1


@given(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    st.integers(1, 4),
    st.integers(1, 7),
    st.integers(1, 99),
)
def test_ngrams_fall_into_the_buckets_that_gensim_gives_them(word, shortest, longest, buckets):
    expected = ft_ngram_hashes(word, shortest, longest, buckets)
    assert ngram_buckets(word, shortest, longest, buckets) == expected


def test_trained_vectors_cover_unknown_words():
    vectors = train_subwords(TEXT, width=8, epochs=2, seed=1, fingerprint="f")
    assert isinstance(vectors, SubwordVectors)
    assert vectors.width == 8
    assert set(vectors.word_to_row) == {"the", "BRCA1", "gene", "p53", "and", "tumour"}
    assert vectors.vectors_of(["BRCA2"]).any()
