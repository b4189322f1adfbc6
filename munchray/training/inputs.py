"""Inputs of a job: read and validate corpora and embeddings, then embed all text once for all trials."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from munchray.corpora.catalogue import CorpusSource, entity_types, find_corpus, load_split, split_file
from munchray.corpora.reader import Sentence
from munchray.errors import InputError, Problem
from munchray.features import store
from munchray.features.sources import (
    Embedder,
    EmbeddingSpec,
    check_installed,
    embedding_sources,
    parse_embedding,
)
from munchray.settings import Job
from munchray.storage.path import StoragePath
from munchray.training.data import DataSpec, content_digest


@dataclass(frozen=True)
class Inputs:
    """The validated inputs of a job.

    Args:
        tests: test splits to be scored after training; empty in a search.
    """

    specs: list[EmbeddingSpec]
    sources: dict[str, CorpusSource]
    corpora: dict[str, dict[str, tuple[Sentence, ...]]]
    tests: dict[str, tuple[Sentence, ...]] = field(default_factory=dict)

    def files(self) -> list[Path]:
        """The files that were read; generated corpora have none."""
        splits = {name: [*texts, *(["test"] if name in self.tests else [])] for name, texts in self.corpora.items()}
        return [
            split_file(name, source.folder, split).resolve()
            for name, source in self.sources.items()
            if source.folder
            for split in splits[name]
        ]


Texts = dict[tuple[CorpusSource, str, int | None], tuple[Sentence, ...]]
"""Cache of splits that were read, by source, split and limit, shared by several jobs."""


def read_inputs(job: Job, *, tests: Sequence[str] = (), texts: Texts | None = None) -> Inputs:
    """Locate all embeddings, read all corpora of a job, and check that its folders are writable.

    Args:
        tests: corpora whose test split is to be scored and therefore embedded.
        texts: cache of splits read for other jobs; extended by those read now.

    Raises:
        InputError: all problems found.
    """
    problems: list[Problem] = []
    specs, sources = _specs(job, problems), _sources(job, problems)
    texts = {} if texts is None else texts
    corpora = _load_all(sources, _splits_of(job), _limits(job), texts, problems)
    scored = _load_tests({name: sources[name] for name in tests if name in sources}, texts, problems)
    problems += _unwritable(job)
    if problems:
        raise InputError(*problems)
    return Inputs(specs, sources, corpora, scored)


def prepare(job: Job, progress: Callable[[str], None], inputs: Inputs | None = None) -> DataSpec:
    """Embed all text that is not in the feature store yet.

    Args:
        inputs: the inputs of the job, if they have been read.

    Raises:
        InputError: all problems in the corpora and the ``embeddings:`` list.
    """
    inputs = inputs or read_inputs(job)
    sources, corpora = inputs.sources, inputs.corpora
    features = job.feature_storage
    embedders = embedding_sources(
        inputs.specs, functools.partial(_training_text, corpora), features / "embedders", progress
    )
    for name, texts in corpora.items():
        for split, sentences in texts.items():
            progress(f"features of {name}/{split}")
            store.build([s.tokens for s in sentences], embedders, features, progress)
    for name, sentences in inputs.tests.items():
        progress(f"features of {name}/test")
        store.build([s.tokens for s in sentences], embedders, features, progress)
    contents = {name: content_digest(texts) for name, texts in corpora.items()}
    fingerprints = tuple(embedder.fingerprint for embedder in embedders)
    tests = {name: content_digest({"test": sentences}) for name, sentences in inputs.tests.items()}
    return DataSpec(sources, _limits(job), fingerprints, features, contents, _splits_of(job), tests)


def open_embedders(job: Job, progress: Callable[[str], None] = lambda line: None) -> list[Embedder]:
    """Open the embedders of a job, to embed new text.

    Raises:
        InputError: an embedding, or a corpus to train one on, is missing or invalid.
    """
    problems: list[Problem] = []
    specs = _specs(job, problems)
    if problems:
        raise InputError(*problems)

    def training_text() -> list[Sequence[str]]:
        return _training_text(read_inputs(job).corpora)

    return [
        source.open() for source in embedding_sources(specs, training_text, job.feature_storage / "embedders", progress)
    ]


def _unwritable(job: Job) -> Iterator[Problem]:
    """Folders of a job that are not writable; creates none."""
    for key, storage in (
        ("storage", job.storage_path),
        *((("features", job.feature_storage),) if job.features else ()),
    ):
        if storage.remote:
            yield from _unreachable(storage)
            continue
        folder = storage.folder
        existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
        if not existing.is_dir():
            yield Problem(f"job {job.name}", f"{key} is {folder}, but {existing} is a file", "a folder")
        elif not os.access(existing, os.W_OK | os.X_OK):
            fix = f"Choose another {key} or grant yourself write permission"
            yield Problem(f"job {job.name}", f"{key} is {folder}, but {existing} cannot be written", fix=fix)


def _unreachable(storage: StoragePath) -> Iterator[Problem]:
    try:
        storage.check(writable=True)
    except InputError as error:
        yield from error.problems


def _specs(job: Job, problems: list[Problem]) -> list[EmbeddingSpec]:
    specs: list[EmbeddingSpec] = []
    for entry in job.embeddings:
        with _collected(problems):
            specs.append(parse_embedding(entry, f"{job.name}: embeddings"))
            check_installed(specs[-1], f"{job.name}: embeddings")
    return specs


def _sources(job: Job, problems: list[Problem]) -> dict[str, CorpusSource]:
    sources: dict[str, CorpusSource] = {}
    for name in (job.main, *job.auxiliaries):
        with _collected(problems):
            sources[name] = _source(name, job)
    return sources


def _limits(job: Job) -> dict[str, int | None]:
    return {"train": job.max_sentences.train, "dev": job.max_sentences.dev}


def _splits_of(job: Job) -> dict[str, tuple[str, ...]]:
    """The splits of each corpus: auxiliaries are trained on and, except in multi_task, never scored."""
    scored = ("train", "dev")
    other = scored if job.regime == "multi_task" else ("train",)
    return {job.main: scored, **dict.fromkeys(job.auxiliaries, other)}


def _source(name: str, job: Job) -> CorpusSource:
    if name not in job.corpora:
        return find_corpus(name, Path(job.data_dir) if job.data_dir else None)
    own = job.corpora[name]
    return CorpusSource(name, own.entity_type, Path(own.folder), own.token_column, own.tag_column, own.scheme)


def _load_all(
    sources: Mapping[str, CorpusSource],
    splits: Mapping[str, Sequence[str]],
    limits: Mapping[str, int | None],
    texts: Texts,
    problems: list[Problem],
) -> dict[str, dict[str, tuple[Sentence, ...]]]:
    corpora: dict[str, dict[str, tuple[Sentence, ...]]] = {name: {} for name in sources}
    for name, source in sources.items():
        for split in splits[name]:
            with _collected(problems):
                corpora[name][split] = _load(source, split, limits[split], texts)
        with _collected(problems):
            _check_types(name, corpora[name])
    return corpora


def _load_tests(
    sources: Mapping[str, CorpusSource], texts: Texts, problems: list[Problem]
) -> dict[str, tuple[Sentence, ...]]:
    """Load test splits untruncated: `max_sentences` applies to training and model selection only."""
    tests = {}
    for name, source in sources.items():
        with _collected(problems):
            tests[name] = _load(source, "test", None, texts)
    return tests


def _load(source: CorpusSource, split: str, limit: int | None, texts: Texts) -> tuple[Sentence, ...]:
    key = (source, split, limit)
    if key not in texts:
        texts[key] = load_split(source, split, limit)
    return texts[key]


def _check_types(name: str, splits: Mapping[str, Sequence[Sentence]]) -> None:
    if "train" not in splits:  # the split could not be read, which is reported already
        return
    known = set(entity_types(splits["train"]))
    unseen = sorted(set(entity_types(splits.get("dev", ()))) - known)
    if not known:
        raise InputError(Problem(f"{name}/train", "no entities", "at least one B- tag", "Check tag_column"))
    if unseen:
        found = f"entity types never seen in train: {', '.join(unseen)}"
        fix = "Correct the tags or move sentences with that type to train"
        raise InputError(Problem(f"{name}/dev", found, f"types that train has ({', '.join(sorted(known))})", fix))


def _training_text(corpora: Mapping[str, Mapping[str, Sequence[Sentence]]]) -> list[Sequence[str]]:
    return [sentence.tokens for splits in corpora.values() for sentence in splits["train"]]


@contextlib.contextmanager
def _collected(problems: list[Problem]) -> Iterator[None]:
    """Continue after an `InputError`, collecting its problems."""
    try:
        yield
    except InputError as error:
        problems.extend(error.problems)
