"""Searches as Ray Jobs of a real cluster: submit, follow, detach, stop."""

import tempfile
import time

import pytest
from clusters import Cluster, searched, tiny_job

from munchray.settings import load_job
from munchray.tuning.ranking import ranking

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster():
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp") as folder:
        made = Cluster(folder, cpus=2, dashboard=True)
        yield made
        made.close()


@pytest.fixture
def job_file(tmp_path):
    return tiny_job(tmp_path)


def test_a_submitted_search_can_be_detached_and_followed_to_its_end(cluster, job_file):
    left = searched(job_file, cluster.env, cluster.dashboard, "--detach")
    assert left.returncode == 0, left.stderr
    name = left.stderr.split("submitted as ")[1].split(";")[0]
    followed = searched(job_file, cluster.env, cluster.dashboard)
    assert followed.returncode == 0, followed.stdout
    assert f"following {name}" in followed.stderr
    assert "Best model" in followed.stdout
    found = ranking(load_job(job_file))
    assert len(found.trials) == 4
    assert f"{found.best.dev_f1:.2f}" in followed.stdout


@pytest.mark.faults
def test_a_stopped_search_resumes_from_its_finished_trials(cluster, job_file):
    trials = job_file.parent / "runs" / "tiny" / "trials"
    assert searched(job_file, cluster.env, cluster.dashboard, "--detach").returncode == 0
    end = time.monotonic() + 240
    while not list(trials.glob("*/result.json")):
        assert time.monotonic() < end
        time.sleep(0.1)
    stopped = searched(job_file, cluster.env, cluster.dashboard, "--stop")
    assert stopped.returncode == 0, stopped.stderr
    assert "is stopping" in stopped.stderr
    before = {path: path.stat().st_mtime_ns for path in trials.glob("*/result.json")}
    again = searched(job_file, cluster.env, cluster.dashboard, "--stop")
    while again.returncode == 0:  # it takes a moment to end
        again = searched(job_file, cluster.env, cluster.dashboard, "--stop")
    assert again.returncode == 2
    done = searched(job_file, cluster.env, cluster.address)
    assert done.returncode == 0, done.stderr
    assert len(ranking(load_job(job_file)).trials) == 4
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_an_error_on_the_cluster_is_shown_with_its_exit_code(cluster, job_file):
    followed = searched(job_file, cluster.env, cluster.dashboard, "--set", "resources_per_trial.cpu=64")
    assert followed.returncode == 2
    assert "resources_per_trial asks for 64 CPUs, which no node has" in followed.stdout


def test_without_the_token_no_job_is_accepted(cluster, job_file):
    env = {**cluster.env, "RAY_AUTH_TOKEN": "0" * 64, "HOME": str(job_file.parent)}
    done = searched(job_file, env, cluster.dashboard)
    assert done.returncode == 2, done.stderr
    assert "token" in done.stderr
    assert "Traceback" not in done.stderr
