"""Toy corpora and features for tests of training: no embedding model, seconds at most."""

from types import SimpleNamespace

import numpy as np

from munchray.corpora.tags import iob2_to_iobes, tag_set
from munchray.settings import TrialSettings
from munchray.storage.path import StoragePath
from munchray.training.data import Split, TrialData

WIDTH = 12


class ToyFeatures:
    """Random but fixed vectors of words, in memory, with the interface of the feature store's reader."""

    width = WIDTH

    def __init__(self, sentences):
        vectors = {}
        for words in sentences:
            for word in words:
                vectors.setdefault(word, np.random.default_rng(sum(map(ord, word))).normal(size=WIDTH))
        self.arrays = [np.array([vectors[w] for w in words], np.float32) for words in sentences]

    def gather(self, sentences, positions):
        rows = [self.arrays[i][t] for i, t in zip(sentences, positions, strict=True)]
        return np.array(rows, np.float16)


def toy_split(seed, sentences, scheme="iobes"):
    """Sentences in which words that begin with ``x`` are entities."""
    rng = np.random.default_rng(seed)
    words = [f"{letter}{n}" for letter in "abx" for n in range(8)]
    texts = [[words[i] for i in rng.integers(len(words), size=rng.integers(1, 9))] for _ in range(sentences)]
    tags = [["B-T" if word[0] == "x" else "O" for word in text] for text in texts]
    names = tag_set(["T"], scheme)
    convert = iob2_to_iobes if scheme == "iobes" else list
    ids = np.array([names.index(tag) for row in tags for tag in convert(row)], np.int16)
    return Split(ToyFeatures(texts), tags, ids, np.array([len(text) for text in texts]))


def toy_data(sizes, scheme="iobes"):
    """Train and dev splits of the corpora ``{name: number of training sentences}``."""
    return TrialData(
        train={name: toy_split(seed, size, scheme) for seed, (name, size) in enumerate(sizes.items())},
        dev={name: toy_split(100 + seed, 12, scheme) for seed, name in enumerate(sizes)},
        tag_sets={name: tuple(tag_set(["T"], scheme)) for name in sizes},
        fingerprints={name: f"{seed} {size} {scheme}" for seed, (name, size) in enumerate(sizes.items())},
    )


def toy_settings(regime="stack", auxiliaries=("a", "b"), **changes):
    values = {
        "main": "m",
        "regime": regime,
        "auxiliaries": auxiliaries,
        "learning_rate": 0.5,
        "batch_size": 4,
        "hidden_size": 6,
        "max_epochs": 3,
        **changes,
    }
    return TrialSettings(**values)


def study_job(folder, space, rule, auxiliaries, sampler="random", seed=1, name="job"):
    """What a study needs of a job, with corpora that are not known."""
    return SimpleNamespace(
        name=name,
        search_space=space,
        order_rule=lambda: rule,
        auxiliaries=auxiliaries,
        sampler=sampler,
        seed=seed,
        storage_path=StoragePath.at(folder),
    )
