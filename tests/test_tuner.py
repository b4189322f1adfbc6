"""Real searches on a real Ray of this machine: two workers, real trainings of a few seconds, real faults."""

import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
from mlflow_server import check_runs, free_port, server
from processes import install_sigint, kill_family, words_of

from munchray.settings import load_job
from munchray.tracking.run_writer import default_uri
from munchray.training.inputs import prepare
from munchray.training.machine import use_threads
from munchray.training.trial import run_trial
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


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    """One feature store for all searches of this file."""
    return tmp_path_factory.mktemp("features")


@pytest.fixture
def job_file(tmp_path, features):
    path = tmp_path / "tiny.yaml"
    path.write_text(JOB + f"storage: {tmp_path / 'runs'}\nfeatures: {features}\n")
    return path


def command(job_file, *more):
    return [sys.executable, "-m", "munchray", "search", str(job_file), *more]


def search(job_file, *more):
    """The command, to its end."""
    return subprocess.run(command(job_file, *more), capture_output=True, text=True, cwd=job_file.parent, timeout=400)


def start(job_file, *more):
    """The command, running in a process group of its own as in a terminal."""
    log = (job_file.parent / "log.txt").open("w")
    return subprocess.Popen(
        command(job_file, *more),
        stdout=log,
        stderr=log,
        cwd=job_file.parent,
        start_new_session=True,
        preexec_fn=install_sigint,
    )


def trials_folder(job_file):
    return job_file.parent / "runs" / "tiny" / "trials"


def wait_for(condition, process, seconds=240):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, "the search ended too early"
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)


def finished(job_file):
    return sorted(path.parent.name for path in trials_folder(job_file).glob("*/result.json"))


def test_a_search_ends_with_a_ranking_and_its_trials_equal_training_in_this_process(job_file, tmp_path):
    done = search(job_file)
    assert done.returncode == 0, done.stderr
    assert "Best model: trial" in done.stdout
    assert "Traceback" not in done.stderr

    job = load_job(job_file)
    ranked = ranking(job)
    assert len(ranked.trials) == 4
    settings = {(t.order, t.learning_rate) for t in ranked.trials}
    assert len(settings) == 4
    data, use = prepare(job, lambda line: None), ranked.trials[-1]
    use_threads(1)
    values = {"learning_rate": use.learning_rate, "order": use.order, "batch_size": use.batch_size}
    again = job.trial(values)
    here = run_trial(again, data.open(again), tmp_path / "here")
    assert here.weights_digest == read_result(trials_folder(job_file) / f"{use.number:04d}").weights_digest

    second = search(job_file)
    assert second.returncode == 0
    assert "All 4 trials of tiny are done" in second.stderr
    assert second.stdout.splitlines()[0].startswith("order")


def test_the_process_that_leads_a_search_does_without_torch(job_file):
    probe = (
        "import sys; from munchray.tuning import run;"
        "run.finish_logging = lambda *_: sys.exit('torch' in sys.modules and 'torch was imported');"
        "from munchray.cli.app import main; main()"
    )
    search(job_file, "--set", "trials=1", "--set", "name=before")  # makes the features
    typed = ["search", str(job_file), "--set", "trials=1"]
    done = subprocess.run([sys.executable, "-c", probe, *typed], capture_output=True, text=True, timeout=400)
    assert "dev F1" in done.stderr, done.stderr
    assert done.returncode == 0, done.stderr


IN_ORDER = "stopped: finished trials are kept; the same command resumes the rest"
AT_ONCE = "stopped at once: the same command resumes"


@pytest.mark.parametrize("again", ["never", "while trials end", "while Ray ends"])
def test_ctrl_c_stops_cleanly_and_resume_finishes_without_repeating(again, job_file):
    process = start(job_file, "--set", "max_epochs=6")
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

    done = search(job_file, "--set", "max_epochs=6", "--resume")
    assert done.returncode == 0, done.stderr
    assert finished(job_file) == ["0000", "0001", "0002", "0003"]
    after = {name: (trials_folder(job_file) / name / "result.json").stat().st_mtime_ns for name in before}
    assert after == before


def test_a_killed_driver_loses_nothing_and_the_search_goes_on(job_file):
    process = start(job_file, "--set", "max_epochs=6")
    wait_for(lambda: finished(job_file), process)
    kill_family(process)
    before = finished(job_file)
    done = search(job_file, "--set", "max_epochs=6")
    assert done.returncode == 0, done.stderr
    ranked = ranking(load_job(job_file, ["max_epochs=6"]))
    assert sorted(t.number for t in ranked.trials) == [0, 1, 2, 3]
    assert set(before) <= set(finished(job_file))
    assert not ranked.failed
    folder = trials_folder(job_file).parent
    check_runs(default_uri(folder), folder)


def test_the_server_goes_away_and_the_search_goes_on_and_all_of_it_arrives_later(job_file, tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    store, port = default_uri(tmp_path), free_port()
    with server(store, tmp_path / "files", port) as address:
        process = start(job_file, "--set", f"tracking_uri={address}")
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


def test_a_killed_trial_process_is_retried_and_ends_as_if_nothing_had_happened(job_file):
    process = start(job_file, "--set", "max_epochs=12", "--set", "trials=2")
    wait_for(lambda: list(trials_folder(job_file).glob("*/epochs.jsonl")), process)
    victim = wait_for_worker(process)
    os.kill(victim.pid, signal.SIGKILL)
    said = (job_file.parent / "log.txt").read_text
    assert process.wait(300) == 0, said()
    assert "its process died; attempt 2 of 3, from the last checkpoint" in said()
    assert "Traceback" not in said()
    ranked = ranking(load_job(job_file, ["max_epochs=12", "trials=2"]))
    assert sorted(t.number for t in ranked.trials) == [0, 1]
    for trial in ranked.trials:
        curve = read_epochs(trials_folder(job_file) / f"{trial.number:04d}")
        assert [report.epoch for report in curve] == list(range(1, 12 * len(trial.order) + 1))


def wait_for_worker(process):
    found = []

    def is_there():
        children = psutil.Process(process.pid).children(recursive=True)
        found[:] = [c for c in children if words_of(c).startswith("ray::") and "train" in words_of(c)]
        return bool(found)

    wait_for(is_there, process)
    return found[0]


def test_a_trial_that_diverges_fails_alone_with_its_reason(job_file):
    overrides = [
        "search_space={learning_rate: [0.1, 1.0e+30], order: {of: auxiliaries, length: 1}}",
        "clip_norm=1.0e+30",
    ]
    done = search(job_file, *(word for text in overrides for word in ("--set", text)))
    assert done.returncode == 0, done.stderr
    ranked = ranking(load_job(job_file, overrides))
    assert {t.learning_rate for t in ranked.trials} == {0.1}
    assert len(ranked.failed) == 2
    assert all("try a lower one" in reason for _, reason in ranked.failed)
    states = json.loads(
        subprocess.run(
            [
                sys.executable,
                "-m",
                "munchray",
                "results",
                str(job_file),
                "--json",
                *(w for t in overrides for w in ("--set", t)),
            ],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    )
    assert [failure["number"] for failure in states["failed"]] == [number for number, _ in ranked.failed]


def test_a_trial_that_runs_out_of_memory_fails_with_advice_and_the_others_finish(job_file):
    changes = ["search_space={hidden_size: [8, 4000000]}", "sampler=grid", "trials=2"]  # the second asks for terabytes
    done = search(job_file, *(word for change in changes for word in ("--set", change)))
    assert done.returncode == 0, done.stderr
    found = ranking(load_job(job_file, changes))
    assert len(found.trials) == 1
    ((_, reason),) = found.failed
    assert reason.startswith("out of memory")
    assert "Lower batch_size (8) or hidden_size" in reason
    assert "failed: out of memory" in done.stderr
