"""What a trial trains on: corpora as tag ids beside memory-mapped features.

A `DataSpec` is a small recipe that travels to every trial; opening it loads no embedding.
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
        features: of each sentence.
        tags: gold IOB2 tags of each sentence; none where nothing is scored.
        tag_ids: the same of all tokens, in the tagger's scheme, as positions in the corpus's tag set. int16 [tokens]
        lengths: tokens of each sentence. int64 [sentences]
    """

    features: store.Features | store.ConcatenatedFeatures
    tags: Sequence[Sequence[str]]
    tag_ids: np.ndarray
    lengths: np.ndarray

    @cached_property
    def starts(self) -> np.ndarray:
        """The place of each sentence's first token among all. int64 [sentences]"""
        starts: np.ndarray = np.cumsum(self.lengths) - self.lengths
        return starts

    def joined(self, other: Split) -> Split:
        """This split's sentences and then the other's, to train on."""
        parts = [split.features for split in (self, other) if isinstance(split.features, store.Features)]
        return Split(
            store.ConcatenatedFeatures(parts, [len(self.lengths), len(other.lengths)]),
            (),
            np.concatenate([self.tag_ids, other.tag_ids]),
            np.concatenate([self.lengths, other.lengths]),
        )


@dataclass(frozen=True)
class TrialData:
    """The splits one trial needs; ``dev`` of all corpora for multi_task, else of the main one, or none of them where
    the trial trains on it.

    Args:
        fingerprints: of each corpus's text, tags and features.
    """

    train: dict[str, Split]
    dev: dict[str, Split]
    tag_sets: dict[str, tuple[str, ...]]
    fingerprints: dict[str, str]


@dataclass(frozen=True)
class DataSpec:
    """Where a trial finds its data, and what it must be.

    Args:
        sources: each corpus's files.
        limits: most sentences a split, by split name.
        embeddings: fingerprints, in the order in which they are joined.
        store: where the feature store lies.
        contents: fingerprint of the sentences and tags that each corpus gives.
        splits: the splits that each corpus gives: dev is read only where it is scored.
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
        """Of all text, tags and embeddings: a trial's result depends on nothing else but its settings."""
        return digest(*(f"{name}={value}" for name, value in sorted(self.contents.items())), *self.embeddings)

    def fingerprints(self) -> dict[str, str]:
        """Fingerprints of each corpus's text, tags and features."""
        return {name: digest(contents, *self.embeddings) for name, contents in self.contents.items()}

    def load(self, corpus: str, split: str) -> tuple[Sentence, ...]:
        """The sentences of one split."""
        return load_split(self.sources[corpus], split, self.limits.get(split))

    def open(self, settings: TrialSettings) -> TrialData:
        """Read the corpora of a trial and map their features.

        Raises:
            WorkError: a corpus or the feature store is not what it was when the job was prepared.
        """
        names, fingerprints = (settings.main, *settings.auxiliaries), self.fingerprints()
        opened = {name: self._open(name, settings.tag_scheme) for name in names}
        train = {name: splits["train"] for name, (splits, _) in opened.items()}
        dev = {name: splits["dev"] for name, (splits, _) in opened.items() if "dev" in splits}
        if settings.trained_on == "train+dev":
            train, dev = {**train, **{name: train[name].joined(split) for name, split in dev.items()}}, {}
        return TrialData(
            train=train,
            dev=dev,
            tag_sets={name: tags for name, (_, tags) in opened.items()},
            fingerprints={name: fingerprints[name] for name in names},
        )

    def open_test(self, corpus: str) -> Split:
        """The test split of a corpus, to be scored. Nothing that trains or chooses calls this.

        Raises:
            WorkError: it is not what it was when the job was prepared.
        """
        sentences = self.load(corpus, "test")
        if content_digest({"test": sentences}) != self.tests[corpus]:
            raise WorkError(f"the test split of {corpus} changed since this job was prepared")
        return self._to_score(sentences)

    def open_dev(self, corpus: str) -> Split:
        """The dev split of a corpus, to look at what a finished trial does there.

        Raises:
            WorkError: it is not in the feature store.
        """
        return self._to_score(self.load(corpus, "dev"))

    def _to_score(self, sentences: Sequence[Sentence]) -> Split:
        features = store.open_features([s.tokens for s in sentences], self.embeddings, self.store)
        lengths = np.array([len(s.tokens) for s in sentences], np.int64)
        return Split(features, [s.tags for s in sentences], np.zeros(0, np.int16), lengths)

    def _open(self, name: str, scheme: str) -> tuple[dict[str, Split], tuple[str, ...]]:
        """The splits of a corpus and its tag set. Text is dropped before the next corpus is read."""
        text = {split: self.load(name, split) for split in self.splits[name]}
        if content_digest(text) != self.contents[name]:
            raise WorkError(f"corpus {name} changed since this job was prepared; start a new search")
        tags = _tags_of(text["train"], scheme)
        return {split: self._split(sentences, tags, split == "dev") for split, sentences in text.items()}, tags

    def _split(self, sentences: Sequence[Sentence], tags: Sequence[str], keep_tags: bool) -> Split:
        features = store.open_features([s.tokens for s in sentences], self.embeddings, self.store)
        ids = {tag: position for position, tag in enumerate(tags)}
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
"""Stands between splits in a fingerprint."""


def _tags_of(sentences: Sequence[Sentence], scheme: str) -> tuple[str, ...]:
    return tuple(tag_set(entity_types(sentences), scheme))
