"""Evaluation on the test split: once per model, after all training."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from munchray.errors import WorkError
from munchray.files import read_json, write_json
from munchray.settings import TrialSettings
from munchray.tagging.scoring import SpanCounts
from munchray.training.data import DataSpec


@dataclass(frozen=True)
class FinalScore:
    """Test counts of a model.

    Args:
        sentences: span counts of each test sentence, by corpus.
        data: fingerprint of text and tags, by corpus.
    """

    sentences: dict[str, list[SpanCounts]]
    data: dict[str, str]


def score_test(folder: Path, settings: TrialSettings, data: DataSpec, device: str) -> FinalScore:
    """Score the finished model of a trial on the test splits of ``data`` and write ``test.json``; idempotent.

    Only multi_task has heads for several scored corpora; later calls may add corpora.

    Raises:
        WorkError: a test split changed since this model was scored on it.
    """
    from munchray.tagging.weights import load_tagger  # torch, which a process that only reads scores does without
    from munchray.training import loop

    known = read_test(folder) if scored_on(folder) else FinalScore({}, {})
    changed = [corpus for corpus, before in known.data.items() if data.tests.get(corpus, before) != before]
    if changed:
        raise WorkError(f"{folder} was scored on another test split of {', '.join(changed)}; a model is scored once")
    candidates = (settings.main, *(settings.auxiliaries if settings.regime == "multi_task" else ()))
    wanted = [corpus for corpus in candidates if corpus in data.tests and corpus not in known.data]
    if not wanted:
        return known
    tagger = load_tagger(folder / "model")[0].to(device)
    sentences = {corpus: loop.score(tagger, data.open_test(corpus), corpus) for corpus in wanted}
    fingerprints = {corpus: data.tests[corpus] for corpus in wanted}
    score = FinalScore({**known.sentences, **sentences}, {**known.data, **fingerprints})
    counts = {corpus: [dataclasses.astuple(each) for each in found] for corpus, found in score.sentences.items()}
    write_json(folder / "test.json", {"data": score.data, "sentences": counts})
    return score


def scored_on(folder: Path) -> set[str]:
    """The corpora that a trial's model has been scored on."""
    path = folder / "test.json"
    return set(read_json(path)["data"]) if path.exists() else set()


def read_test(folder: Path) -> FinalScore:
    """Read the test counts that `score_test` wrote.

    Raises:
        WorkError: the model has not been scored.
    """
    path = folder / "test.json"
    if not path.exists():
        raise WorkError(f"{folder} has not been scored on test")
    values = read_json(path)
    sentences = {corpus: [SpanCounts(*counts) for counts in each] for corpus, each in values["sentences"].items()}
    return FinalScore(sentences, values["data"])
