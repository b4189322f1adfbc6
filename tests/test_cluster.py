"""Searches on real Ray clusters of several nodes: preflight checks, results, access."""

import json
import subprocess
import sys
import time
from pathlib import Path

import disturbed
import pytest
from clusters import searched, tiny_job
from disturbed import DisturbedSearch
from real_searches import train_here
from typer.testing import CliRunner

import munchray as mr
from munchray.cli.app import app
from munchray.settings import load_job
from munchray.training.trial_results import read_result
from munchray.tuning.ranking import ranking

pytestmark = pytest.mark.slow


@pytest.fixture
def job_file(tmp_path):
    return tiny_job(tmp_path)


def test_a_search_on_every_node_gives_the_weights_of_one_machine(cluster, job_file, network):
    changes = ["trials=2", "max_epochs=4"]  # both start at once, so each has a node of its own
    env = {**cluster.env, "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "0"}  # for `trained_at`
    options = [word for change in changes for word in ("--set", change)]
    done = searched(job_file, env, cluster.address, *options, host=cluster.head)
    assert done.returncode == 0, done.stderr
    assert "3 nodes" in done.stderr
    assert done.stderr.count(" fit") == 3
    assert "2 at a time" in done.stderr
    assert len(trained_at(job_file)) == (2 if network else 1)
    assert cluster.head.address not in trained_at(job_file) or not network
    job = load_job(job_file, changes)
    trials = {trial.order: trial.number for trial in ranking(job).trials}
    assert len(trials) == 2
    here = train_here(job, [{"order": order} for order in trials], job_file.parent)
    for order, number in trials.items():
        there = read_result(job_file.parent / "runs" / "tiny" / "trials" / f"{number:04d}")
        assert there.weights_digest == here[order].weights_digest
    assert list((job_file.parent / "runs").glob("**/.preflight*")) == []


def trained_at(job_file):
    """The addresses of the nodes that trials ran on, as Tune has them."""
    told = (job_file.parent / "runs" / "tiny" / "tune").glob("*/*/result.json")
    return {json.loads(line)["node_ip"] for path in told for line in path.read_text().splitlines()}


@pytest.mark.faults
def test_a_plain_script_searches_on_both_nodes(cluster, job_file):
    script = Path(__file__).parents[1] / "examples" / "search_on_cluster.py"
    command = [*cluster.head.enter, sys.executable, str(script), str(job_file), cluster.address]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=job_file.parent, timeout=400, env=cluster.env, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "6 trials to run, 2 at a time" in done.stderr
    assert len(json.loads(api_ranking(job_file))["trial"]) == 6
    assert "dev_f1" in done.stdout.splitlines()[0]


def api_ranking(job_file):
    return mr.results(mr.load_job(job_file, trials=6)).ranking.to_json()


def test_a_node_without_the_storage_is_named_before_any_trial(cluster, job_file):
    runs = job_file.parent / "runs"
    runs.mkdir()
    blind = cluster.add(hide=runs)
    try:
        done = searched(job_file, cluster.env, cluster.address, host=cluster.head)
    finally:
        cluster.kill(blind)
    assert done.returncode == 2
    assert f"{runs} is another folder there" in done.stderr
    assert "all nodes mount at the same path" in done.stderr
    assert not (runs / "tiny").exists()
    time.sleep(3)  # until the cluster knows that the node is gone


@pytest.mark.parametrize(("token", "says"), [("", "token"), ("0" * 64, "token")])
def test_without_the_clusters_token_access_is_denied(cluster, job_file, token, says):
    env = {**cluster.env, "RAY_AUTH_TOKEN": token, "HOME": str(job_file.parent)}
    done = searched(job_file, env, cluster.address, host=cluster.head)
    assert done.returncode == 2, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("127.0.0.1:1", "cannot join a Ray cluster"),
        ("ray://127.0.0.1:10001", "Ray Client"),
        ("http://127.0.0.1:1", "dashboard"),
    ],
)
def test_addresses_without_a_cluster_are_refused(job_file, address, says):
    done = CliRunner().invoke(app, ["search", str(job_file), "--address", address])
    assert done.exit_code == 2, (done.output, done.exception)
    assert says in done.stderr


def test_a_search_survives_its_trial_its_node_and_its_driver(cluster, features, tmp_path):
    search = DisturbedSearch(tmp_path, cluster, features, ["max_epochs=12", "trials=2"])
    search.start()
    try:
        search.strike(0, "before the first checkpoint", disturbed.kill_trial)
        search.strike(0, "in a stage", disturbed.kill_node)
        search.strike(1, "between stages", disturbed.kill_driver)
        search.check(train_here(search.job, search.job.first_orders[:2], tmp_path))
    finally:
        search.close()
    assert "its process died; attempt 2 of 3, from the last checkpoint" in search.log
    assert "Traceback" not in search.log


@pytest.mark.faults
def test_without_an_address_a_running_ray_is_not_joined():
    from ray.cluster_utils import Cluster as RaysOwn

    code = "import ray; from munchray.cluster.nodes import connect; connect(None)"
    code += "; print(ray.get_runtime_context().gcs_address.rpartition(':')[2])"
    other = RaysOwn(initialize_head=True, head_node_args={"num_cpus": 1})
    port = other.address.rpartition(":")[2]
    try:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    finally:
        other.shutdown()
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() not in ("", port)
