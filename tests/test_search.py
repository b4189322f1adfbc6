"""Searches whose trials are a formula: no Ray, no training, the real study and the real tracking store."""

import dataclasses
import json
import os
import shutil
from itertools import permutations

import pytest
from mlflow.tracking import MlflowClient

from munchray.errors import InputError
from munchray.search.results import ranking
from munchray.search.search import Search
from munchray.settings import load_job
from munchray.tagging.scoring import Counts
from munchray.tracking.tracker import default_uri
from munchray.training.record import EpochReport, StageResult, TrialResult, write_result

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


class Silent:
    """A watcher that remembers."""

    def __init__(self):
        self.events = []

    def trial_started(self, number, settings):
        self.events.append(("started", number))

    def epoch_ended(self, number, report):
        self.events.append(("epoch", number))

    def trial_finished(self, number, dev_f1):
        self.events.append(("finished", number))

    def trial_failed(self, number, reason):
        self.events.append(("failed", number))

    def warn(self, message):
        self.events.append(("warning", message))


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
def ready_store(empty_store, tmp_path):
    folder = tmp_path / "runs" / "formula"
    folder.mkdir(parents=True)
    shutil.copy(empty_store, folder)


def load(job_file, *overrides):
    return load_job(job_file, [f"storage={job_file.parent / 'runs'}", *overrides])


def open_search(job_file, *overrides, data="data-1", **options):
    search = Search(load(job_file, *overrides), Silent(), **options)
    search.start(data)
    return search


def die(search):
    """What happens when a process is killed: its threads and its lock go with it."""
    search._tracker._ended.set()
    search._lock.release()


def score_of(settings):
    """A formula instead of training: gene late is good, so is the larger learning rate."""
    return 40 + 10 * (settings.auxiliaries[-1] == "sample-gene-1") + round(100 * settings.learning_rate)


def curve_point(epoch, f1):
    numbers = {field.name: 1.0 for field in dataclasses.fields(EpochReport)}
    whole = {"epoch": epoch, "stage": 1, "stage_epoch": epoch, "updates": 10 * epoch, "stage_name": "s"}
    return EpochReport(**{**numbers, **whole, "dev_f1": float(f1)})


def train_by_formula(search, suggestion, epochs=2):
    """What a trial leaves in its folder."""
    settings = search.job.trial(suggestion.values)
    folder = search.trial_folder(suggestion.number)
    (folder / "model").mkdir(parents=True, exist_ok=True)
    (folder / "model" / "weights").write_text("w")
    points = [curve_point(epoch, score_of(settings)) for epoch in range(1, epochs + 1)]
    (folder / "settings.json").write_text(json.dumps(settings.model_dump(mode="json")))
    (folder / "epochs.jsonl").write_text("".join(json.dumps(dataclasses.asdict(p)) + "\n" for p in points))
    right = score_of(settings)
    counts = Counts(right, 100 - right, 100 - right)
    result = TrialResult({"sample-disease-1": counts}, [counts], [StageResult(("a",), 1.0, 20)], 20, 1.5, "digest")
    write_result(folder, result)
    return points


def run_all(search, *, stop_after=10**9):
    done = []
    while len(done) < stop_after and search.trials_left > 0 and (suggestion := search.next_trial()):
        for point in train_by_formula(search, suggestion):
            search.epoch_ended(suggestion.number, point)
        search.trial_finished(suggestion.number)
        done.append(suggestion)
    return done


def runs_of(search):
    client = MlflowClient(default_uri(search.folder))
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
    assert len({tuple(sorted(s.values.items())) for s in done}) == 5
    assert search.close()
    ranked = ranking(search.job)
    expected = sorted((-score_of(search.job.trial(s.values)), s.number) for s in done)
    assert [(round(-t.dev_f1), t.number) for t in ranked.trials] == expected

    client, (parent,), children = runs_of(search)
    assert sorted(children) == [0, 1, 2, 3, 4]
    assert parent.info.status == "FINISHED"
    assert parent.data.metrics["best_dev_f1"] == pytest.approx(ranked.best.dev_f1)
    assert [f.path for f in client.list_artifacts(parent.info.run_id, "best_model")] == ["best_model/weights"]
    for suggestion in done:
        run = children[suggestion.number]
        assert run.info.status == "FINISHED"
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert run.data.params["order"] == " > ".join(suggestion.values["order"])
        assert run.data.params[f"place.{suggestion.values['order'][1]}"] == "2"
        steps = [m.step for m in client.get_metric_history(run.info.run_id, "dev_f1")]
        assert sorted(set(steps)) == [10, 20]


def test_a_search_that_died_goes_on_with_its_interrupted_trials_and_repeats_no_finished_one(job_file):
    died = open_search(job_file)
    finished = run_all(died, stop_after=2)
    interrupted = [died.next_trial(), died.next_trial()]  # handed out, never heard of again: no close()
    died.epoch_ended(interrupted[0].number, curve_point(1, 1.0))
    die(died)

    resumed = open_search(job_file, resume=True)
    assert resumed.trials_left == 3
    done = run_all(resumed)
    assert done[:2] == interrupted
    assert resumed.close()
    assert sorted(s.number for s in [*finished, *done]) == [0, 1, 2, 3, 4]
    _, parents, children = runs_of(resumed)
    assert len(parents) == 1
    assert {run.info.status for run in children.values()} == {"FINISHED"}


def test_a_trial_that_fails_has_its_reason_and_the_search_goes_on(job_file):
    search = open_search(job_file)
    first = search.next_trial()
    search.trial_failed(first.number, "the training loss became nan")
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
    open_trial = search.next_trial()
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
    assert search.next_trial() is None
    assert search.close()


def test_a_job_that_changed_is_refused_with_every_change(job_file):
    run_all(search := open_search(job_file), stop_after=1)
    die(search)
    with pytest.raises(InputError) as caught:
        open_search(job_file, "hidden_size=64", "search_space.learning_rate=[0.2, 0.05]", resume=True)
    text = str(caught.value)
    assert "hidden_size changed from 256 to 64 since the search began" in text
    assert "search_space.learning_rate changed from [0.1, 0.05] to [0.2, 0.05]" in text
    assert "--set name=formula-2" in text


def test_data_that_changed_is_refused(job_file):
    run_all(search := open_search(job_file), stop_after=1)
    die(search)
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


MARKS = dict.fromkeys(("sample-disease-1", "sample-disease-2", "sample-gene-1", "sample-species-1"), "text")


def test_first_orders_come_first_also_those_added_to_a_search_that_goes_on(job_file):
    known = ("sample-gene-1", "sample-disease-2")
    search = open_search(job_file, f"first_orders=[{list(known)}]")
    done = run_all(search, stop_after=2)
    die(search)
    tried = {suggestion.values["order"] for suggestion in done}
    added = next(order for order in permutations(search.job.auxiliaries, 2) if order not in tried)
    again = open_search(job_file, f"first_orders=[{list(known)}, {list(added)}]")
    done += run_all(again)
    assert (done[0].values["order"], done[2].values["order"]) == (known, added)
    assert len(done) == 5
    assert again.close()


def test_a_search_learns_from_another_and_ranks_only_its_own(job_file):
    first = open_search(job_file, "trials=12", "sampler=order_gp")
    first.start("data-1", MARKS)
    run_all(first)
    first.close()
    shutil.copytree(
        first.folder, first.folder.parent / "second", ignore=lambda *_: {"trials", "study.journal", "job.json"}
    )
    options = ["name=second", "warm_start=[formula]", "sampler=order_gp", "trials=3", "seed=2"]
    second = Search(load(job_file, *options), Silent())
    with pytest.raises(InputError, match="text, tags or embeddings of sample-gene-1 differ"):
        second.start("data-2", {**MARKS, "sample-gene-1": "other"})
    second.start("data-2", MARKS)
    done = run_all(second)
    assert second.close()
    assert [trial.number for trial in sorted(ranking(second.job).trials, key=lambda t: t.number)] == [0, 1, 2]
    assert done[0].values["order"][-1] == "sample-gene-1"  # known to be good before the first trial
    assert done[0].values["learning_rate"] == 0.1
