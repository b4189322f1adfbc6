"""A character language model in plain torch, and contextual string embeddings from its hidden states."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from munchray.errors import WorkError
from munchray.features.batching import batches_by_length
from munchray.files import read_json, write_json

WINDOW_TOKENS = 16_384  # sentences are sorted by length inside a window; bounds the buffered features
BATCH_CHARACTERS = 4_096  # per LSTM call; larger batches exceed the CPU cache and were slower
END = " "  # follows every sentence, so that the last token has a character after it

State = tuple[Tensor, Tensor]


class Alphabet:
    """Character ids. A character without one has id 0, as in Flair."""

    def __init__(self, char_to_id: Mapping[str, int]) -> None:
        self.char_to_id = dict(char_to_id)
        self._id_of_code_point = np.zeros(sys.maxunicode + 1, np.int32)
        for character, index in self.char_to_id.items():
            if len(character) == 1:  # all but "<unk>"
                self._id_of_code_point[ord(character)] = index

    def encode(self, text: str) -> np.ndarray:
        """The ids of the characters: int32 [len(text)]."""
        code_points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
        return np.asarray(self._id_of_code_point[code_points])


class CharacterModel(nn.Module):
    """An LSTM language model over characters; weights have the names and shapes of Flair's ``LanguageModel``."""

    def __init__(
        self,
        characters: int,
        embedding_size: int,
        hidden_size: int,
        layers: int = 1,
        projection: int | None = None,
        decoder: bool = False,
    ) -> None:
        super().__init__()
        self.width = projection or hidden_size
        self.encoder = nn.Embedding(characters, embedding_size)
        self.rnn = nn.LSTM(embedding_size, hidden_size, layers)
        self.proj = nn.Linear(hidden_size, projection) if projection else None
        self.decoder = nn.Linear(self.width, characters) if decoder else None

    def forward(self, characters: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Ids [time, batch] -> hidden states [time, batch, width], and the last state to continue from."""
        output, state = self.rnn(self.encoder(characters), state)
        return (output if self.proj is None else self.proj(output)), state


class EncodedSentence(NamedTuple):
    """The characters of a sentence as the model reads them, and where its tokens' features are."""

    characters: np.ndarray  # int32 [characters]
    positions: np.ndarray  # int64 [tokens]: index of the character whose state is the token's features


class CharacterEmbedder:
    """Contextual string embeddings (Akbik et al., 2018), equal to ``flair.embeddings.FlairEmbeddings``.

    The model reads ``start + tokens joined by single spaces + " "``, a backward model the tokens reversed
    character by character. A token's features are the hidden state at the character after the token (forward)
    or before it (backward), so a token without characters has a row as well.
    """

    def __init__(
        self,
        model: CharacterModel,
        alphabet: Alphabet,
        *,
        forward: bool,
        fingerprint: str,
        start: str = "\n",
        lower: bool = False,
    ) -> None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self.model = model.eval().requires_grad_(False).to(device)
        self.alphabet = alphabet
        self.forward = forward
        self.fingerprint = fingerprint
        self.start = start
        self.lower = lower

    @property
    def width(self) -> int:
        """Features per token."""
        return self.model.width

    @property
    def shape(self) -> dict[str, Any]:
        """The arguments of `CharacterModel` besides the number of characters."""
        return {
            "embedding_size": self.model.encoder.embedding_dim,
            "hidden_size": self.model.rnn.hidden_size,
            "layers": self.model.rnn.num_layers,
            "projection": None if self.model.proj is None else self.model.proj.out_features,
        }

    def embed(self, sentences: Sequence[Sequence[str]]) -> Iterator[np.ndarray]:
        """One float32 array [tokens, width] per sentence, in the given order; buffers one window at a time."""
        for window in _token_windows(sentences):
            encoded = [self.encode(tokens) for tokens in window]
            features: dict[int, np.ndarray] = {}
            for batch in batches_by_length([len(line.characters) for line in encoded], BATCH_CHARACTERS):
                features.update(zip(batch, self._embed_batch([encoded[i] for i in batch]), strict=True))
            yield from (features.pop(i) for i in range(len(window)))

    def encode(self, tokens: Sequence[str]) -> EncodedSentence:
        """Encode a sentence for the model."""
        lengths = np.fromiter(map(len, tokens), np.int64, len(tokens))
        after = np.cumsum(lengths + 1) - 1
        text = " ".join(tokens)
        positions = after if self.forward else len(text) - (after - lengths)
        if self.lower:
            text = text.lower()
        text = text if self.forward else text[::-1]
        return EncodedSentence(self.alphabet.encode(self.start + text + END), positions + len(self.start))

    @torch.inference_mode()
    def _embed_batch(self, encoded: Sequence[EncodedSentence]) -> list[np.ndarray]:
        """The features of each sentence: float32 [tokens, width]."""
        longest = max(len(line.characters) for line in encoded)
        padded = np.zeros(
            (longest, len(encoded)), np.int64
        )  # padding is last, so no state of a character depends on it
        for column, line in enumerate(encoded):
            padded[: len(line.characters), column] = line.characters
        times = np.concatenate([line.positions for line in encoded])
        columns = np.repeat(np.arange(len(encoded)), [len(line.positions) for line in encoded])
        features = self._hidden_states(torch.from_numpy(padded), times, columns)
        return np.split(features, np.cumsum([len(line.positions) for line in encoded])[:-1])

    def _hidden_states(self, padded: Tensor, times: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Hidden states at (time, column) pairs: float32 [pairs, width]; long sentences are read in parts."""
        features = np.empty((len(times), self.width), np.float32)
        part = max(1, BATCH_CHARACTERS // padded.shape[1])
        state = None
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):  # the same features on every device
            for begin in range(0, len(padded), part):
                output, state = self.model(padded[begin : begin + part].to(self.model.encoder.weight.device), state)
                rows = np.flatnonzero((begin <= times) & (times < begin + part))
                features[rows] = output[times[rows] - begin, columns[rows]].cpu().numpy()
        return features

    def save(self, folder: Path) -> None:
        """Write the model without its decoder, its alphabet and its settings."""
        folder.mkdir(parents=True, exist_ok=True)
        weights = {n: w.contiguous() for n, w in self.model.state_dict().items() if not n.startswith("decoder.")}
        try:
            save_file(weights, folder / "weights.safetensors")
        except SafetensorError as error:
            raise WorkError(f"{folder} cannot be written: {error}") from None
        settings = {"forward": self.forward, "start": self.start, "lower": self.lower}
        description = {"kind": "characters", "fingerprint": self.fingerprint, "shape": self.shape, **settings}
        write_json(folder / "embedder.json", {**description, "alphabet": self.alphabet.char_to_id})

    @classmethod
    def load(cls, folder: Path) -> CharacterEmbedder:
        """Load an embedder that `save` wrote."""
        description = read_json(folder / "embedder.json")
        weights = load_file(folder / "weights.safetensors")
        model = CharacterModel(len(weights["encoder.weight"]), **description["shape"])
        model.load_state_dict(weights)
        settings = {name: description[name] for name in ("forward", "start", "lower", "fingerprint")}
        return cls(model, Alphabet(description["alphabet"]), **settings)


def _token_windows(sentences: Sequence[Sequence[str]]) -> Iterator[list[Sequence[str]]]:
    """Consecutive sentences, about `WINDOW_TOKENS` tokens at a time."""
    rest = iter(sentences)
    while window := list(islice(rest, 1)):
        tokens = len(window[0])
        while tokens < WINDOW_TOKENS and (following := list(islice(rest, 1))):
            window += following
            tokens += len(following[0])
        yield window
