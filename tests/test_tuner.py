"""Real searches on a real Ray of this machine: real trainings of a few seconds, real faults."""

import json
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import psutil
import pytest
from mlflow_server import check_runs, free_port, server
from processes import kill_family, words_of
from real_searches import search, start, train_here, wait_for
from typer.testing import CliRunner

from munchray.cli.app import app
from munchray.settings import load_job
from munchray.tracking.run_writer import default_uri
from munchray.training.inputs import prepare
from munchray.training.trial_results import read_epochs, read_result
from munchray.tuning.ranking import ranking

pytestmark = pytest.mark.slow

JOB = """
main: sample-disease-1
auxiliaries: [sample-disease-2, sample-gene-1]
regime: stack
search_space:
  learning_rate: [0.2, 0.1]
  order: {of: auxiliaries, length: {min: 1}}
embeddings: [{train: {characters: forward, hidden_size: 16, epochs: 1}}]
trials: 4
hidden_size: 16
batch_size: 8
max_epochs: 2
max_sentences: {train: 80, dev: 40}
"""
GOOD, HUGE, DIVERGES, LAST = range(4)
FAILING = """
main: sample-disease-1
auxiliaries: [sample-disease-2, sample-gene-1]
regime: stack
search_space:
  learning_rate: [0.2, 1.0e+30]
  hidden_size: [16, 4000000]
  order: {of: auxiliaries, length: 2}
first_orders:
- {order: [sample-disease-2, sample-gene-1], learning_rate: 0.2, hidden_size: 16}
- {order: [sample-disease-2, sample-gene-1], learning_rate: 0.2, hidden_size: 4000000}  # asks for terabytes
- {order: [sample-disease-2, sample-gene-1], learning_rate: 1.0e+30, hidden_size: 16}
- {order: [sample-gene-1, sample-disease-2], learning_rate: 0.2, hidden_size: 16}
sampler: grid
trials: 4
concurrent_trials: 1
embeddings: [{train: {characters: forward, hidden_size: 16, epochs: 1}}]
batch_size: 8
clip_norm: 1.0e+30
max_epochs: 8
max_sentences: {train: 40, dev: 20}
"""
WITHOUT_TORCH = """
import sys
from munchray.tuning import run

finish_logging = run.finish_logging

def checked(*arguments):
    print("torch:", "torch" in sys.modules, file=sys.stderr)
    return finish_logging(*arguments)

run.finish_logging = checked
from munchray.cli.app import main
main()
"""


@pytest.fixture
def job_file(tmp_path, features):
    path = tmp_path / "tiny.yaml"
    path.write_text(JOB + f"storage: {tmp_path / 'runs'}\nfeatures: {features}\n")
    return path


def trials_folder(job_file):
    return job_file.parent / "runs" / "tiny" / "trials"


def finished(job_file):
    return sorted(path.parent.name for path in trials_folder(job_file).glob("*/result.json"))


# One search whose first trial's process is killed, whose second and third fail


@pytest.fixture(scope="module")
def searched(tmp_path_factory, features):
    """That search, at its end: its job, its log and its folder of trials."""
    folder = tmp_path_factory.mktemp("searched")
    job_file = folder / "tiny.yaml"
    job_file.write_text(FAILING + f"storage: {folder / 'runs'}\nfeatures: {features}\n")
    prepare(load_job(job_file), lambda line: None)  # to train a language model takes torch
    process = start(job_file, program=("-c", WITHOUT_TORCH))
    wait_for(lambda: read_epochs(trials_folder(job_file) / "0000"), process)
    children = psutil.Process(process.pid).children(recursive=True)
    (victim,) = [child for child in children if words_of(child).startswith("ray::ImplicitFunc")]
    victim.kill()
    log = folder / "log.txt"
    assert process.wait(300) == 0, log.read_text()
    return SimpleNamespace(job_file=job_file, log=log.read_text(), trials=trials_folder(job_file))


def test_a_search_ends_with_a_ranking(searched):
    assert "Best model: trial" in searched.log
    assert "Traceback" not in searched.log
    assert sorted(trial.number for trial in ranking(load_job(searched.job_file)).trials) == [GOOD, LAST]


def test_a_finished_search_only_shows_its_ranking(searched):
    again = CliRunner().invoke(app, ["search", str(searched.job_file)])
    assert again.exit_code == 0, again.output
    assert "All 4 trials of tiny are done" in again.stderr
    assert again.stdout.splitlines()[0].startswith("order")


def test_a_killed_trial_process_is_retried_from_its_checkpoint(searched):
    assert "its process died; attempt 2 of 3, from the last checkpoint" in searched.log
    curve = read_epochs(searched.trials / "0000")
    assert [report.epoch for report in curve] == list(range(1, 17))


def test_trials_equal_training_in_this_process(searched, tmp_path):
    job = load_job(searched.job_file)
    here = train_here(job, [job.first_orders[GOOD], job.first_orders[LAST]], tmp_path)
    for number in (GOOD, LAST):
        there = read_result(searched.trials / f"{number:04d}")
        assert there.weights_digest == here[job.first_orders[number]["order"]].weights_digest


def test_failed_trials_give_their_reasons(searched):
    reasons = dict(ranking(load_job(searched.job_file)).failed)
    assert set(reasons) == {HUGE, DIVERGES}
    assert "try a lower one" in reasons[DIVERGES]
    assert reasons[HUGE].startswith("out of memory")
    assert "Lower batch_size (8) or hidden_size" in reasons[HUGE]
    assert "failed: out of memory" in searched.log
    shown = CliRunner().invoke(app, ["results", str(searched.job_file), "--json"])
    assert [failure["number"] for failure in json.loads(shown.stdout)["failed"]] == [HUGE, DIVERGES]


def test_the_driver_runs_without_torch(searched):
    assert "torch: False" in searched.log


# Interrupted searches

IN_ORDER = "stopped: finished trials are kept; the same command resumes the rest"
AT_ONCE = "stopped at once: the same command resumes"


@pytest.mark.parametrize(
    "again",
    [
        "never",
        pytest.param("while trials end", marks=pytest.mark.faults),
        pytest.param("while Ray ends", marks=pytest.mark.faults),
    ],
)
def test_ctrl_c_stops_cleanly_and_resuming_repeats_nothing(again, job_file):
    changes = ["max_epochs=6", "max_sentences={train: 40, dev: 20}"]
    process = start(job_file, *changes)
    said = (job_file.parent / "log.txt").read_text
    wait_for(lambda: finished(job_file), process)
    os.killpg(process.pid, signal.SIGINT)
    if again == "while trials end":
        time.sleep(0.3)
        os.killpg(process.pid, signal.SIGINT)
    elif again == "while Ray ends":
        wait_for(lambda: IN_ORDER in said(), process)
        time.sleep(0.3)
        os.killpg(process.pid, signal.SIGINT)
    # A process that Ctrl-C ends in the very last moment, when Python has put its handlers away: a shell calls it 130.
    assert process.wait(120) in ({130} if again == "never" else {130, -signal.SIGINT})
    assert (AT_ONCE if again == "while trials end" else IN_ORDER) in said()
    assert "Traceback" not in said()
    before = {name: (trials_folder(job_file) / name / "result.json").stat().st_mtime_ns for name in finished(job_file)}
    assert 1 <= len(before) < 4

    done = search(job_file, *changes, "--resume")
    assert done.returncode == 0, done.stderr
    assert finished(job_file) == ["0000", "0001", "0002", "0003"]
    settings = {(trial.order, trial.learning_rate) for trial in ranking(load_job(job_file, changes)).trials}
    assert len(settings) == 4
    after = {name: (trials_folder(job_file) / name / "result.json").stat().st_mtime_ns for name in before}
    assert after == before


@pytest.mark.faults
def test_a_search_that_lost_all_its_processes_resumes(job_file):
    process = start(job_file, "max_epochs=6")
    wait_for(lambda: finished(job_file), process)
    kill_family(process)
    before = finished(job_file)
    done = search(job_file, "max_epochs=6")
    assert done.returncode == 0, done.stderr
    ranked = ranking(load_job(job_file, ["max_epochs=6"]))
    assert sorted(t.number for t in ranked.trials) == [0, 1, 2, 3]
    assert set(before) <= set(finished(job_file))
    assert not ranked.failed
    folder = trials_folder(job_file).parent
    check_runs(default_uri(folder), folder)


@pytest.mark.faults
def test_what_a_dead_mlflow_server_missed_is_delivered_later(job_file, tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    store, port = default_uri(tmp_path), free_port()
    with server(store, tmp_path / "files", port) as address:
        process = start(job_file, f"tracking_uri={address}")
        wait_for(lambda: finished(job_file), process)
    assert process.wait(300) == 0
    log = (job_file.parent / "log.txt").read_text()
    assert "munchray sync JOB logs it later" in log
    assert "Traceback" not in log
    assert len(finished(job_file)) == 4
    with server(store, tmp_path / "files", port):
        delivered = subprocess.run(
            [sys.executable, "-m", "munchray", "sync", str(job_file), "--set", f"tracking_uri={address}"],
            capture_output=True,
            text=True,
            cwd=job_file.parent,
            check=True,
        )
        check_runs(address, trials_folder(job_file).parent)
    assert "MLflow has all of tiny" in delivered.stdout
