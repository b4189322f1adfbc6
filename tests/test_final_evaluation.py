"""Evaluation on the test split: counts of every sentence, once per model."""

import dataclasses
import shutil

import pytest

from munchray.corpora.catalogue import load_split
from munchray.errors import WorkError
from munchray.models.model import Model
from munchray.tagging.scoring import sentence_counts
from munchray.training.final_evaluation import read_test, score_test, scored_on
from munchray.training.inputs import prepare, read_inputs


@pytest.fixture
def trial(small_model, tmp_path):
    """A trained model that has not been scored."""
    return shutil.copytree(small_model.trial, tmp_path / "trial")


@pytest.fixture(scope="module")
def data(small_model):
    job = small_model.job
    return prepare(job, lambda line: None, read_inputs(job, tests=[job.main]))


def test_the_stored_counts_are_those_of_the_exported_model_tagging_the_text(small_model, trial, data):
    settings = small_model.job.first_trial()
    score = score_test(trial, settings, data, "cpu")
    gold = load_split(data.sources[settings.main], "test")
    found = Model.load(small_model.folder).tag([s.tokens for s in gold])
    assert score.sentences[settings.main] == [
        sentence_counts(s.tags, tags) for s, tags in zip(gold, found, strict=True)
    ]
    assert sum(counts.tp for counts in score.sentences[settings.main]) > 0
    assert read_test(trial) == score


def test_a_model_is_scored_once_and_never_on_another_split(small_model, trial, data):
    settings = small_model.job.first_trial()
    first = score_test(trial, settings, data, "cpu")
    shutil.rmtree(trial / "model")  # nothing is computed again
    assert score_test(trial, settings, data, "cpu") == first
    other = dataclasses.replace(data, tests={settings.main: "another text"})
    with pytest.raises(WorkError, match=r"another test split of .*; a model is scored once"):
        score_test(trial, settings, other, "cpu")


def test_a_model_that_was_not_scored_has_no_score(trial):
    with pytest.raises(WorkError, match="has not been scored on test"):
        read_test(trial)


def test_more_corpora_may_be_scored_later_and_none_twice(small_model, trial, data):
    settings = small_model.job.first_trial()
    nothing = dataclasses.replace(data, tests={})
    assert score_test(trial, settings, nothing, "cpu").sentences == {}
    assert scored_on(trial) == set()
    first = score_test(trial, settings, data, "cpu")
    assert scored_on(trial) == {settings.main}
    other = dataclasses.replace(data, tests={"sample-gene-1": "a corpus that this model has no head for"})
    assert score_test(trial, settings, other, "cpu") == first
