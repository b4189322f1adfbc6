"""An exported model: tag tokens, find entities in raw text, score a corpus."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice, tee
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from munchray.corpora.catalogue import entity_types, load_split, resolve_corpus
from munchray.corpora.tags import iobes_to_iob2
from munchray.errors import InputError, Problem
from munchray.features.batching import batches_by_length
from munchray.features.sources import Embedder, load_embedder
from munchray.features.units import to_float16
from munchray.models.text import Span as Span
from munchray.models.text import TokenizedSentence, character_spans, tokenize_document, tokenize_paragraph
from munchray.tagging.packed_batch import PackedBatch
from munchray.tagging.scoring import counts_by_type, seqeval_scores
from munchray.tagging.tagger import Tagger
from munchray.tagging.weights import load_tagger

T = TypeVar("T")

MAX_SENTENCES = 32  # per batch
MAX_PADDED_TOKENS = 4096  # per batch, unless a single sentence has more
WINDOW = 1024  # sentences read ahead and sorted by length: batches have little padding, memory is bounded


class Model:
    """A tagger with its embeddings, for one annotation style.

    Attributes:
        main: the corpus whose annotation the model was trained for.
        entity_types: the types that it can find, sorted.
        tagger: the network.
        embedders: of the features, in order.
    """

    def __init__(self, tagger: Tagger, embedders: Sequence[Embedder], main: str) -> None:
        self.main = main
        self.entity_types = sorted({tag[2:] for tag in tagger.tag_sets[main] if tag != "O"})
        self.tagger = tagger
        self.embedders = embedders

    @classmethod
    def load(cls, folder: str | Path) -> Model:
        """Load a folder that `munchray export` wrote.

        Raises:
            InputError: the folder is not an exported model, or is damaged.
        """
        folder = Path(folder)
        tagger, description = load_tagger(folder)
        numbered = [path for path in (folder / "embeddings").glob("*") if path.name.isdecimal()]
        embedders = [load_embedder(path) for path in sorted(numbered, key=lambda path: int(path.name))]
        width = sum(embedder.width for embedder in embedders)
        if width != description["width"]:
            found = f"its embeddings give {width} features per token"
            fix = "Name a complete folder that `munchray export` wrote"
            raise InputError(Problem(str(folder), found, f"{description['width']}, the input of its tagger", fix))
        return cls(tagger, embedders, description["main"])

    def tag(self, sentences: Sequence[Sequence[str]]) -> list[list[str]]:
        """Tag tokenised sentences.

        Args:
            sentences: the tokens of each sentence.

        Returns:
            The IOB2 tags of each sentence, one per token.
        """
        return list(self.iter_tags(sentences))

    def spans(self, text: str) -> list[Span]:
        """Find the entities of a paragraph of raw text; it may have several sentences, and line breaks are spaces.

        Returns:
            Spans with character offsets into ``text``, in order.
        """
        return [span for spans in self.iter_spans(tokenize_paragraph(text)) for span in spans]

    def spans_of_document(self, text: str) -> list[Span]:
        """Find the entities of a text of many lines, in which every line break ends a sentence.

        Returns:
            Spans with character offsets into ``text``, in order.
        """
        return [span for spans in self.iter_spans(tokenize_document(text)) for span in spans]

    def score(
        self,
        corpus: str | Path,
        split: str = "test",
        data_dir: str | Path | None = None,
        progress: Callable[[str], None] = lambda line: None,
    ) -> dict[str, dict[str, Any]]:
        """Exact-span scores on a split of a corpus.

        Args:
            corpus: a known corpus, or a folder of train, dev and test files (first column tokens, last column tags).
            split: ``train``, ``dev`` or ``test``.
            data_dir: folder of the real corpora; default as in `data_folder`.
            progress: called with a line after every sentence.

        Returns:
            For each entity type, and for ``all`` of them by seqeval in strict mode: ``precision``, ``recall`` and
            ``f1`` in percent, ``support`` in gold spans.

        Raises:
            InputError: no such corpus or split, or it has entity types that the model does not know.
        """
        source = resolve_corpus(str(corpus), Path(data_dir) if data_dir else None)
        sentences = load_split(source, split)
        unknown = set(entity_types(sentences)) - set(self.entity_types)
        if unknown:
            expected = f"only types of the model ({', '.join(self.entity_types)}), trained on {self.main}"
            raise InputError(Problem(str(corpus), f"entity types {', '.join(sorted(unknown))}", expected))
        gold = [sentence.tags for sentence in sentences]
        predicted = []
        for tags in self.iter_tags(sentence.tokens for sentence in sentences):
            predicted.append(tags)
            progress(f"{len(predicted):,} of {len(sentences):,} sentences")
        rows = {
            entity_type: {"precision": c.precision, "recall": c.recall, "f1": c.f1, "support": c.tp + c.fn}
            for entity_type, c in counts_by_type(gold, predicted).items()
        }
        return {**rows, "all": seqeval_scores(gold, predicted)}

    def iter_tags(self, sentences: Iterable[Sequence[str]]) -> Iterator[list[str]]:
        """As `tag`, for any number of sentences in bounded memory."""
        return map(iobes_to_iob2, self._decode(sentences, self.tagger.decode))

    def iter_spans(self, sentences: Iterable[TokenizedSentence]) -> Iterator[list[Span]]:
        """The entities of each sentence (those that `tag` tags), for any number of sentences in bounded memory."""
        sentences, ahead = tee(sentences)
        decoded = self._decode((sentence.words for sentence in ahead), self.tagger.decode_spans)
        return map(character_spans, sentences, decoded)

    def features(self, sentences: Sequence[Sequence[str]]) -> tuple[Tensor, PackedBatch]:
        """The input of the tagger for a batch of sentences without empty ones. shape: (tokens, width)"""
        packed = PackedBatch([len(sentence) for sentence in sentences])
        blocks = [packed.pack(list(embedder.embed(sentences))) for embedder in self.embedders]
        # rounded as in the feature store, so that an exported model tags as it did in training
        return torch.from_numpy(to_float16(np.concatenate(blocks, 1))).float(), packed

    def _decode(
        self, sentences: Iterable[Sequence[str]], decode: Callable[[Tensor, PackedBatch, str], list[list[T]]]
    ) -> Iterator[list[T]]:
        """Apply a method of the tagger to batches of similar length; results are in the order of the sentences."""
        rest = iter(sentences)
        while window := list(islice(rest, WINDOW)):
            results: list[list[T]] = [[] for _ in window]
            nonempty = [index for index, sentence in enumerate(window) if len(sentence)]
            lengths = [len(window[index]) for index in nonempty]
            for chosen in batches_by_length(lengths, MAX_PADDED_TOKENS, MAX_SENTENCES):
                indices = [nonempty[number] for number in chosen]
                features, packed = self.features([window[index] for index in indices])
                for index, result in zip(indices, decode(features, packed, self.main), strict=True):
                    results[index] = result
            yield from results
