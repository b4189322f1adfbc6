"""Word and subword vectors: lookup, loading gensim's files, training fastText. (gensim)

gensim is an extra: needed to read its files, to train vectors and to save them for Flair, not to look words up.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from munchray.errors import InputError, Problem, WorkError
from munchray.files import read_json, write_json

MIN_NGRAM, MAX_NGRAM = 3, 6  # characters of an n-gram
FNV_OFFSET, FNV_PRIME = 2_166_136_261, 16_777_619  # of the 32-bit FNV-1a hash of an n-gram in fastText
BUCKETS = 20_000  # hash buckets of the n-grams of trained subword vectors
WORD2VEC_SUFFIXES = (".bin", ".txt")  # other files are read as saved by gensim


class WordVectors:
    """A table of word vectors with the lookup of ``flair.embeddings.WordEmbeddings``.

    The word itself, else in lower case, else that with every digit as ``#``, else as ``0``, else zeros.
    """

    kind = "words"

    def __init__(self, vectors: np.ndarray, word_to_row: dict[str, int], fingerprint: str) -> None:
        self.vectors = vectors  # float32 [words, width]
        self.word_to_row = word_to_row
        self.fingerprint = fingerprint
        self._zeros = np.zeros(self.width, np.float32)

    @property
    def width(self) -> int:
        """Features per token."""
        return int(self.vectors.shape[1])

    def vectors_of(self, words: Sequence[str]) -> np.ndarray:
        """float32 [len(words), width]."""
        rows = np.zeros((len(words), self.width), np.float32)
        for row, word in zip(rows, words, strict=True):
            row[:] = self.vector(word)
        return rows

    def vector(self, word: str) -> np.ndarray:
        """The vector of a word. float32 [width]"""
        lower = word.lower()
        forms = (word, lower, re.sub(r"\d", "#", lower), re.sub(r"\d", "0", lower))
        known = next((form for form in forms if form in self.word_to_row), None)
        return self._zeros if known is None else self._row(known)

    def _row(self, word: str) -> np.ndarray:
        row: np.ndarray = self.vectors[self.word_to_row[word]]
        return row

    def embed(self, sentences: Sequence[Sequence[str]]) -> Iterator[np.ndarray]:
        """One float32 array [tokens, width] per sentence, in the given order."""
        return map(self.vectors_of, sentences)

    def save(self, folder: Path) -> None:
        """Write the tables as safetensors, the words and settings as JSON."""
        folder.mkdir(parents=True, exist_ok=True)
        tables = {name: np.ascontiguousarray(table) for name, table in self._tables().items()}
        try:
            save_file(tables, folder / "vectors.safetensors")
        except SafetensorError as error:
            raise WorkError(f"{folder} cannot be written: {error}") from None
        words = sorted(self.word_to_row, key=self.word_to_row.__getitem__)
        (folder / "vocabulary.json").write_text(json.dumps(words), encoding="utf-8")
        write_json(folder / "embedder.json", self._description())

    def _tables(self) -> dict[str, np.ndarray]:
        return {"words": self.vectors}

    def _description(self) -> dict[str, Any]:
        return {"kind": self.kind, "fingerprint": self.fingerprint}


class SubwordVectors(WordVectors):
    """fastText vectors (Bojanowski et al., 2017): an unknown word is the mean of its character n-grams' rows."""

    kind = "fasttext"

    def __init__(
        self,
        vectors: np.ndarray,
        word_to_row: dict[str, int],
        fingerprint: str,
        *,
        buckets: np.ndarray,
        ngrams: tuple[int, int],
    ) -> None:
        super().__init__(vectors, word_to_row, fingerprint)
        self.buckets = buckets  # float32 [buckets, width]
        self.ngrams = ngrams  # shortest and longest, in characters

    def vector(self, word: str) -> np.ndarray:
        """The vector of a known word, else the mean of its n-grams' rows; zeros if it has none."""
        if word in self.word_to_row:
            return self._row(word)
        rows = ngram_buckets(word, *self.ngrams, len(self.buckets))
        return np.asarray(self.buckets[rows].mean(0)) if len(rows) else self._zeros

    def as_gensim(self) -> Any:
        """Convert to gensim's ``FastTextKeyedVectors``, which can be saved.

        gensim saves the residual of a word beyond its n-grams, and adds the n-grams when it loads.
        """
        from gensim.models.fasttext import FastTextKeyedVectors

        keyed = FastTextKeyedVectors(self.width, *self.ngrams, len(self.buckets))
        keyed.index_to_key = sorted(self.word_to_row, key=self.word_to_row.__getitem__)
        keyed.key_to_index = dict(self.word_to_row)
        keyed.vectors, keyed.vectors_ngrams = self.vectors, self.buckets
        rows = [ngram_buckets(word, *self.ngrams, len(self.buckets)) for word in keyed.index_to_key]
        residuals = [v * (len(r) + 1) - self.buckets[r].sum(0) for v, r in zip(self.vectors, rows, strict=True)]
        keyed.vectors_vocab = np.array(residuals, np.float32)
        return keyed

    def _tables(self) -> dict[str, np.ndarray]:
        return {"words": self.vectors, "buckets": self.buckets}

    def _description(self) -> dict[str, Any]:
        return {**super()._description(), "ngrams": list(self.ngrams)}


def ngram_buckets(word: str, shortest: int, longest: int, buckets: int) -> list[int]:
    """The bucket of each character n-gram of ``<word>``, as fastText and gensim hash them, in their order."""
    letters = [letter.encode() for letter in f"<{word}>"]
    found = []
    for start in range(len(letters)):
        state = FNV_OFFSET
        for size, letter in enumerate(letters[start : start + longest], start=1):
            for byte in letter:
                signed = byte if byte < 128 else byte | 0xFFFFFF00  # fastText hashes signed bytes
                state = (state ^ signed) * FNV_PRIME & 0xFFFFFFFF
            at_an_end = start == 0 or start + size == len(letters)
            if size >= shortest and not (size == 1 and at_an_end):
                found.append(state % buckets)
    return found


def load_word_vectors(folder: Path) -> WordVectors:
    """Load vectors that `save` wrote."""
    description = read_json(folder / "embedder.json")
    word_to_row = {word: row for row, word in enumerate(read_json(folder / "vocabulary.json"))}
    tables = load_file(folder / "vectors.safetensors")
    if description["kind"] == WordVectors.kind:
        return WordVectors(tables["words"], word_to_row, description["fingerprint"])
    ngrams = (description["ngrams"][0], description["ngrams"][1])
    return SubwordVectors(
        tables["words"], word_to_row, description["fingerprint"], buckets=tables["buckets"], ngrams=ngrams
    )


def read_gensim(path: Path, fingerprint: str, *, subwords: bool) -> WordVectors:
    """Load vectors that gensim saved (or word2vec / fastText ``.bin``, word2vec ``.txt``).

    A file that gensim saved is a pickle and may run code when it is loaded: name only files whose origin you know.
    With `subwords`, n-grams are used if the vectors have them; plain vectors are looked up as words.

    Raises:
        InputError: the file has no vectors, or a part of it is missing.
    """
    from gensim.models import KeyedVectors

    try:
        loaded = _load_gensim(path, subwords)
    except Exception as error:  # unpickling another kind of file raises many types
        raise _not_word_vectors(path, f"it cannot be read ({type(error).__name__}: {error})") from error
    if not isinstance(loaded, KeyedVectors):
        raise _not_word_vectors(path, f"it holds a {type(loaded).__name__}")
    return _from_keyed(loaded, fingerprint, subwords)


def _load_gensim(path: Path, subwords: bool) -> Any:
    from gensim.models import KeyedVectors
    from gensim.models.fasttext import load_facebook_vectors

    if path.suffix not in WORD2VEC_SUFFIXES:
        return KeyedVectors.load(str(path), mmap="r")  # returns the class that was saved, with its n-grams
    if subwords and path.suffix == ".bin":
        return load_facebook_vectors(str(path))
    return KeyedVectors.load_word2vec_format(str(path), binary=path.suffix == ".bin")


def _not_word_vectors(path: Path, found: str) -> InputError:
    expected = "word vectors: a file saved by gensim's KeyedVectors, or word2vec .bin or .txt"
    return InputError(Problem(str(path), f"no word vectors, {found}", expected))


def _from_keyed(keyed: Any, fingerprint: str, subwords: bool) -> WordVectors:
    vectors, word_to_row = keyed.vectors.astype(np.float32, copy=False), dict(keyed.key_to_index)
    if not subwords or not getattr(keyed, "bucket", 0):
        return WordVectors(vectors, word_to_row, fingerprint)
    buckets = keyed.vectors_ngrams.astype(np.float32, copy=False)
    return SubwordVectors(vectors, word_to_row, fingerprint, buckets=buckets, ngrams=(keyed.min_n, keyed.max_n))


def train_subwords(
    sentences: Sequence[Sequence[str]], *, width: int, epochs: int, seed: int, fingerprint: str
) -> WordVectors:
    """Train fastText skip-gram vectors on the sentences; deterministic for a seed (one thread)."""
    from gensim.models import FastText

    model = FastText(
        sentences=[list(tokens) for tokens in sentences],
        vector_size=width,
        epochs=epochs,
        seed=seed,
        sg=1,
        min_count=2,
        min_n=MIN_NGRAM,
        max_n=MAX_NGRAM,
        bucket=BUCKETS,
        workers=1,
    )
    return _from_keyed(model.wv, fingerprint, subwords=True)
