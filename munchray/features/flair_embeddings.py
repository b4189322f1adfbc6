"""Our frozen embedders as Flair's own embeddings, to go into a model file that plain Flair loads. (flair)"""

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


def stacked(embedders: Sequence[Embedder]) -> tuple[Any, list[int]]:
    """One Flair embedding of all embedders' numbers, and the order in which they stand in it once it is loaded.

    Flair joins a token's numbers by the names of the embeddings, as text, and gives fastText vectors the name of a
    temporary file each time they are loaded. The other names are chosen to come behind any path.

    Raises:
        InputError: two fastText embeddings, whose names would fall either way.
    """
    renamed = [position for position, embedder in enumerate(embedders) if isinstance(embedder, SubwordVectors)]
    if len(renamed) > 1:
        found = f"{len(renamed)} embeddings with n-grams (fasttext)"
        raise InputError(Problem("embeddings", found, "at most one, for Flair loads several in no fixed order"))
    copies = [_copy(embedder) for embedder in embedders]
    digits = len(str(len(copies)))
    for position, copy in enumerate(copies):
        copy.name = f"~{position:0{digits}}"
    order = sorted(range(len(copies)), key=lambda position: (position not in renamed, position))
    return StackedEmbeddings(copies, overwrite_names=False), order


def _copy(embedder: Embedder) -> Any:
    if isinstance(embedder, CharacterEmbedder):
        return _characters(embedder)
    if isinstance(embedder, TransformerEmbedder):
        return embedder.flair_embeddings
    if isinstance(embedder, SubwordVectors):
        return _subwords(embedder)
    assert isinstance(embedder, WordVectors), f"no copy of a {type(embedder).__name__}"
    return _words(embedder)


def _characters(embedder: CharacterEmbedder) -> Any:
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
    """Flair's dictionary with these numbers; one that no character has stands for nothing."""
    dictionary = Dictionary(add_unk=False)
    dictionary.item2idx = {character.encode(): number for character, number in alphabet.numbers.items()}
    dictionary.idx2item = [b""] * size
    for item, number in dictionary.item2idx.items():
        dictionary.idx2item[number] = item
    return dictionary


def _words(embedder: WordVectors) -> Any:
    copy = WordEmbeddings(None, vocab=dict(embedder.numbers), embedding_length=embedder.width, name="words")
    unknown = np.zeros((1, embedder.width), np.float32)
    copy.embedding.weight.data.copy_(torch.from_numpy(np.concatenate([embedder.vectors, unknown])))
    return copy


def _subwords(embedder: SubwordVectors) -> Any:
    with TemporaryDirectory() as folder:
        path = Path(folder, "vectors")
        embedder.as_gensim().save(str(path), separately=[])
        return FastTextEmbeddings(str(path))
