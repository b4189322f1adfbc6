"""The door to Flair: its language model files, the models it downloads, transformers through its embeddings.

Importing flair takes many seconds, so only what downloads a model or runs a transformer does it.
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
    """A Flair ``LanguageModel`` file (``.pt``), read without flair.

    Such a file is a pickle. Only what these files are made of is let through (tensors, numbers, text, Flair's
    ``Dictionary``), so one that would run other code is refused.

    Raises:
        InputError: the file holds no language model.
    """
    try:
        state = torch.load(path, map_location="cpu", pickle_module=_OnlyLanguageModels, weights_only=False)
        return _embedder(state, fingerprint, lower=False)
    except Exception as error:  # what is no such file raises nearly anything
        found = f"no language model, it cannot be read ({type(error).__name__}: {error})"
        raise InputError(Problem(str(path), found, "a file saved by Flair's LanguageModel")) from error


def download_language_model(name: str, fingerprint: str) -> CharacterEmbedder:
    """The model that `FlairEmbeddings` has under this name, from Flair's cache or the network."""
    with _explained(name):
        from flair.embeddings import FlairEmbeddings

        embeddings = FlairEmbeddings(name)
    return _embedder(embeddings.lm.__getstate__(), fingerprint, lower=embeddings.is_lower)


def download_word_vectors(name: str, fingerprint: str) -> WordVectors:
    """The vectors that Flair's `WordEmbeddings` has under this name (all of them without n-grams)."""
    with _explained(name):
        from flair.embeddings import WordEmbeddings

        embeddings = WordEmbeddings(name)
    vectors = embeddings.embedding.weight.detach().cpu().numpy()
    return WordVectors(vectors[:-1], dict(embeddings.vocab), fingerprint)  # the last row is Flair's unknown word


class TransformerEmbedder:
    """A frozen transformer: the last layer at each token's first piece, no context beyond the sentence."""

    def __init__(self, folder: Path, fingerprint: str) -> None:
        from flair.embeddings import TransformerWordEmbeddings

        self.fingerprint = fingerprint
        self.flair_embeddings = TransformerWordEmbeddings(
            str(folder), layers="-1", subtoken_pooling="first", fine_tune=False, use_context=False
        )

    @property
    def width(self) -> int:
        """Numbers a token."""
        return int(self.flair_embeddings.embedding_length)

    def embed(self, sentences: Sequence[Sequence[str]]) -> Iterator[np.ndarray]:
        """One float32 array [tokens, width] a sentence, in the given order; zeros for an empty token."""
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
        """What `save` wrote."""
        return cls(folder, read_json(folder / "embedder.json")["fingerprint"])


def open_transformer(folder: Path, fingerprint: str) -> TransformerEmbedder:
    """A transformer folder.

    Raises:
        InputError: it holds no model or no tokenizer that transformers can load.
    """
    try:
        return TransformerEmbedder(folder, fingerprint)
    except Exception as error:  # transformers raises nearly anything
        found = f"no transformer, it cannot be loaded ({type(error).__name__}: {error})"
        expected = "a folder that transformers' save_pretrained wrote, model and tokenizer"
        raise InputError(Problem(str(folder), found, expected)) from error


class _Dictionary:
    """Stands for ``flair.data.Dictionary``, which maps characters (UTF-8) to numbers."""

    item2idx: dict[bytes, int]


class _Unpickler(pickle.Unpickler):
    """Builds what language model files are made of, and nothing else (torch finds its storages itself)."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("flair.data", "Dictionary"):
            return _Dictionary
        if (module, name) in _HARMLESS:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"a language model does not hold a {module}.{name}")


_HARMLESS = {
    ("collections", "OrderedDict"),
    ("collections", "defaultdict"),
    ("builtins", "int"),
    ("_codecs", "encode"),
    ("torch._utils", "_rebuild_tensor_v2"),
    ("torch._utils", "_rebuild_parameter"),
}


class _OnlyLanguageModels:
    """The pickle module that `torch.load` is given."""

    Unpickler = _Unpickler

    @staticmethod
    def load(stream: Any, **options: Any) -> Any:
        """Read one object."""
        return _Unpickler(stream, **options).load()


def _embedder(state: Mapping[str, Any], fingerprint: str, *, lower: bool) -> CharacterEmbedder:
    """From what Flair's ``LanguageModel`` saves. Raises KeyError, ValueError or RuntimeError for anything else."""
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
        Alphabet({item.decode(): number for item, number in state["dictionary"].item2idx.items()}),
        forward=state["is_forward_lm"],
        fingerprint=fingerprint,
        start=state.get("document_delimiter", "\n"),
        lower=lower,
    )


@contextlib.contextmanager
def _explained(name: str) -> Iterator[None]:
    """Says what to do when Flair cannot download a model."""
    try:
        yield
    except Exception as error:  # requests, urllib, flair and gensim each raise their own
        raise WorkError(
            f"Flair could not provide the embeddings '{name}' ({type(error).__name__}: {error}). "
            "If this machine has no access to the network, name a local file in the job's embeddings instead."
        ) from error
