"""The BiLSTM-CRF tagger: shared reprojection and BiLSTM, a linear + CRF head per corpus (paper, Figure 1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from munchray.corpora.tags import TokenSpan, spans_of
from munchray.seeds import seed_of
from munchray.tagging.confidence import span_probabilities
from munchray.tagging.crf import CRF
from munchray.tagging.lstm import run_lstm
from munchray.tagging.matmul import linear
from munchray.tagging.packed_batch import PackedBatch


class Tagger(nn.Module):
    """A BiLSTM-CRF whose layers below the heads are shared by all corpora.

    Args:
        width: features per token.
        tag_sets: the tags of each corpus; a tag's id is its index.
        hidden_size: units of the LSTM each way.
        word_dropout: probability that a token's features are zeroed as a whole.
        locked_dropout: probability that a feature is zeroed for a whole sentence, before and after the LSTM.
        precision: of the large matrix products in training, ``float32`` or ``bfloat16``. Weights, the recursion's
            states, the heads and decoding are always float32, so an exported model scores as it did in training.
    """

    def __init__(
        self,
        width: int,
        tag_sets: Mapping[str, Sequence[str]],
        *,
        hidden_size: int,
        word_dropout: float,
        locked_dropout: float,
        precision: str = "float32",
    ) -> None:
        super().__init__()
        self.tag_sets = {corpus: tuple(tags) for corpus, tags in tag_sets.items()}
        self.word_dropout = word_dropout
        self.locked_dropout = locked_dropout
        self.precision = precision
        self.reproject = nn.Linear(width, width)
        self.lstm = nn.LSTM(width, hidden_size, bidirectional=True)
        self.heads = nn.ModuleDict({c: Head(2 * hidden_size, len(tags)) for c, tags in self.tag_sets.items()})

    def initialise(self, seed: int) -> None:
        """Initialise the weights; those of a layer depend only on the seed and its name, not on other heads."""
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear | nn.LSTM | CRF):
                torch.manual_seed(seed_of(seed, "weights", name))
                module.reset_parameters()

    def losses(self, features: Tensor, packing: PackedBatch, tags: Tensor, corpora: Sequence[str]) -> Tensor:
        """Negative log-likelihood of each sentence under its own corpus's head (Eq. 8, one term).

        Args:
            features: packed. shape: (tokens, width)
            packing: the layout of the features.
            tags: gold tag ids in the tag set of the sentence's corpus. shape: (tokens,)
            corpora: the corpus of each sentence.

        Returns:
            shape: (batch,)
        """
        hidden = self.encode(features, packing, torch.bfloat16 if self.precision == "bfloat16" else torch.float32)
        losses = hidden.new_zeros(len(corpora))
        for corpus in dict.fromkeys(corpora):
            rows = [row for row, name in enumerate(corpora) if name == corpus]
            own, tokens = packing.select(rows)
            head = self._head(corpus)
            nll = head.crf.negative_log_likelihood(head.linear(hidden[tokens]), tags[tokens], own)
            # Without synchronisation, so that the GPU is not idle while the next kernels are launched.
            losses = losses.index_copy(0, torch.tensor(rows).to(losses.device, non_blocking=True), nll)
        return losses

    @torch.inference_mode()
    def decode(self, features: Tensor, packing: PackedBatch, corpus: str) -> list[list[str]]:
        """The best tag sequence of each sentence by the head of ``corpus``. shapes as in `losses`."""
        return self._best_tags(self._emissions(features, packing, corpus), packing, corpus)

    @torch.inference_mode()
    def decode_spans(self, features: Tensor, packing: PackedBatch, corpus: str) -> list[list[tuple[TokenSpan, float]]]:
        """The spans of the best tag sequence of each sentence, with their probabilities."""
        emissions = self._emissions(features, packing, corpus)
        spans = [spans_of(tags) for tags in self._best_tags(emissions, packing, corpus)]
        crf, names = self._head(corpus).crf, self.tag_sets[corpus]
        probabilities = span_probabilities(crf, names, emissions, packing, spans)
        return [list(zip(*both, strict=True)) for both in zip(spans, probabilities, strict=True)]

    def encode(self, features: Tensor, packing: PackedBatch, precision: torch.dtype = torch.float32) -> Tensor:
        """Shared representation of each token (Eq. 1-3). shape: (tokens, 2 * hidden_size)"""
        kept = word_dropout(features, self.word_dropout, self.training)
        kept = locked_dropout(kept, packing, self.locked_dropout, self.training)
        hidden = run_lstm(self.lstm, linear(self.reproject, kept, precision), packing, precision)
        return locked_dropout(hidden, packing, self.locked_dropout, self.training)

    def _emissions(self, features: Tensor, packing: PackedBatch, corpus: str) -> Tensor:
        scores: Tensor = self._head(corpus).linear(self.encode(features, packing))
        return scores

    def _best_tags(self, emissions: Tensor, packing: PackedBatch, corpus: str) -> list[list[str]]:
        path, names = self._head(corpus).crf.decode(emissions, packing), self.tag_sets[corpus]
        return [[names[tag] for tag in tags] for tags in packing.unpack(path)]

    def _head(self, corpus: str) -> Head:
        head = self.heads[corpus]
        assert isinstance(head, Head)
        return head


class Head(nn.Module):
    """Output layer of one corpus: emission scores of its tags and a CRF over them (Eq. 4-8)."""

    def __init__(self, width: int, num_tags: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, num_tags)
        self.crf = CRF(num_tags)


def word_dropout(features: Tensor, rate: float, training: bool) -> Tensor:
    """Zero whole tokens, without rescaling, as Flair's WordDropout does. shape: (tokens, width)"""
    if not training or rate == 0:
        return features
    return features * features.new_empty(len(features), 1).bernoulli_(1 - rate)


def locked_dropout(values: Tensor, packing: PackedBatch, rate: float, training: bool) -> Tensor:
    """Zero the same features at every token of a sentence (variational dropout, Gal and Ghahramani 2016)."""
    if not training or rate == 0:
        return values
    kept = values.new_empty(len(packing), values.shape[1]).bernoulli_(1 - rate).div_(1 - rate)
    return values * kept[packing.sentence]
