"""Searches whose storage is a bucket of a real S3 server: on nodes that share nothing else, through outages of the
server, and resumed from nothing but the bucket.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from clusters import Cluster
from processes import install_sigint, kill_family
from real_searches import train_here, wait_for
from s3_server import KEYS, S3Server
from typer.testing import CliRunner

from munchray.cli.app import app
from munchray.settings import load_job
from munchray.training.trial_results import read_result
from munchray.tuning.ranking import ranking

pytestmark = pytest.mark.slow

JOB = """
main: sample-disease-1
auxiliaries: [sample-disease-2, sample-gene-1]
regime: stack
search_space: {order: {of: auxiliaries, length: {min: 1}}}
sampler: grid
embeddings: [{train: {characters: forward, hidden_size: 24, epochs: 2}}, {train: {subwords: 16}}]
trials: 4
hidden_size: 16
learning_rate: 0.3
locked_dropout: 0.1
batch_size: 8
max_epochs: 6
anneal: linear
max_sentences: {train: 80, dev: 40}
"""
STAGES = 4
"""Of all orders of two: each of the two alone, and the other after it."""
ORDERS = [("sample-disease-2",), ("sample-gene-1",)]
ORDERS += [first + second for first in ORDERS for second in ORDERS if first != second]


@pytest.fixture(scope="module")
def server(tmp_path_factory, network):
    made = S3Server(tmp_path_factory.mktemp("s3"), network.address if network else "127.0.0.1")
    yield made
    made.stop()


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Where commands are typed."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "tiny.yaml").write_text(JOB)
    return folder


@pytest.fixture(autouse=True)
def keys(monkeypatch):
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="module")
def expected(home):
    """F1, updates and weights of each order, trained in this process."""
    job = load_job(home / "tiny.yaml")
    found = train_here(job, [{"order": order} for order in ORDERS], home / "here")
    return {order: (each.dev_f1(job.main), each.updates, each.weights_digest) for order, each in found.items()}


def command(home, storage, *more):
    return [sys.executable, "-m", "munchray", "search", str(home / "tiny.yaml"), "--set", f"storage={storage}", *more]


def outcome(home, storage):
    """F1, updates and weights of each trial by its order, and how many stages were trained for them."""
    job = load_job(home / "tiny.yaml", [f"storage={storage}"])
    ranked = ranking(job)
    assert ranked.failed == ranked.running == []
    digests = {t.number: read_result(ranked.folder / f"trials/{t.number:04d}").weights_digest for t in ranked.trials}
    trials = {t.order: (t.dev_f1, t.updates, digests[t.number]) for t in ranked.trials}
    return trials, ranked.reuse.stages_trained


@pytest.mark.faults
def test_nodes_that_share_only_the_bucket_give_the_weights_of_one_machine(
    server, home, expected, network, tmp_path, tmp_path_factory, monkeypatch
):
    storage = server.url("cluster")
    monkeypatch.setenv("MUNCHRAY_CACHE", str(tmp_path / "leader"))
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp") as folder:
        cluster = Cluster(folder, network=network)
        try:
            for name in ("one", "two"):
                cluster.env["MUNCHRAY_CACHE"] = str(tmp_path_factory.mktemp(name))
                cluster.add(cpus=1, hide=tmp_path)
            env = {**cluster.env, "MUNCHRAY_CACHE": str(tmp_path / "leader")}
            words = [*cluster.head.enter, *command(home, storage, "--address", cluster.address)]
            done = subprocess.run(words, capture_output=True, text=True, cwd=home, timeout=500, env=env)
            assert done.returncode == 0, done.stderr
            assert done.stderr.count(" fit") == 3
            assert a_node_without_keys_is_named(cluster, words, env, home)
        finally:
            cluster.close()
    assert outcome(home, storage) == (expected, STAGES)
    for name in ("one", "two"):
        (there,) = tmp_path_factory.getbasetemp().glob(f"{name}0/*/cluster")
        assert len(list(there.glob("features/*/manifest.json"))) == 8, "four splits under two embeddings, once a node"
        assert list(there.glob("tiny/trials/*")) == [], "no trial is left there"
    assert [name for name in server.objects("cluster") if ".preflight" in name or ".probe" in name] == []


def a_node_without_keys_is_named(cluster, words, env, home):
    for name in KEYS:
        cluster.env.pop(name)
    blind = cluster.add(cpus=1)
    done = subprocess.run(
        [*words, "--set", "name=other"], capture_output=True, text=True, cwd=home, timeout=300, env=env
    )
    cluster.kill(blind)
    assert done.returncode == 2, done.stderr
    assert "is out of reach there" in done.stderr
    return "refuses access without keys" in done.stderr


def test_a_search_survives_an_outage_of_its_bucket(server, home, expected, tmp_path, monkeypatch):
    storage, trials = server.url("outage"), "outage/tiny/trials"
    monkeypatch.setenv("MUNCHRAY_CACHE", str(tmp_path / "first"))
    process = start(home, storage, tmp_path)
    wait_for(lambda: finished(server, trials), process)
    second = CliRunner().invoke(app, [*command(home, storage)[3:]], env={"MUNCHRAY_CACHE": str(tmp_path / "other")})
    assert second.exit_code == 2
    assert f"process {process.pid} on" in second.output
    assert len(finished(server, trials)) < 4
    strike(server)
    assert process.wait(400) == 0, (tmp_path / "log.txt").read_text()
    assert outcome(home, storage) == (expected, STAGES)

    monkeypatch.setenv("MUNCHRAY_CACHE", str(tmp_path / "empty"))
    shown = json.loads(said(home, storage, "results", "--json"))
    f1 = {order: f1 for order, (f1, _, _) in expected.items()}
    assert {tuple(trial["order"]): trial["dev_f1"] for trial in shown["trials"]} == f1
    assert said(home, storage, "stages").count("sample-disease-1") == STAGES
    said(home, storage, "export", "--to", str(tmp_path / "model"), "--quiet")
    assert (tmp_path / "model" / "weights.safetensors").exists()
    assert "MLflow has all" in said(home, storage, "sync")


@pytest.mark.faults
def test_a_search_killed_with_its_machine_resumes_from_the_bucket(server, home, expected, tmp_path, monkeypatch):
    storage, trials, stages = server.url("killed"), "killed/tiny/trials", "killed/stages"
    monkeypatch.setenv("MUNCHRAY_CACHE", str(tmp_path / "first"))
    first = start(home, storage, tmp_path)
    wait_for(lambda: finished(server, trials) and len(stored(server, stages)) > 1, first)
    kill_family(first)
    shutil.rmtree(tmp_path / "first")
    old_stages, results = stored(server, stages), finished(server, trials)
    assert len(results) < 4

    monkeypatch.setenv("MUNCHRAY_CACHE", str(tmp_path / "second"))
    again = start(home, storage, tmp_path, "--resume")
    wait_for(lambda: stored(server, stages) != old_stages or finished(server, trials) != results, again)
    strike(server)
    assert again.wait(400) == 0, (tmp_path / "log.txt").read_text()
    assert outcome(home, storage)[0] == expected
    assert len(stored(server, stages)) == STAGES
    assert old_stages.items() <= stored(server, stages).items(), "what was stored was not trained again"
    assert results.items() <= finished(server, trials).items(), "a result stays as it was"

    monkeypatch.setenv("MUNCHRAY_CACHE", str(tmp_path / "empty"))
    assert "MLflow has all" in said(home, storage, "sync")  # its database was in the cache that is gone
    finalized = [sys.executable, "-m", "munchray", "finalize", str(home / "tiny.yaml"), "--set", f"storage={storage}"]
    options = ["--top", "1", "--seeds", "1", "--baseline", "single_aux", "--quiet"]
    done = subprocess.run([*finalized, *options], capture_output=True, text=True, cwd=home, timeout=400)
    assert done.returncode == 0, done.stderr
    shutil.rmtree(tmp_path / "empty")
    said(home, storage, "export", "--final", "--to", str(tmp_path / "final"), "--quiet")
    assert (tmp_path / "final" / "weights.safetensors").exists()


def said(home, storage, name, *words):
    """The output of another command."""
    done = CliRunner().invoke(app, [name, str(home / "tiny.yaml"), "--set", f"storage={storage}", *words])
    assert done.exit_code == 0, done.output
    return done.stdout


def strike(server):
    """Kill the server, and start it again after five seconds."""
    server.stop()
    time.sleep(5)
    server.start()


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("s3://nobucket/runs?{query}", "has no bucket 'nobucket'"),
        ("s3://searches/runs?endpoint_override=http://127.0.0.1:1&region=us-east-1", "does not answer"),
        ("s3://tester:a-secret-of-tests@searches/runs", "has a key in it"),
    ],
)
def test_a_storage_that_cannot_be_used_is_one_error_before_anything_is_made(server, home, tmp_path, address, says):
    words = [*command(home, address.format(query=server.query))[3:], "--quiet"]
    done = CliRunner().invoke(app, words, env={"MUNCHRAY_CACHE": str(tmp_path / "cache")})
    assert done.exit_code == 2, done.output
    assert says in " ".join(done.output.split())
    assert done.output.count("s3://") <= 1 or "has a key" in says
    assert not (tmp_path / "cache").exists()


def test_keys_are_in_no_object(server):
    files = server.files()
    for name in server.objects():
        with files.open_input_stream(f"searches/{name}") as stream:
            text = stream.read()
        assert KEYS["AWS_SECRET_ACCESS_KEY"].encode() not in text, name


def start(home, storage, folder, *more):
    """The command, running in a process group of its own as in a terminal."""
    with (folder / "log.txt").open("w") as log:
        return subprocess.Popen(
            command(home, storage, *more),
            stdout=log,
            stderr=log,
            cwd=home,
            start_new_session=True,
            preexec_fn=install_sigint,
        )


def stored(server, path):
    """When each stage was published."""
    return {name: when for name, when in written(server, path).items() if name.endswith(".tar")}


def finished(server, path):
    """When each trial ended."""
    return {name: when for name, when in written(server, path).items() if Path(name).name == "result.json"}


def written(server, path):
    """When each object below a path was written, by its name."""
    from pyarrow import fs

    chosen = fs.FileSelector(f"searches/{path}", recursive=True, allow_not_found=True)
    return {each.path: each.mtime_ns for each in server.files().get_file_info(chosen) if each.is_file}
