"""Searches on real Ray clusters of several nodes: preflight checks, results, access."""

import json
import subprocess
import sys
import tempfile
import time

import pytest
from clusters import Cluster, searched, tiny_job

from munchray.settings import load_job
from munchray.training.trial_results import read_result
from munchray.tuning.ranking import ranking

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster(network):
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp") as folder:
        made = Cluster(folder, network=network)
        made.add(cpus=1)
        made.add(cpus=1)
        yield made
        made.close()


@pytest.fixture
def job_file(tmp_path):
    return tiny_job(tmp_path)


def test_a_search_on_every_node_gives_the_weights_of_one_machine(cluster, job_file, network):
    long = ["--set", "max_epochs=20"]  # enough for the second node to come before the first has done all
    env = {**cluster.env, "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "0"}  # for `trained_at`
    done = searched(job_file, env, cluster.address, *long, host=cluster.head)
    assert done.returncode == 0, done.stderr
    assert "3 nodes" in done.stderr
    assert done.stderr.count(" fit") == 3
    assert "2 at a time" in done.stderr
    assert len(trained_at(job_file)) == (2 if network else 1)
    assert cluster.head.address not in trained_at(job_file) or not network
    there = {t.order: t for t in ranking(load_job(job_file, ["max_epochs=20"])).trials}
    here = subprocess.run(
        [sys.executable, "-m", "munchray", "search", str(job_file), *long, "--set", "name=alone"],
        capture_output=True,
        text=True,
        cwd=job_file.parent,
    )
    assert here.returncode == 0, here.stderr
    for trial in ranking(load_job(job_file, ["max_epochs=20", "name=alone"])).trials:
        folder = job_file.parent / "runs"
        results = [
            read_result(folder / name / "trials" / f"{number:04d}").weights_digest
            for name, number in (("tiny", there[trial.order].number), ("alone", trial.number))
        ]
        assert results[0] == results[1]
    assert list((job_file.parent / "runs").glob("**/.preflight*")) == []


def trained_at(job_file):
    """The addresses of the nodes that trials ran on, as Tune has them."""
    told = (job_file.parent / "runs" / "tiny" / "tune").glob("*/*/result.json")
    return {json.loads(line)["node_ip"] for path in told for line in path.read_text().splitlines()}


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


def test_addresses_without_a_cluster_are_refused(job_file):
    for address, says in (
        ("127.0.0.1:1", "cannot join a Ray cluster"),
        ("ray://127.0.0.1:10001", "Ray Client"),
        ("http://127.0.0.1:1", "dashboard"),
    ):
        command = [sys.executable, "-m", "munchray", "search", str(job_file), "--address", address]
        done = subprocess.run(command, capture_output=True, text=True, cwd=job_file.parent, timeout=200)
        assert done.returncode == 2, done.stderr
        assert says in done.stderr
        assert "Traceback" not in done.stderr


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
