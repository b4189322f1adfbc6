"""The test split: scored once for each model, after everything is trained, and never again."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from munchray.errors import WorkError
from munchray.files import digest, read_json, write_json
from munchray.settings import TrialSettings
from munchray.tagging.scoring import Counts
from munchray.tagging.weights import load_model
from munchray.training import loop
from munchray.training.data import DataSpec


@dataclass(frozen=True)
class FinalScore:
    """What a model came to on test.

    Args:
        sentences: counts of each test sentence, of each corpus that the regime scores.
        data: fingerprint of the test text and tags.
    """

    sentences: dict[str, list[Counts]]
    data: str


def score_test(folder: Path, settings: TrialSettings, data: DataSpec, device: str) -> FinalScore:
    """Score the finished model of a trial on test and write ``test.json``; one that has been scored is only read.

    Raises:
        WorkError: test is not what it was when this model was scored; the trial has not finished.
    """
    corpora = scored_corpora(settings)
    fingerprint = digest(*(data.tests[corpus] for corpus in corpora))
    if (folder / "test.json").exists():
        score = read_test(folder)
        if score.data != fingerprint:
            raise WorkError(f"{folder} was scored on another test split; a model is scored once")
        return score
    tagger = load_model(folder / "model")[0].to(device)
    score = FinalScore({c: loop.score(tagger, data.open_test(c), c) for c in corpora}, fingerprint)
    counts = {c: [dataclasses.astuple(each) for each in sentences] for c, sentences in score.sentences.items()}
    write_json(folder / "test.json", {"data": fingerprint, "sentences": counts})
    return score


def scored_corpora(settings: TrialSettings) -> tuple[str, ...]:
    """Main, and for multi_task all the others: the corpora whose dev chooses and whose test is scored."""
    others = settings.auxiliaries if settings.regime == "multi_task" else ()
    return (settings.main, *others)


def read_test(folder: Path) -> FinalScore:
    """The test counts that `score_test` wrote.

    Raises:
        WorkError: the model has not been scored.
    """
    path = folder / "test.json"
    if not path.exists():
        raise WorkError(f"{folder} has not been scored on test")
    values = read_json(path)
    return FinalScore(
        {c: [Counts(*counts) for counts in each] for c, each in values["sentences"].items()}, values["data"]
    )
