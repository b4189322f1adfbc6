"""Training data of a trial: tag ids and memory-mapped features of each corpus.

A `DataSpec` is a small picklable description that is sent to every trial; opening it loads no embedding model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from munchray.corpora.catalogue import CorpusSource, entity_types, load_split
from munchray.corpora.reader import Sentence
from munchray.corpora.tags import iob2_to_iobes, tag_set
from munchray.errors import WorkError
from munchray.features import store
from munchray.files import digest
from munchray.settings import TrialSettings
from munchray.storage.path import StoragePath


@dataclass(frozen=True)
class Split:
    """One split of a corpus, ready to train or score on.

    Args:
        features: memory-mapped embeddings of each sentence.
        tags: gold IOB2 tags of each sentence; empty for splits that are not scored.
        tag_ids: gold tags of all tokens in the tagger's scheme, as indices into the corpus's tag set. int16 [tokens]
        lengths: number of tokens of each sentence. int64 [sentences]
    """

    features: store.Features | store.ConcatenatedFeatures
    tags: Sequence[Sequence[str]]
    tag_ids: np.ndarray
    lengths: np.ndarray

    @cached_property
    def starts(self) -> np.ndarray:
        """The index of each sentence's first token. int64 [sentences]"""
        starts: np.ndarray = np.cumsum(self.lengths) - self.lengths
        return starts

    def concatenate(self, other: Split) -> Split:
        """Concatenate this split's sentences and the other's, to train on."""
        parts = [split.features for split in (self, other) if isinstance(split.features, store.Features)]
        return Split(
            store.ConcatenatedFeatures(parts, [len(self.lengths), len(other.lengths)]),
            (),
            np.concatenate([self.tag_ids, other.tag_ids]),
            np.concatenate([self.lengths, other.lengths]),
        )


@dataclass(frozen=True)
class TrialData:
    """The splits of one trial; ``dev`` has all corpora for multi_task, else the main one, and is empty where the trial
    trains on dev.

    Args:
        fingerprints: one per corpus, of its text, tags and features.
    """

    train: dict[str, Split]
    dev: dict[str, Split]
    tag_sets: dict[str, tuple[str, ...]]
    fingerprints: dict[str, str]


@dataclass(frozen=True)
class DataSpec:
    """The location and expected fingerprints of a trial's data.

    Args:
        sources: the files of each corpus.
        limits: maximal number of sentences, by split name.
        embeddings: fingerprints, in the order in which the vectors are concatenated.
        store: root of the feature store.
        contents: fingerprint of the sentences and tags of each corpus.
        splits: the splits of each corpus that are used: dev is read only where it is scored.
        tests: fingerprint of the test split of each corpus that may be scored on it; empty in a search.
    """

    sources: Mapping[str, CorpusSource]
    limits: Mapping[str, int | None]
    embeddings: tuple[str, ...]
    store: StoragePath
    contents: Mapping[str, str]
    splits: Mapping[str, tuple[str, ...]]
    tests: Mapping[str, str] = field(default_factory=dict)

    def fingerprint(self) -> str:
        """Fingerprint of all text, tags and embeddings; with the settings, it determines a trial's result."""
        return digest(*(f"{name}={value}" for name, value in sorted(self.contents.items())), *self.embeddings)

    def fingerprints(self) -> dict[str, str]:
        """Fingerprints of each corpus's text, tags and features."""
        return {name: digest(contents, *self.embeddings) for name, contents in self.contents.items()}

    def load(self, corpus: str, split: str) -> tuple[Sentence, ...]:
        """Read the sentences of one split."""
        return load_split(self.sources[corpus], split, self.limits.get(split))

    def open(self, settings: TrialSettings) -> TrialData:
        """Read the corpora of a trial and map their features.

        Raises:
            WorkError: a corpus or the feature store changed since the job was prepared.
        """
        names, fingerprints = (settings.main, *settings.auxiliaries), self.fingerprints()
        opened = {name: self._open(name, settings.tag_scheme) for name in names}
        train = {name: splits["train"] for name, (splits, _) in opened.items()}
        dev = {name: splits["dev"] for name, (splits, _) in opened.items() if "dev" in splits}
        if settings.trained_on == "train+dev":
            train, dev = {**train, **{name: train[name].concatenate(split) for name, split in dev.items()}}, {}
        return TrialData(
            train=train,
            dev=dev,
            tag_sets={name: tags for name, (_, tags) in opened.items()},
            fingerprints={name: fingerprints[name] for name in names},
        )

    def open_test(self, corpus: str) -> Split:
        """Open the test split of a corpus for scoring. Never called by training or model selection.

        Raises:
            WorkError: it changed since the job was prepared.
        """
        sentences = self.load(corpus, "test")
        if content_digest({"test": sentences}) != self.tests[corpus]:
            raise WorkError(f"the test split of {corpus} changed since this job was prepared")
        return self._scoring_split(sentences)

    def open_dev(self, corpus: str) -> Split:
        """Open the dev split of a corpus for error analysis of a finished trial.

        Raises:
            WorkError: its features are not in the feature store.
        """
        return self._scoring_split(self.load(corpus, "dev"))

    def _scoring_split(self, sentences: Sequence[Sentence]) -> Split:
        features = store.open_features([s.tokens for s in sentences], self.embeddings, self.store)
        lengths = np.array([len(s.tokens) for s in sentences], np.int64)
        return Split(features, [s.tags for s in sentences], np.zeros(0, np.int16), lengths)

    def _open(self, name: str, scheme: str) -> tuple[dict[str, Split], tuple[str, ...]]:
        """Open the splits of a corpus and its tag set. Text is released before the next corpus is read."""
        text = {split: self.load(name, split) for split in self.splits[name]}
        if content_digest(text) != self.contents[name]:
            raise WorkError(f"corpus {name} changed since this job was prepared; start a new search")
        tags = _tags_of(text["train"], scheme)
        return {split: self._split(sentences, tags, split == "dev") for split, sentences in text.items()}, tags

    def _split(self, sentences: Sequence[Sentence], tags: Sequence[str], keep_tags: bool) -> Split:
        features = store.open_features([s.tokens for s in sentences], self.embeddings, self.store)
        ids = {tag: index for index, tag in enumerate(tags)}
        convert = iob2_to_iobes if any(tag.startswith("E-") for tag in tags) else list
        return Split(
            features,
            [s.tags for s in sentences] if keep_tags else (),
            np.array([ids[tag] for s in sentences for tag in convert(s.tags)], np.int16),
            np.array([len(s.tokens) for s in sentences], np.int64),
        )


def content_digest(splits: Mapping[str, Sequence[Sentence]]) -> str:
    """Fingerprint of sentences and tags."""
    lines = (f"{' '.join(s.tokens)}\t{' '.join(s.tags)}" for split in sorted(splits) for s in (*splits[split], END))
    return digest("\n".join(lines))


END = Sentence((), ())
"""Separates splits in a fingerprint."""


def _tags_of(sentences: Sequence[Sentence], scheme: str) -> tuple[str, ...]:
    return tuple(tag_set(entity_types(sentences), scheme))
