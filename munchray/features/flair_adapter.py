"""Adapter to Flair: its language model files, its downloads, and transformers through its embeddings. (flair)

Importing flair takes many seconds, so it is imported only to download a model or to run a transformer.
"""

from __future__ import annotations

import contextlib
import pickle
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from munchray.errors import InputError, Problem, WorkError
from munchray.features.charlm import Alphabet, CharacterEmbedder, CharacterModel
from munchray.features.words import WordVectors
from munchray.files import read_json, write_json

TRANSFORMER_BATCH = 32  # sentences


def read_language_model(path: Path, fingerprint: str) -> CharacterEmbedder:
    """Read a Flair ``LanguageModel`` file (``.pt``) without importing flair.

    Such a file is a pickle. Unpickling is restricted to the types that these files contain (tensors, numbers, text,
    Flair's ``Dictionary``), so a file that would run other code is refused.

    Raises:
        InputError: the file holds no language model.
    """
    try:
        state = torch.load(path, map_location="cpu", pickle_module=_RestrictedPickle, weights_only=False)
        return _build_embedder(state, fingerprint, lower=False)
    except Exception as error:  # any exception, for other kinds of files
        found = f"no language model, it cannot be read ({type(error).__name__}: {error})"
        raise InputError(Problem(str(path), found, "a file saved by Flair's LanguageModel")) from error


def download_language_model(name: str, fingerprint: str) -> CharacterEmbedder:
    """The model that Flair's `FlairEmbeddings` loads by this name, from its cache or the network."""
    with _download_errors(name):
        from flair.embeddings import FlairEmbeddings

        embeddings = FlairEmbeddings(name)
    return _build_embedder(embeddings.lm.__getstate__(), fingerprint, lower=embeddings.is_lower)


def download_word_vectors(name: str, fingerprint: str) -> WordVectors:
    """The vectors that Flair's `WordEmbeddings` loads by this name (none has n-grams)."""
    with _download_errors(name):
        from flair.embeddings import WordEmbeddings

        embeddings = WordEmbeddings(name)
    vectors = embeddings.embedding.weight.detach().cpu().numpy()
    return WordVectors(vectors[:-1], dict(embeddings.vocab), fingerprint)  # the last row is Flair's unknown word


class TransformerEmbedder:
    """A frozen transformer: last layer, first subtoken of each token, no context beyond the sentence."""

    def __init__(self, folder: Path, fingerprint: str) -> None:
        from flair.embeddings import TransformerWordEmbeddings

        self.fingerprint = fingerprint
        self.flair_embeddings = TransformerWordEmbeddings(
            str(folder), layers="-1", subtoken_pooling="first", fine_tune=False, use_context=False
        )

    @property
    def width(self) -> int:
        """Features per token."""
        return int(self.flair_embeddings.embedding_length)

    def embed(self, sentences: Sequence[Sequence[str]]) -> Iterator[np.ndarray]:
        """One float32 array [tokens, width] per sentence, in the given order; zeros for an empty token."""
        from flair.data import Sentence

        for begin in range(0, len(sentences), TRANSFORMER_BATCH):
            batch = sentences[begin : begin + TRANSFORMER_BATCH]
            flair_sentences = [Sentence([token for token in tokens if token]) for tokens in batch]
            self.flair_embeddings.embed([sentence for sentence in flair_sentences if len(sentence)])
            for tokens, flair_sentence in zip(batch, flair_sentences, strict=True):
                rows = np.zeros((len(tokens), self.width), np.float32)
                written = [row for row, token in enumerate(tokens) if token]  # Flair drops empty tokens
                for row, token in zip(written, flair_sentence, strict=True):
                    rows[row] = token.get_embedding().cpu().numpy()
                yield rows

    def save(self, folder: Path) -> None:
        """Write the model, its tokenizer and its settings as transformers does."""
        folder.mkdir(parents=True, exist_ok=True)
        self.flair_embeddings.model.save_pretrained(folder, safe_serialization=True)
        self.flair_embeddings.tokenizer.save_pretrained(folder)
        write_json(folder / "embedder.json", {"kind": "transformer", "fingerprint": self.fingerprint})

    @classmethod
    def load(cls, folder: Path) -> TransformerEmbedder:
        """Load an embedder that `save` wrote."""
        return cls(folder, read_json(folder / "embedder.json")["fingerprint"])


def open_transformer(folder: Path, fingerprint: str) -> TransformerEmbedder:
    """Open a transformer folder.

    Raises:
        InputError: it holds no model or no tokenizer that transformers can load.
    """
    try:
        return TransformerEmbedder(folder, fingerprint)
    except Exception as error:  # transformers raises many types
        found = f"no transformer, it cannot be loaded ({type(error).__name__}: {error})"
        expected = "a folder that transformers' save_pretrained wrote, model and tokenizer"
        raise InputError(Problem(str(folder), found, expected)) from error


class _Dictionary:
    """Stand-in for ``flair.data.Dictionary``, which maps characters (UTF-8) to ids."""

    item2idx: dict[bytes, int]


class _RestrictedUnpickler(pickle.Unpickler):
    """Resolves only the globals that language model files contain (torch resolves its storages itself)."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("flair.data", "Dictionary"):
            return _Dictionary
        if (module, name) in _ALLOWED_GLOBALS:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"a language model does not hold a {module}.{name}")


_ALLOWED_GLOBALS = {
    ("collections", "OrderedDict"),
    ("collections", "defaultdict"),
    ("builtins", "int"),
    ("_codecs", "encode"),
    ("torch._utils", "_rebuild_tensor_v2"),
    ("torch._utils", "_rebuild_parameter"),
}


class _RestrictedPickle:
    """The ``pickle_module`` for `torch.load`."""

    Unpickler = _RestrictedUnpickler

    @staticmethod
    def load(stream: Any, **options: Any) -> Any:
        """As `pickle.load`."""
        return _RestrictedUnpickler(stream, **options).load()


def _build_embedder(state: Mapping[str, Any], fingerprint: str, *, lower: bool) -> CharacterEmbedder:
    """An embedder from the state that Flair's ``LanguageModel`` saves.

    Raises:
        KeyError, ValueError, RuntimeError: any other state.
    """
    if state.get("recurrent_type", "LSTM").upper() != "LSTM":
        raise ValueError(f"its recurrent layer is a {state['recurrent_type']}, only LSTM is supported")
    weights = {n: w for n, w in state["state_dict"].items() if not n.startswith("decoder.")}
    model = CharacterModel(
        characters=len(weights["encoder.weight"]),
        embedding_size=state["embedding_size"],
        hidden_size=state["hidden_size"],
        layers=state["nlayers"],
        projection=state["nout"],
    )
    model.load_state_dict(weights)
    return CharacterEmbedder(
        model,
        Alphabet({item.decode(): index for item, index in state["dictionary"].item2idx.items()}),
        forward=state["is_forward_lm"],
        fingerprint=fingerprint,
        start=state.get("document_delimiter", "\n"),
        lower=lower,
    )


@contextlib.contextmanager
def _download_errors(name: str) -> Iterator[None]:
    """Convert errors of Flair's downloads to a WorkError with advice."""
    try:
        yield
    except Exception as error:  # requests, urllib, flair and gensim have no common base class
        raise WorkError(
            f"Flair could not provide the embeddings '{name}' ({type(error).__name__}: {error}). "
            "If this machine has no access to the network, name a local file in the job's embeddings instead."
        ) from error
