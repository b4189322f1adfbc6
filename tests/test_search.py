"""Searches whose trials are a formula: no Ray, no training, the real study and the real tracking store."""

import dataclasses
import json
import os
import shutil
import subprocess
from itertools import permutations
from pathlib import Path

import optuna
import pytest
from mlflow.tracking import MlflowClient
from searching import HandRunSearch

import munchray
from munchray.errors import InputError
from munchray.progress import Progress
from munchray.settings import load_job
from munchray.tagging.scoring import SpanCounts
from munchray.tracking import run_writer
from munchray.tracking.run_writer import default_uri
from munchray.training.trial_results import EpochMetrics, StageResult, TrialResult, write_result
from munchray.tuning.ranking import ranking
from munchray.tuning.run import sync

JOB = """
main: sample-disease-1
auxiliaries: [sample-disease-2, sample-gene-1, sample-species-1]
regime: stack
search_space:
  learning_rate: [0.1, 0.05]
  order: {of: auxiliaries, length: 2}
embeddings: [{train: {characters: forward}}]
trials: 5
"""


@pytest.fixture
def job_file(tmp_path):
    path = tmp_path / "formula.yaml"
    path.write_text(JOB)
    return path


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory):
    """An MLflow database with tables and nothing in them: making one takes seconds."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture(autouse=True)
def no_background_writes(monkeypatch):
    """MLflow is given what `logger.flush` and `close` give it, and nothing in between."""
    monkeypatch.setattr(run_writer, "FLUSH_S", 1e6)


@pytest.fixture(autouse=True)
def ready_store(empty_store, tmp_path):
    folder = tmp_path / "runs" / "formula"
    folder.mkdir(parents=True)
    shutil.copy(empty_store, folder)


def load(job_file, *overrides):
    return load_job(job_file, [f"storage={job_file.parent / 'runs'}", *overrides])


def open_search(job_file, *overrides, **options):
    return HandRunSearch(load(job_file, *overrides), **options)


def score_of(settings):
    """A formula instead of training: gene late is good, so is the larger learning rate."""
    return 40 + 10 * (settings.auxiliaries[-1] == "sample-gene-1") + round(100 * settings.learning_rate)


def curve_point(epoch, f1):
    numbers = {field.name: 1.0 for field in dataclasses.fields(EpochMetrics)}
    whole = {"epoch": epoch, "stage": 1, "stage_epoch": epoch, "updates": 10 * epoch, "stage_name": "s"}
    return EpochMetrics(**{**numbers, **whole, "dev_f1": float(f1)})


def train_by_formula(trial, epochs=2):
    """What a trial leaves in its folder."""
    (trial.folder / "model").mkdir(parents=True, exist_ok=True)
    (trial.folder / "model" / "weights").write_text("w")
    right = score_of(trial.settings)
    points = [curve_point(epoch, right) for epoch in range(1, epochs + 1)]
    (trial.folder / "settings.json").write_text(json.dumps(trial.settings.model_dump(mode="json")))
    (trial.folder / "epochs.jsonl").write_text("".join(json.dumps(dataclasses.asdict(p)) + "\n" for p in points))
    counts = SpanCounts(right, 100 - right, 100 - right)
    result = TrialResult({"sample-disease-1": counts}, [counts], [StageResult(("a",), 1.0, 20)], 20, 1.5, "digest")
    write_result(trial.folder, result)
    return points


def run_all(search, *, stop_after=10**9):
    done = []
    while len(done) < stop_after and search.trials_left > 0 and (trial := search.start()):
        for point in train_by_formula(trial):
            search.tell("epoch_ended", trial, point)
        search.finish(trial)
        done.append(trial)
    return done


def runs_of(search, uri=None):
    client = MlflowClient(uri or default_uri(search.folder))
    (experiment,) = [e for e in client.search_experiments() if e.name == "formula"]
    runs = client.search_runs([experiment.experiment_id], max_results=100)
    parents = [run for run in runs if "munchray.trial" not in run.data.tags]
    children = {int(r.data.tags["munchray.trial"]): r for r in runs if "munchray.trial" in r.data.tags}
    assert len(parents) + len(children) == len(runs)  # no trial has two runs
    return client, parents, children


def test_a_search_runs_its_trials_ranks_them_and_tells_mlflow(job_file):
    search = open_search(job_file)
    done = run_all(search)
    assert len(done) == 5
    assert len({s.settings.signature() for s in done}) == 5
    assert search.close()
    ranked = ranking(search.job)
    expected = sorted((-score_of(s.settings), s.number) for s in done)
    assert [(round(-t.dev_f1), t.number) for t in ranked.trials] == expected

    client, (parent,), children = runs_of(search)
    assert sorted(children) == [0, 1, 2, 3, 4]
    assert parent.info.status == "FINISHED"
    assert parent.data.metrics["best_dev_f1"] == pytest.approx(ranked.best.dev_f1)
    assert [f.path for f in client.list_artifacts(parent.info.run_id, "best_model")] == ["best_model/weights"]
    for trial in done:
        run = children[trial.number]
        assert run.info.status == "FINISHED"
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert run.data.params["order"] == " > ".join(trial.settings.auxiliaries)
        assert run.data.params[f"position.{trial.settings.auxiliaries[1]}"] == "2"
        steps = [m.step for m in client.get_metric_history(run.info.run_id, "dev_f1")]
        assert sorted(set(steps)) == [10, 20]


def test_a_search_that_died_goes_on_with_its_interrupted_trials_and_repeats_no_finished_one(job_file):
    died = open_search(job_file)
    finished = run_all(died, stop_after=2)
    interrupted = [died.start(), died.start()]  # handed out, never heard of again: no close()
    died.tell("epoch_ended", interrupted[0], curve_point(1, 1.0))
    died.die()

    resumed = open_search(job_file, resume=True)
    assert resumed.trials_left == 3
    done = run_all(resumed)
    assert done[:2] == interrupted
    assert resumed.close()
    assert sorted(s.number for s in [*finished, *done]) == [0, 1, 2, 3, 4]
    _, parents, children = runs_of(resumed)
    assert len(parents) == 1
    assert {run.info.status for run in children.values()} == {"FINISHED"}


def curves_of(client, run):
    """Steps and values of every metric of a run, in order."""
    histories = {name: client.get_metric_history(run.info.run_id, name) for name in run.data.metrics}
    return {name: sorted((point.step, point.value) for point in history) for name, history in histories.items()}


def test_the_run_of_a_search_says_from_what_it_comes(job_file):
    search = open_search(job_file, corpora={"sample-disease-1": "a" * 32, "sample-gene-1": "b" * 32})
    search.close()
    client, (parent,), _ = runs_of(search)
    noted = {i.dataset.name: (i.dataset.digest[0], i.tags[0].value) for i in parent.inputs.dataset_inputs}
    assert noted == {"sample-disease-1": ("a", "main"), "sample-gene-1": ("b", "auxiliary")}
    assert parent.data.tags["version.munchray"] == munchray.__version__
    assert {artifact.path for artifact in client.list_artifacts(parent.info.run_id)} == {"job.json", "sessions"}
    (described,) = (search.folder / "sessions").glob("*.json")
    here = json.loads(described.read_text())
    assert here["versions"]["optuna"] == optuna.__version__
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=Path(munchray.__file__).parent, capture_output=True, text=True
    )
    if head.returncode == 0:
        assert parent.data.tags["mlflow.source.git.commit"] == head.stdout.strip() == here["git"]["munchray"]["commit"]


def test_epochs_trained_while_nobody_looked_on_leave_no_gap(job_file):
    died = open_search(job_file)
    open_trial = died.start()
    points = train_by_formula(open_trial, epochs=5)
    for point in points[:2]:
        died.tell("epoch_ended", open_trial, point)
    died.logger.flush()
    died.die()  # epoch 3 was trained, and epoch 4 after a checkpoint of it
    resumed = open_search(job_file)
    assert resumed.start() == open_trial
    resumed.tell("epoch_ended", open_trial, points[3])
    resumed.logger.flush()
    resumed.tell("epoch_ended", open_trial, points[4])
    resumed.finish(open_trial)
    resumed.close()
    client, _, children = runs_of(resumed)
    assert [step for step, _ in curves_of(client, children[0])["dev_f1"]] == [10, 20, 30, 40, 50]


def test_what_never_arrived_is_delivered_later_and_a_second_time_changes_nothing(job_file, tmp_path):
    """The judge is the store of a search that was told of everything as it happened."""
    search = open_search(job_file)
    first = search.start()
    search.tell("trial_failed", first, "ValueError: no", "Traceback\n  line\nValueError: no")
    run_all(search)
    search.close()
    elsewhere = f"sqlite:///{tmp_path}/elsewhere.db"
    for _ in range(2):
        sync(load(job_file, f"tracking_uri={elsewhere}"), Progress(), dict)
    told, heard = runs_of(search), runs_of(search, elsewhere)
    assert heard[1][0].info.status == "FINISHED"
    for ours, theirs in zip(
        [*told[1], *(run for _, run in sorted(told[2].items()))],
        [*heard[1], *(run for _, run in sorted(heard[2].items()))],
        strict=True,
    ):
        assert curves_of(told[0], ours) == curves_of(heard[0], theirs)
        assert (ours.info.status, ours.info.run_name) == (theirs.info.status, theirs.info.run_name)
        note = "mlflow.note.content"
        assert ours.data.tags.get(note) == theirs.data.tags.get(note)
        assert ours.data.params.items() - theirs.data.params.items() <= {("tracking_uri", "None")}
        assert abs(ours.info.end_time - theirs.info.end_time) < 60_000
    assert "Traceback" in heard[2][0].data.tags["mlflow.note.content"]


def test_after_a_kill_sync_leaves_nothing_running_that_nobody_runs(job_file):
    died = open_search(job_file)
    run_all(died, stop_after=1)
    died.start()
    died.logger.flush()
    died.die()
    sync(load(job_file), Progress(), dict)
    _, (parent,), children = runs_of(died)
    assert [parent.info.status, children[0].info.status, children[1].info.status] == ["KILLED", "FINISHED", "KILLED"]
    run_all(resumed := open_search(job_file))
    assert resumed.close()
    client, (parent,), children = runs_of(resumed)
    assert {parent.info.status, *(run.info.status for run in children.values())} == {"FINISHED"}
    assert [step for step, _ in curves_of(client, parent)["best_dev_f1"]] == [1, 2, 3, 4, 5]


def test_two_searches_of_the_same_name_on_one_server_keep_apart(job_file, tmp_path, monkeypatch):
    """Two people on two machines, each with `storage: runs`."""
    for person in ("ann", "ben"):
        (tmp_path / person).mkdir()
        monkeypatch.chdir(tmp_path / person)
        uri = f"sqlite:///{tmp_path}/shared.db"
        search = HandRunSearch(load_job(job_file, [f"tracking_uri={uri}"]))
        search.start()
        search.close()
    client = MlflowClient(uri)
    runs = client.search_runs([client.get_experiment_by_name("formula").experiment_id])
    assert sorted(run.data.tags.get("munchray.trial", "search") for run in runs) == ["0", "0", "search", "search"]


def test_a_trial_that_fails_has_its_reason_and_the_search_goes_on(job_file):
    search = open_search(job_file)
    first = search.start()
    search.tell("trial_failed", first, "the training loss became nan")
    run_all(search)
    search.close()
    ranked = ranking(search.job)
    assert ranked.failed == [(first.number, "the training loss became nan")]
    assert len(ranked.trials) == 4
    _, _, children = runs_of(search)
    assert children[first.number].info.status == "FAILED"
    assert "nan" in children[first.number].data.tags["mlflow.note.content"]


def test_a_stopped_search_says_so_and_its_open_trials_are_killed_then_finished(job_file):
    search = open_search(job_file)
    run_all(search, stop_after=1)
    open_trial = search.start()
    assert not search.close()
    _, (parent,), children = runs_of(search)
    assert (parent.info.status, children[open_trial.number].info.status) == ("KILLED", "KILLED")
    again = open_search(job_file)
    run_all(again)
    assert again.close()
    _, (parent,), children = runs_of(again)
    assert {parent.info.status, *(run.info.status for run in children.values())} == {"FINISHED"}


def test_more_trials_may_be_asked_for_later_and_nothing_is_lost(job_file):
    run_all(first := open_search(job_file))
    first.close()
    again = open_search(job_file, "trials=7")
    assert again.trials_left == 2
    assert [s.number for s in run_all(again)] == [5, 6]


def test_a_space_that_is_used_up_ends_the_search(job_file):
    search = open_search(job_file, "trials=100")
    assert len(run_all(search)) == 2 * 6  # two learning rates, six orders of two out of three
    assert search.start() is None
    assert search.close()


def test_a_job_that_changed_is_refused_with_every_change(job_file):
    run_all(search := open_search(job_file), stop_after=1)
    search.die()
    with pytest.raises(InputError) as caught:
        open_search(job_file, "hidden_size=64", "search_space.learning_rate=[0.2, 0.05]", resume=True)
    text = str(caught.value)
    assert "hidden_size changed from 256 to 64 since the search began" in text
    assert "search_space.learning_rate changed from [0.1, 0.05] to [0.2, 0.05]" in text
    assert "--set name=formula-2" in text


def test_data_that_changed_is_refused(job_file):
    run_all(search := open_search(job_file), stop_after=1)
    search.die()
    with pytest.raises(InputError, match="text, tags or embeddings changed since this search began"):
        open_search(job_file, data="data-2")


def test_a_second_process_is_refused_while_the_first_runs_and_learns_which_it_is(job_file):
    first = open_search(job_file)
    run_all(first, stop_after=1)
    with pytest.raises(InputError, match=rf"another process runs this search \(process {os.getpid()} on "):
        open_search(job_file)
    run_all(first)
    assert first.close()
    assert open_search(job_file).trials_left == 0


def test_nothing_to_resume_is_a_mistake(job_file):
    with pytest.raises(InputError, match="there is no search to resume"):
        open_search(job_file, resume=True)


def test_a_foreign_file_in_the_place_of_the_record_is_refused_and_kept(job_file):
    folder = job_file.parent / "runs" / "formula"
    (folder / "job.json").write_text("[1, 2")
    with pytest.raises(InputError, match="not a record of a search"):
        open_search(job_file)
    assert (folder / "job.json").read_text() == "[1, 2"


def test_results_before_any_search_say_how_to_start_one(job_file):
    with pytest.raises(InputError, match="munchray search JOB"):
        ranking(load(job_file))


CORPORA = dict.fromkeys(("sample-disease-1", "sample-disease-2", "sample-gene-1", "sample-species-1"), "text")


def test_first_orders_come_first_also_those_added_to_a_search_that_goes_on(job_file):
    known = ("sample-gene-1", "sample-disease-2")
    search = open_search(job_file, f"first_orders=[{list(known)}]")
    done = run_all(search, stop_after=2)
    search.die()
    tried = {trial.settings.auxiliaries for trial in done}
    added = next(order for order in permutations(search.job.auxiliaries, 2) if order not in tried)
    again = open_search(job_file, f"first_orders=[{list(known)}, {list(added)}]")
    done += run_all(again)
    assert (done[0].settings.auxiliaries, done[2].settings.auxiliaries) == (known, added)
    assert len(done) == 5
    assert again.close()


def test_a_search_learns_from_another_and_ranks_only_its_own(job_file):
    first = open_search(job_file, "trials=12", "sampler=order_gp", corpora=CORPORA)
    run_all(first)
    first.close()
    shutil.copytree(
        first.folder, first.folder.parent / "second", ignore=lambda *_: {"trials", "study.journal", "job.json"}
    )
    options = ["name=second", "warm_start=[formula]", "sampler=order_gp", "trials=3", "seed=2"]
    with pytest.raises(InputError, match="text, tags or embeddings of sample-gene-1 differ"):
        open_search(job_file, *options, corpora={**CORPORA, "sample-gene-1": "other"})
    second = open_search(job_file, *options, data="data-2", corpora=CORPORA)
    done = run_all(second)
    assert second.close()
    assert [trial.number for trial in sorted(ranking(second.job).trials, key=lambda t: t.number)] == [0, 1, 2]
    assert done[0].settings.auxiliaries[-1] == "sample-gene-1"  # known to be good before the first trial
    assert done[0].settings.learning_rate == 0.1
