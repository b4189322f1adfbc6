"""Finalize: what is chosen, what is reported; killed half-way and resumed for real; test decides nothing."""

import json
import subprocess
import sys
import time
from collections import Counter

import pytest
from fake_trainings import JOB, finish_all, searched
from processes import kill_family
from typer.testing import CliRunner

from munchray.cli.app import app
from munchray.corpora.catalogue import load_split
from munchray.errors import InputError, WorkError
from munchray.files import write_json
from munchray.finalization.finalize import final_folder, final_model, jobs_of, make_plan, write_choice
from munchray.finalization.report import make_report
from munchray.finalization.trainings import PlannedTrainings, ResultStore
from munchray.progress import Progress
from munchray.settings import load_job
from munchray.tagging.scoring import total
from munchray.tracking.run_writer import default_uri
from munchray.training.final_evaluation import read_test, score_test
from munchray.training.inputs import prepare, read_inputs
from munchray.training.machine import use_threads
from munchray.training.trial import run_trial
from munchray.training.trial_results import read_result
from munchray.tuning.folder import search_folder
from munchray.tuning.lock import FolderLock
from munchray.tuning.run import sync

ORDERLESS = "search_space={learning_rate: [0.1, 0.05]}"


@pytest.fixture
def job(tmp_path):
    (tmp_path / "j.yaml").write_text(JOB)
    return load_job(tmp_path / "j.yaml", [f"storage={tmp_path / 'runs'}"])


def shelf_of(job):
    return ResultStore(final_folder(job), dict.fromkeys((job.name, f"{job.name}.multi_task"), "data"))


def finalized(job, plan, dev, test):
    store = shelf_of(job)
    finish_all(plan, store, dev, test)
    return make_report(plan, store), store


def order_of(plan, name):
    return next(c for c in plan.contenders if c.name == name).candidates[0].auxiliaries


# What is chosen and reported


def test_the_best_settings_and_the_baselines_are_trained_with_the_same_fresh_seeds(job):
    searched(job, [50.0, 70.0, 60.0, 40.0])
    plan = make_plan(job, 2, 3, ["single_task", "single_aux", "multi_task"])
    assert [(c.name, c.searched) for c in plan.contenders] == [("trial 0001", 70.0), ("trial 0002", 60.0)]
    trainings = list(plan(shelf_of(job)))
    assert {t.settings.seed for t in trainings} == set(plan.seeds)
    assert job.seed not in plan.seeds
    on_train = [t for t in trainings if t.settings.trained_on == "train"]
    assert len(on_train) == 3 * (2 + 1 + 3 + 1)  # single_aux: each auxiliary
    assert len(trainings) - len(on_train) == 3 * (2 + 1 + 1)  # which of them dev has not decided yet
    assert set(jobs_of(job, plan)) == {job.name, f"{job.name}.multi_task"}


def test_the_winner_is_that_of_the_reruns_whatever_search_and_test_say(job):
    searched(job, [70.0, 60.0])
    plan = make_plan(job, 2, 3, ["single_task"])
    late = order_of(plan, "trial 0001")
    report, store = finalized(
        job,
        plan,
        dev=lambda s: 58.0 + (s.auxiliaries == late) + s.seed % 3 / 10,
        test=lambda s: 90.0 if s.regime == "single_task" else 50.0 - (s.auxiliaries == late),
    )
    assert report.winner == "trial 0001"
    first, second, alone = report.finalists
    assert first.gap == pytest.approx(60.0 - first.rerun.mean)
    assert second.gap == pytest.approx(70.0 - second.rerun.mean)
    assert (alone.gap, alone.searched) == (None, None)
    assert "can be told apart, single_task is better: -41.00" in report.verdicts[1]
    write_choice(job, plan, store)
    assert report.final_model == str(final_model(job) / "model")
    assert final_model(job) == store.folder_of(plan.retrained(plan.contenders[1], plan.contenders[1].candidates[0])[0])


def test_words_follow_the_spread(job):
    searched(job, [70.0, 60.0])
    plan = make_plan(job, 2, 4, ["single_task"])
    best = order_of(plan, "trial 0000")
    places = {seed: place for place, seed in enumerate(plan.seeds)}
    noise = [0.3, -0.2, 0.1, 0.0]

    def test(settings):
        if settings.regime == "single_task":
            return 40.0 + noise[places[settings.seed]]
        return 50.0 + noise[places[settings.seed] - (settings.auxiliaries == best)]

    report, _ = finalized(job, plan, lambda s: 60.0 + (s.auxiliaries == best), test)
    apart, together = report.verdicts[1], report.verdicts[0]
    assert "trial 0000 and trial 0001 cannot be told apart: +0.00 (95 % interval" in together
    assert "trial 0000 and single_task can be told apart, trial 0000 is better: +10.00 (95 % interval" in apart
    assert "P(trial 0000 > single_task) = 1.00" in apart
    (pair,) = [p for p in report.pairs if (p.a, p.b) == ("trial 0000", "single_task")]
    assert pair.is_significant
    assert pair.p_holm >= pair.across.p


@pytest.mark.parametrize(("dev_alone", "said"), [(61.0, True), (60.0, False)])
def test_a_baseline_that_does_better_on_dev_is_named_and_changes_no_choice(job, dev_alone, said):
    searched(job, [70.0])
    plan = make_plan(job, 1, 3, ["single_task", "multi_task"])
    dev = {"single_task": dev_alone, "multi_task": 50.0}
    report, _ = finalized(job, plan, lambda s: dev.get(s.regime, 60.0), lambda s: 99.0 - dev.get(s.regime, 60.0))
    assert [line.split(" ", 3)[:3] for line in report.ahead] == [["On", "dev", "single_task"]] * said
    assert all("61.00 ± 0.00 against 60.00 ± 0.00" in line for line in report.ahead)
    assert report.winner == "trial 0000"


@pytest.mark.parametrize(
    ("schedule", "stack", "single_task", "single_aux", "told"),
    [
        (["anneal=linear", "max_epochs=4"], 4, 4 * 6, 4 * 3, False),  # three stages of two updates a batch of main
        ([], 200, 200, 200, True),  # to convergence, however long that takes
    ],
)
def test_a_baseline_of_fixed_length_makes_as_many_updates(tmp_path, schedule, stack, single_task, single_aux, told):
    (tmp_path / "j.yaml").write_text(JOB)
    job = load_job(tmp_path / "j.yaml", [f"storage={tmp_path / 'runs'}", *schedule])
    searched(job, [70.0])
    plan = make_plan(job, 1, 2, ["single_task", "single_aux"])
    epochs = {each.name: {settings.max_epochs for settings in each.candidates} for each in plan.all()}
    assert epochs == {"trial 0000": {stack}, "single_task": {single_task}, "single_aux": {single_aux}}
    store = shelf_of(job)
    finish_all(plan, store, updates=lambda s: 90 if told and s.regime == "single_task" else 300)
    report = make_report(plan, store)
    assert ("Note: trial 0000 made 300 updates and single_task 90" in report.verdicts[0]) == told
    assert "Note:" not in report.verdicts[1]
    assert [finalist.updates for finalist in report.finalists] == [300, 90 if told else 300, 300]


def test_one_seed_is_said_to_show_no_spread(job):
    searched(job, [70.0, 60.0])
    report, _ = finalized(job, make_plan(job, 2, 1, []), lambda s: 60.0, lambda s: 50.0)
    assert report.finalists[0].test.sd is None
    assert all("one seed, which shows no spread" in verdict for verdict in report.verdicts)
    assert not any(pair.is_significant for pair in report.pairs)
    assert report.as_json()["pairs"][0]["p_holm"] is None


def test_single_aux_takes_the_auxiliary_that_its_reruns_prefer(job):
    searched(job, [70.0])
    plan = make_plan(job, 1, 2, ["single_aux"])
    report, _ = finalized(job, plan, lambda s: 60.0 + (s.auxiliaries == ("sample-gene-1",)), lambda s: 50.0)
    assert report.finalists[1].settings.auxiliaries == ("sample-gene-1",)


# What is wrong


def test_every_mistake_is_said_before_anything_is_trained(job, tmp_path):
    with pytest.raises(InputError, match="there is no search of this job"):
        make_plan(job, 1, 5, [])
    searched(job, [])
    with pytest.raises(InputError, match="no trial of its search has finished"):
        make_plan(job, 1, 5, [])
    searched(job, [70.0, 60.0])
    with pytest.raises(InputError) as caught:
        make_plan(job, 3, 0, ["single", "stack"])
    text = str(caught.value)
    assert "--top: 3, but 2 trials have finished; expected 1 to 2" in text
    assert "--seeds: 0" in text
    assert "'single' is no baseline" in text
    assert "'stack' is no baseline" in text
    overrides = [f"storage={tmp_path / 'runs'}", "regime=concatenation", "name=poured", ORDERLESS]
    poured = load_job(tmp_path / "j.yaml", overrides)
    searched(poured, [50.0])
    with pytest.raises(InputError, match="concatenation is the regime of the search itself"):
        make_plan(poured, 1, 1, ["concatenation"])
    with pytest.raises(InputError, match="this search has not been finalized"):
        final_model(job)


def test_a_report_of_half_the_trainings_says_what_failed(job):
    searched(job, [70.0])
    plan, store = make_plan(job, 1, 2, []), shelf_of(job)
    store.failures[next(plan(store))] = "the training loss became nan"
    with pytest.raises(WorkError, match="4 trainings have no result: the training loss became nan"):
        make_report(plan, store)


# Real trainings

REAL = """
main: mine
auxiliaries: [sample-disease-2, sample-gene-1]
regime: stack
search_space: {learning_rate: [0.5], order: {of: auxiliaries}}
embeddings: [{train: {characters: forward, hidden_size: 8, epochs: 1}}]
trials: 2
hidden_size: 8
batch_size: 4
locked_dropout: 0.1
max_epochs: 2
max_sentences: {train: 60, dev: 30}
corpora:
  mine: {folder: corpus, entity_type: disease}
"""


def write_corpus(folder, job_file):
    """A sample corpus as files of a user's own, and a job that names it."""
    job_file.write_text(REAL.replace("folder: corpus", f"folder: {folder}"))
    folder.mkdir(parents=True)
    source = read_inputs(load_job(job_file, ["main=sample-disease-1", "corpora={}"])).sources["sample-disease-1"]
    for split, count in (("train", 60), ("dev", 30), ("test", 30)):
        write_split(folder / f"{split}.tsv", load_split(source, split, count))


def write_split(path, sentences, tag=lambda tag: tag):
    path.write_text("\n".join("".join(f"{w}\t{tag(t)}\n" for w, t in zip(*s, strict=True)) for s in pairs(sentences)))


def pairs(sentences):
    return [(sentence.tokens, sentence.tags) for sentence in sentences]


def scramble(path):
    """Every tag of a test split turned around."""
    lines = path.read_text().splitlines()
    turned = {"O": "B-Disease", "": ""}
    new = ["" if not line else f"{line.split()[0]}\t{turned.get(line.split()[1], 'O')}" for line in lines]
    path.write_text("\n".join(new) + "\n")


def carry_out_here(job, plan, data):
    """As Ray does, in this process."""
    store = ResultStore(final_folder(job), {job.name: data.fingerprint()})
    storage = job.storage_path.within(store.folder)
    store.folder.mkdir(parents=True, exist_ok=True)
    work = PlannedTrainings(job, plan, store, FolderLock(storage))
    while (trial := work.next_assignment()) is not None:
        run_trial(trial.settings, data.open(trial.settings), trial.folder)
        if trial.settings.trained_on == "train+dev":
            score_test(trial.folder, trial.settings, data, "cpu")
        work.trial_finished(trial, read_result(trial.folder))
    return store


@pytest.mark.slow
def test_scrambled_test_labels_change_scores_and_no_choice(tmp_path):
    use_threads(1)
    job_file, outcomes = tmp_path / "j.yaml", []
    write_corpus(tmp_path / "corpus", job_file)
    for name in ("straight", "scrambled"):
        job = load_job(job_file, [f"storage={tmp_path / name}", f"features={tmp_path / 'features'}"])
        if name == "scrambled":
            scramble(tmp_path / "corpus" / "test.tsv")
        searched(job, [60.0, 50.0])
        plan = make_plan(job, 2, 1, ["single_aux"])
        store = carry_out_here(job, plan, prepare(job, lambda line: None, read_inputs(job, tests=["mine"])))
        write_choice(job, plan, store)
        report, trainings = make_report(plan, store), list(plan(store))
        tested = [t for t in trainings if t.settings.trained_on == "train+dev"]
        outcomes.append(
            {
                "choices": (report.winner, [f.settings for f in report.finalists], final_model(job).name),
                "weights": [read_result(store.folder_of(t)).weights_digest for t in trainings],
                "gold": {(c := total(store.test_counts(t, "mine"))).tp + c.fn for t in tested},
            }
        )
    straight, scrambled = outcomes
    assert straight["choices"] == scrambled["choices"]
    assert straight["weights"] == scrambled["weights"]
    assert straight["gold"] != scrambled["gold"]


@pytest.mark.slow
def test_a_finalize_that_was_killed_goes_on_trains_nothing_twice_and_scores_each_model_once(tmp_path):
    job_file = tmp_path / "j.yaml"
    write_corpus(tmp_path / "corpus", job_file)
    with job_file.open("a") as stream:
        stream.write(f"storage: {tmp_path / 'runs'}\n")
    job = load_job(job_file)
    searched(job, [60.0, 50.0])
    launched = {"job": job.model_dump(mode="json"), "data": prepare(job, lambda line: None).fingerprint()}
    write_json(search_folder(job) / "job.json", {**launched, "id": "mine 1", "corpora": {}})
    call = [sys.executable, "-m", "munchray", "finalize", str(job_file), "--top", "1", "--seeds", "2"]
    assert "has no run of this search. Tell it of the search first" in here(*call[3:], code=2).stderr
    sync(job, Progress(), dict)
    trainings = final_folder(job) / "trainings"

    with (tmp_path / "log.txt").open("w") as log:
        process = subprocess.Popen(call, stdout=log, stderr=log, cwd=tmp_path, start_new_session=True)
        end = time.monotonic() + 300
        while not list(trainings.glob("*/test.json")):
            assert process.poll() is None, (tmp_path / "log.txt").read_text()
            assert time.monotonic() < end
            time.sleep(0.05)
        kill_family(process)
    before = {p: p.stat().st_mtime_ns for name in ("result", "test") for p in trainings.glob(f"*/{name}.json")}
    assert before

    done = subprocess.run(call, capture_output=True, text=True, cwd=tmp_path, timeout=400)
    assert done.returncode == 0, done.stderr
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert len(list(trainings.glob("*/result.json"))) == 8  # two settings, two seeds, on train and on both
    assert len(list(trainings.glob("*/test.json"))) == 4
    assert "Final model: trial 0000" in done.stdout
    score = read_test(final_model(job))
    assert len(score.sentences["mine"]) == 30

    # MLflow has a run of each beside the search's trials, and what they came to
    runs = runs_of(job)
    parent = runs.pop(None)
    assert Counter(run.info.status for run in runs.values()) == {"FINISHED": 2 + 8}
    assert {run.data.tags["mlflow.parentRunId"] for run in runs.values()} == {parent.info.run_id}
    told = {name: run.data.metrics for name, run in runs.items() if "munchray.trial" not in run.data.tags}
    assert set(told) == {path.name for path in trainings.iterdir()}
    assert sum("rerun_dev_f1" in metrics for metrics in told.values()) == 4
    assert all("final_dev_f1" not in metrics for metrics in told.values())
    counts = {
        path.parent.name: total(read_test(path.parent).sentences["mine"]) for path in trainings.glob("*/test.json")
    }
    assert {name: metrics["test_f1"] for name, metrics in told.items() if "test_f1" in metrics} == {
        name: pytest.approx(each.f1) for name, each in counts.items()
    }
    assert parent.data.tags["munchray.final"].startswith("trial 0000: test F1 ")

    # a lost account is told again, nothing twice
    before = {name: run.info.run_id for name, run in runs_of(job).items()}
    lost = final_model(job).name
    client_of(job).delete_run(before[lost])
    here("sync", job_file)
    after = {name: run.info.run_id for name, run in runs_of(job).items()}
    assert after.pop(lost) != before.pop(lost)
    assert after == before

    # each of its models can be taken away by its run
    uri = default_uri(search_folder(job))
    for name in (lost, next(name for name in told if name not in counts)):
        run_id = runs_of(job)[name].info.run_id
        here("export", run_id, "--tracking-uri", uri, "--to", tmp_path / name)
        own = (trainings / name / "model" / "weights.safetensors").read_bytes()
        assert (tmp_path / name / "weights.safetensors").read_bytes() == own
    found = f"--final: given, but {run_id} is the run of training {name}"
    assert found in here("export", run_id, "--final", "--tracking-uri", uri, "--to", tmp_path / "no", code=2).stderr

    # the model can be taken away, and it scores what was stored
    here("export", job_file, "--final", "--to", tmp_path / "model")
    judged = json.loads(here("evaluate", tmp_path / "model", tmp_path / "corpus", "--json").stdout)
    assert judged["all"]["f1"] == pytest.approx(total(score.sentences["mine"]).f1)

    # the same call refuses other data
    for split, message in (("test", "these trainings began: test of mine"), ("dev", "since this search began")):
        path = tmp_path / "corpus" / f"{split}.tsv"
        text = path.read_text()
        path.write_text("More\tO\n\n" + text)
        assert message in here("finalize", job_file, "--top", 1, "--seeds", 2, code=2).stderr
        path.write_text(text)
    (tmp_path / "corpus" / "test.tsv").unlink()
    assert "no file for the split 'test'" in here("finalize", job_file, "--top", 1, code=2).stderr


def client_of(job):
    from mlflow import MlflowClient

    return MlflowClient(default_uri(search_folder(job)))


def runs_of(job):
    """By what they tell of: a trial's number, a training's folder, None of the search."""
    client = client_of(job)
    found = client.search_runs([client.get_experiment_by_name(job.name).experiment_id])
    tags = ("munchray.trial", "munchray.training")
    return {next((run.data.tags[tag] for tag in tags if tag in run.data.tags), None): run for run in found}


def here(*words, code=0):
    """The command in this process."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == code, (result.output, result.exception)
    return result
