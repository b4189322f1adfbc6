"""A character language model in plain torch, and the word features that its hidden states are."""

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
from munchray.files import read_json, write_json

WINDOW_TOKENS = 16_384  # sentences are sorted by length inside a window; bounds what waits to be handed out
BATCH_CHARACTERS = 4_096  # what the LSTM reads at once; larger batches leave the cache and were slower
END = " "  # follows every sentence, so that the last token has a character after it

State = tuple[Tensor, Tensor]


class Alphabet:
    """Characters and their numbers. A character that has none is number 0, as in Flair."""

    def __init__(self, numbers: Mapping[str, int]) -> None:
        self.numbers = dict(numbers)
        self._of_code_point = np.zeros(sys.maxunicode + 1, np.int32)
        for character, number in self.numbers.items():
            if len(character) == 1:  # all but "<unk>"
                self._of_code_point[ord(character)] = number

    def encode(self, text: str) -> np.ndarray:
        """The numbers of the characters: int32 [len(text)]."""
        code_points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
        return np.asarray(self._of_code_point[code_points])


class CharacterModel(nn.Module):
    """Predicts the next character. The weights have the names and shapes of Flair's ``LanguageModel``."""

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
        """Numbers [time, batch] -> hidden states [time, batch, width], and the state to go on from."""
        output, state = self.rnn(self.encoder(characters), state)
        return (output if self.proj is None else self.proj(output)), state


class Line(NamedTuple):
    """A sentence as the model reads it."""

    characters: np.ndarray  # int32 [characters]
    positions: np.ndarray  # int64 [tokens]: where each token's features are read off


class CharacterEmbedder:
    """Contextual string embeddings (Akbik et al., 2018), as ``flair.embeddings.FlairEmbeddings`` gives them.

    The model reads ``start + tokens joined by single spaces + " "``, a backward model the tokens reversed
    character by character. A token's features are the hidden state at the character after the token (forward)
    or before it (backward), so a token without characters has its row as well.
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
        """Numbers a token."""
        return self.model.width

    @property
    def shape(self) -> dict[str, Any]:
        """What `CharacterModel` is made with, besides the number of characters."""
        return {
            "embedding_size": self.model.encoder.embedding_dim,
            "hidden_size": self.model.rnn.hidden_size,
            "layers": self.model.rnn.num_layers,
            "projection": None if self.model.proj is None else self.model.proj.out_features,
        }

    def embed(self, sentences: Sequence[Sequence[str]]) -> Iterator[np.ndarray]:
        """One float32 array [tokens, width] a sentence, in the given order; holds one window at a time."""
        for window in _windows(sentences):
            lines = [self.line(tokens) for tokens in window]
            features: dict[int, np.ndarray] = {}
            for batch in _batches_of_similar_length([len(line.characters) for line in lines]):
                features.update(zip(batch, self._read([lines[i] for i in batch]), strict=True))
            yield from (features.pop(i) for i in range(len(window)))

    def line(self, tokens: Sequence[str]) -> Line:
        """What the model reads for a sentence, and where its tokens' features lie."""
        lengths = np.fromiter(map(len, tokens), np.int64, len(tokens))
        after = np.cumsum(lengths + 1) - 1
        text = " ".join(tokens)
        positions = after if self.forward else len(text) - (after - lengths)
        if self.lower:
            text = text.lower()
        text = text if self.forward else text[::-1]
        return Line(self.alphabet.encode(self.start + text + END), positions + len(self.start))

    @torch.inference_mode()
    def _read(self, lines: Sequence[Line]) -> list[np.ndarray]:
        """The features of each line: float32 [tokens, width]."""
        longest = max(len(line.characters) for line in lines)
        padded = np.zeros((longest, len(lines)), np.int64)  # the padding comes last: no state before it sees it
        for column, line in enumerate(lines):
            padded[: len(line.characters), column] = line.characters
        times = np.concatenate([line.positions for line in lines])
        columns = np.repeat(np.arange(len(lines)), [len(line.positions) for line in lines])
        features = self._states_at(torch.from_numpy(padded), times, columns)
        return np.split(features, np.cumsum([len(line.positions) for line in lines])[:-1])

    def _states_at(self, padded: Tensor, times: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Hidden states at (time, column) pairs: float32 [pairs, width]; long lines are read in parts."""
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
        """Write the model without its decoder, its alphabet and how it is read."""
        folder.mkdir(parents=True, exist_ok=True)
        weights = {n: w.contiguous() for n, w in self.model.state_dict().items() if not n.startswith("decoder.")}
        try:
            save_file(weights, folder / "weights.safetensors")
        except SafetensorError as error:
            raise WorkError(f"{folder} cannot be written: {error}") from None
        reading = {"forward": self.forward, "start": self.start, "lower": self.lower}
        about = {"kind": "characters", "fingerprint": self.fingerprint, "shape": self.shape, **reading}
        write_json(folder / "embedder.json", {**about, "alphabet": self.alphabet.numbers})

    @classmethod
    def load(cls, folder: Path) -> CharacterEmbedder:
        """What `save` wrote."""
        about = read_json(folder / "embedder.json")
        weights = load_file(folder / "weights.safetensors")
        model = CharacterModel(len(weights["encoder.weight"]), **about["shape"])
        model.load_state_dict(weights)
        reading = {name: about[name] for name in ("forward", "start", "lower", "fingerprint")}
        return cls(model, Alphabet(about["alphabet"]), **reading)


def _windows(sentences: Sequence[Sequence[str]]) -> Iterator[list[Sequence[str]]]:
    """Neighbouring sentences, about `WINDOW_TOKENS` tokens at a time."""
    rest = iter(sentences)
    while window := list(islice(rest, 1)):
        tokens = len(window[0])
        while tokens < WINDOW_TOKENS and (following := list(islice(rest, 1))):
            window += following
            tokens += len(following[0])
        yield window


def _batches_of_similar_length(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Indices grouped so that a padded batch has at most `BATCH_CHARACTERS` characters (or one line)."""
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and (len(batch) + 1) * lengths[index] > BATCH_CHARACTERS:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch
