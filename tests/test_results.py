"""The ranking of a search: what is ranked, what failed, what still runs; looking changes nothing."""

import json
from dataclasses import asdict, fields

import pytest
from typer.testing import CliRunner

from munchray.cli.app import app
from munchray.errors import InputError, WorkError
from munchray.settings import load_job
from munchray.training.trial_results import EpochMetrics, StageResult
from munchray.tuning.export import trained_by
from munchray.tuning.folder import search_folder, trial_folder
from munchray.tuning.ranking import Reuse, ranking
from munchray.tuning.study import Study

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
    return Study.open(job, search_folder(job))


def finish(study, job, right, stages=()):
    """A trial that ended with ``right`` of 100 spans found, after two epochs."""
    suggestion = study.suggest()
    folder = trial_folder(search_folder(job), suggestion.number)
    folder.mkdir(parents=True)
    settings = job.trial(suggestion.values)
    numbers = dict.fromkeys((field.name for field in fields(EpochMetrics)), 1)
    (folder / "settings.json").write_text(json.dumps(settings.model_dump(mode="json")))
    (folder / "epochs.jsonl").write_text(2 * (json.dumps({**numbers, "stage_name": "s"}) + "\n"))
    result = {
        "dev": {job.main: [right, 0, 100 - right]},
        "dev_sentences": [],
        "stages": [asdict(stage) for stage in stages],
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


def test_reuse_is_counted_in_stages_and_updates(job):
    study = study_of(job)
    finish(study, job, 50, [StageResult(("a",), 40.0, 15), StageResult(("a", "b"), 50.0, 40)])
    finish(study, job, 60, [StageResult(("a",), 40.0, 15, reused=True), StageResult(("a", "c"), 60.0, 40)])
    ranked = ranking(job)
    assert ranked.reuse == Reuse(stages_trained=3, stages_reused=1, updates_trained=65, updates_saved=15)
    assert ranked.as_json()["reuse"] == asdict(ranked.reuse)


def results_of(*words):
    done = CliRunner().invoke(app, ["results", *map(str, words)])
    assert done.exit_code == 0, done.output
    return done


def test_the_command_shows_the_ranking_reuse_and_what_the_trials_say_about_orders(job, tmp_path):
    study = study_of(job)
    storage = ("--set", f"storage={tmp_path / 'runs'}")
    finish(study, job, 50)
    assert "last: too few trials: 1 trainings" in results_of(tmp_path / "job.yaml", *storage).stdout
    for right in range(51, 62):
        finish(study, job, right, [StageResult(("sample-gene-1",), right, 40, reused=right % 2 == 0)])
    plain = results_of(tmp_path / "job.yaml", *storage).stdout
    assert plain.splitlines()[1].startswith("sample-")
    assert "stages: 6 of 11 trained, 5 reused; 200 of 480 updates saved (42%)" in plain
    assert "effect\tof\tpoints\t95 % interval" in plain
    done = results_of(tmp_path / "job.yaml", *storage, "--json", "--plots", tmp_path / "plots")
    said = json.loads(done.stdout)
    assert [each["kind"] for each in said["order_effects"]["kinds"]][:4] == [
        "presence",
        "position",
        "first",
        "last",
    ]
    assert said["reuse"]["stages_reused"] == 5
    drawn = {f"{name}.{kind}" for name in ("positions", "paths", "progress") for kind in ("png", "svg")}
    assert {path.name for path in (tmp_path / "plots").iterdir()} == drawn
    assert "positions.svg" in done.stderr
