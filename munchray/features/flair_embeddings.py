"""Convert frozen embedders to Flair's embeddings, for model files that plain Flair loads. (flair)"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from flair.data import Dictionary
from flair.embeddings import FastTextEmbeddings, FlairEmbeddings, StackedEmbeddings, WordEmbeddings
from flair.models import LanguageModel

from munchray.errors import InputError, Problem
from munchray.features.charlm import Alphabet, CharacterEmbedder
from munchray.features.flair_adapter import TransformerEmbedder
from munchray.features.sources import Embedder
from munchray.features.words import SubwordVectors, WordVectors


def stack_embeddings(embedders: Sequence[Embedder]) -> tuple[Any, list[int]]:
    """One Flair embedding of all embedders, and the order of their features in it once it has been loaded.

    Flair concatenates features in the alphabetical order of the embeddings' names, and names fastText vectors after a
    temporary file each time they are loaded. The other names are chosen to sort after any path.

    Raises:
        InputError: two fastText embeddings, whose order would vary.
    """
    renamed = [position for position, embedder in enumerate(embedders) if isinstance(embedder, SubwordVectors)]
    if len(renamed) > 1:
        found = f"{len(renamed)} embeddings with n-grams (fasttext)"
        raise InputError(Problem("embeddings", found, "at most one, because Flair loads several in no fixed order"))
    copies = [_to_flair(embedder) for embedder in embedders]
    digits = len(str(len(copies)))
    for position, copy in enumerate(copies):
        copy.name = f"~{position:0{digits}}"
    order = sorted(range(len(copies)), key=lambda position: (position not in renamed, position))
    return StackedEmbeddings(copies, overwrite_names=False), order


def _to_flair(embedder: Embedder) -> Any:
    if isinstance(embedder, CharacterEmbedder):
        return _flair_embeddings(embedder)
    if isinstance(embedder, TransformerEmbedder):
        return embedder.flair_embeddings
    if isinstance(embedder, SubwordVectors):
        return _fasttext_embeddings(embedder)
    assert isinstance(embedder, WordVectors), f"no copy of a {type(embedder).__name__}"
    return _word_embeddings(embedder)


def _flair_embeddings(embedder: CharacterEmbedder) -> Any:
    shape = embedder.shape
    model = LanguageModel(
        _dictionary(embedder.alphabet, embedder.model.encoder.num_embeddings),
        embedder.forward,
        shape["hidden_size"],
        shape["layers"],
        shape["embedding_size"],
        nout=shape["projection"],
        document_delimiter=embedder.start,
        dropout=0.0,
        has_decoder=False,
    )
    weights = embedder.model.state_dict().items()
    model.load_state_dict({name: value for name, value in weights if not name.startswith("decoder.")})
    return FlairEmbeddings(model, is_lower=embedder.lower)


def _dictionary(alphabet: Alphabet, size: int) -> Any:
    """Flair's dictionary with the same ids; an id without a character is an empty entry."""
    dictionary = Dictionary(add_unk=False)
    dictionary.item2idx = {character.encode(): index for character, index in alphabet.char_to_id.items()}
    dictionary.idx2item = [b""] * size
    for item, index in dictionary.item2idx.items():
        dictionary.idx2item[index] = item
    return dictionary


def _word_embeddings(embedder: WordVectors) -> Any:
    copy = WordEmbeddings(None, vocab=dict(embedder.word_to_row), embedding_length=embedder.width, name="words")
    unknown = np.zeros((1, embedder.width), np.float32)
    copy.embedding.weight.data.copy_(torch.from_numpy(np.concatenate([embedder.vectors, unknown])))
    return copy


def _fasttext_embeddings(embedder: SubwordVectors) -> Any:
    with TemporaryDirectory() as folder:
        path = Path(folder, "vectors")
        embedder.as_gensim().save(str(path), separately=[])
        return FastTextEmbeddings(str(path))
