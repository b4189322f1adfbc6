"""The tagger: frozen features, shared reprojection and BiLSTM, a linear + CRF head per corpus (paper, Figure 1)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from munchray.seeds import seed_of
from munchray.tagging.crf import CRF, mirror_index


class Tagger(nn.Module):
    """A BiLSTM-CRF whose layers below the heads are shared by all corpora.

    Args:
        width: numbers a token has in the features.
        tag_sets: for each corpus its tags; a tag's id is its position.
        hidden_size: units of the LSTM each way.
        word_dropout: probability that a token's features are zeroed as a whole.
        locked_dropout: probability that a feature is zeroed for a whole sentence, before and after the LSTM.
    """

    def __init__(
        self,
        width: int,
        tag_sets: Mapping[str, Sequence[str]],
        *,
        hidden_size: int,
        word_dropout: float,
        locked_dropout: float,
    ) -> None:
        super().__init__()
        self.tag_sets = {corpus: tuple(tags) for corpus, tags in tag_sets.items()}
        self.word_dropout = word_dropout
        self.locked_dropout = locked_dropout
        self.reproject = nn.Linear(width, width)
        self.forward_lstm = nn.LSTM(width, hidden_size, batch_first=True)
        self.backward_lstm = nn.LSTM(width, hidden_size, batch_first=True)
        self.heads = nn.ModuleDict({c: Head(2 * hidden_size, len(tags)) for c, tags in self.tag_sets.items()})

    def initialise(self, seed: int) -> None:
        """Fresh weights; each layer's depend on the seed and its name only, not on which other heads there are."""
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear | nn.LSTM | CRF):
                torch.manual_seed(seed_of(seed, "weights", name))
                module.reset_parameters()

    def losses(self, features: Tensor, lengths: Tensor, tags: Tensor, corpora: Sequence[str]) -> Tensor:
        """Negative log-likelihood of each sentence under its own corpus's head (Eq. 8, one term).

        Args:
            features: shape: (batch, time, width)
            lengths: tokens of each sentence. shape: (batch,)
            tags: gold tag ids in the tag set of the sentence's corpus. shape: (batch, time)
            corpora: the corpus of each sentence.

        Returns:
            shape: (batch,)
        """
        hidden = self.encode(features, lengths)
        rows = defaultdict(list)
        for row, corpus in enumerate(corpora):
            rows[corpus].append(row)
        losses = hidden.new_zeros(len(corpora))
        for corpus, chosen in rows.items():
            index = torch.tensor(chosen, device=hidden.device)
            nll = self._head(corpus).losses(hidden[index], tags[index], lengths[index])
            losses = losses.index_copy(0, index, nll)
        return losses

    @torch.inference_mode()
    def decode(self, features: Tensor, lengths: Tensor, corpus: str) -> list[list[str]]:
        """The best tags of each sentence by the head of ``corpus``. shapes as in `losses`."""
        head, names = self._head(corpus), self.tag_sets[corpus]
        paths = head.crf.decode(head.linear(self.encode(features, lengths)), lengths)
        return [[names[tag] for tag in path] for path in paths]

    def encode(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Shared representation of each token (Eq. 1-3). shape: (batch, time, 2 * hidden_size)"""
        hidden = self.reproject(self._drop_features(self._drop_words(features)))
        mirror = mirror_index(lengths, features.shape[1]).unsqueeze(2)
        # Each direction runs on sentences that begin at time 0, so padding only ever comes after them.
        ahead, _ = self.forward_lstm(hidden)
        back, _ = self.backward_lstm(hidden.gather(1, mirror.expand_as(hidden)))
        back = back.gather(1, mirror.expand_as(back))
        return self._drop_features(torch.cat([ahead, back], 2))

    def _head(self, corpus: str) -> Head:
        head = self.heads[corpus]
        assert isinstance(head, Head)
        return head

    def _drop_words(self, features: Tensor) -> Tensor:
        """Zero whole tokens, without rescaling, as Flair's WordDropout does."""
        if not self.training or self.word_dropout == 0:
            return features
        keep = features.new_empty(*features.shape[:2], 1).bernoulli_(1 - self.word_dropout)
        return features * keep

    def _drop_features(self, values: Tensor) -> Tensor:
        """Zero the same features at every token of a sentence (variational dropout, Gal and Ghahramani 2016)."""
        if not self.training or self.locked_dropout == 0:
            return values
        keep = 1 - self.locked_dropout
        return values * values.new_empty(len(values), 1, values.shape[2]).bernoulli_(keep).div_(keep)


class Head(nn.Module):
    """What a corpus has of its own: scores of its tags and a CRF over them (Eq. 4-8)."""

    def __init__(self, width: int, num_tags: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, num_tags)
        self.crf = CRF(num_tags)

    def losses(self, hidden: Tensor, tags: Tensor, lengths: Tensor) -> Tensor:
        """Negative log-likelihood of each sentence. shape: (batch,)"""
        return self.crf.negative_log_likelihood(self.linear(hidden), tags, lengths)
