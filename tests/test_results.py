"""The ranking of a search: what is ranked, what failed, what still runs; looking changes nothing."""

import json
from dataclasses import asdict, fields

import pytest

from munchray.errors import InputError, WorkError
from munchray.search.export import trained_by
from munchray.search.results import ranking
from munchray.search.search import search_folder, trial_folder
from munchray.search.study import Study
from munchray.settings import load_job
from munchray.training.record import EpochReport

JOB = """
main: sample-disease-1
auxiliaries: [sample-gene-1, sample-species-1]
regime: stack
search_space: {learning_rate: [0.1, 0.05, 0.02], order: {of: auxiliaries, length: {min: 1}}}
embeddings: [{train: {subwords: 8}}]
"""


@pytest.fixture
def job(tmp_path):
    (tmp_path / "job.yaml").write_text(JOB)
    job = load_job(tmp_path / "job.yaml", [f"storage={tmp_path / 'runs'}"])
    search_folder(job).mkdir(parents=True)
    (search_folder(job) / "job.json").write_text(json.dumps({"job": {}, "data": "d"}))
    return job


def study_of(job):
    return Study.open(
        search_folder(job), job.name, job.search_space, job.order_rule(), job.auxiliaries, job.sampler, job.seed
    )


def finish(study, job, right):
    """A trial that ended with ``right`` of 100 spans found, after two epochs."""
    suggestion = study.suggest()
    folder = trial_folder(search_folder(job), suggestion.number)
    folder.mkdir(parents=True)
    settings = job.trial(suggestion.values)
    numbers = dict.fromkeys((field.name for field in fields(EpochReport)), 1)
    (folder / "settings.json").write_text(json.dumps(settings.model_dump(mode="json")))
    (folder / "epochs.jsonl").write_text(2 * (json.dumps({**numbers, "stage_name": "s"}) + "\n"))
    result = {
        "dev": {job.main: [right, 0, 100 - right]},
        "dev_sentences": [],
        "stages": [],
        "updates": 40,
        "seconds": 90.0,
        "weights_digest": "w",
    }
    (folder / "result.json").write_text(json.dumps(result))
    study.complete(suggestion.number, 200 * right / (100 + right))
    return suggestion


def test_trials_are_ranked_by_dev_f1_and_ties_by_number(job):
    study = study_of(job)
    suggestions = [finish(study, job, right) for right in (50, 70, 50, 60)]
    ranked = ranking(job)
    assert [trial.number for trial in ranked.trials] == [1, 3, 0, 2]
    best = ranked.best
    assert (best.dev_precision, best.dev_recall, best.dev_f1) == (100.0, 70.0, pytest.approx(140 / 1.7))
    assert (best.epochs, best.updates, best.seconds) == (2, 40, 90.0)
    assert best.order == tuple(suggestions[1].values["order"])
    assert best.learning_rate == suggestions[1].values["learning_rate"]


def test_failed_and_running_trials_are_listed_apart(job):
    study = study_of(job)
    finish(study, job, 50)
    study.fail(study.suggest().number, "out of memory")
    running = study.suggest().number
    ranked = ranking(job)
    assert [trial.number for trial in ranked.trials] == [0]
    assert ranked.failed == [(1, "out of memory")]
    assert ranked.running == [running]
    said = ranked.as_json()
    trial = {**asdict(ranked.best), "order": [*ranked.best.order], "stages": []}
    assert json.loads(json.dumps(said)) == {**said, "trials": [trial]}
    assert said["failed"] == [{"number": 1, "reason": "out of memory"}]


def test_looking_while_a_trial_is_being_suggested_leaves_it_alone(job):
    study = study_of(job)
    finish(study, job, 50)
    study._study.ask()  # what another process has written when it is halfway through `suggest`
    assert ranking(job).running == []
    assert study.counts() == {"finished": 1, "running": 1, "failed": 0}


def test_without_a_finished_trial_there_is_no_best_one_and_the_reasons_are_given(job):
    study = study_of(job)
    study.fail(study.suggest().number, "the loss became nan")
    with pytest.raises(WorkError, match=r"no trial of .* has finished; failed: trial 0: the loss became nan"):
        ranking(job).best  # noqa: B018
    with pytest.raises(WorkError, match="has finished"):
        trained_by(job, None, lambda line: None)


def test_only_a_finished_trial_can_be_exported(job):
    study = study_of(job)
    finish(study, job, 50)
    study.suggest()
    for number in (1, 7):
        with pytest.raises(InputError, match=rf"--trial: {number}; expected a finished trial \(0\)"):
            trained_by(job, number, lambda line: None)
