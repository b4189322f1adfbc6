"""Searches whose storage is a bucket of a real S3 server: equal to those in a folder, on nodes that share nothing
else, killed and gone on with from nothing but the bucket.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
from clusters import Cluster
from processes import install_sigint, kill_family
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
max_epochs: 8
anneal: linear
max_sentences: {train: 300, dev: 60}
"""
STAGES = 4
"""Of all orders of two: each of the two alone, and the other after it."""


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
    """What the search comes to in a folder of one machine."""
    done = subprocess.run(command(home, home / "runs"), capture_output=True, text=True, cwd=home, timeout=400)
    assert done.returncode == 0, done.stderr
    found = outcome(home, home / "runs")
    assert any(f1 > 0 for f1, _, _ in found[0].values())
    assert found[1].stages_trained == STAGES
    return found


def command(home, storage, *more):
    return [sys.executable, "-m", "munchray", "search", str(home / "tiny.yaml"), "--set", f"storage={storage}", *more]


def outcome(home, storage):
    """F1, updates and weights of each trial by its order, and what was reused."""
    job = load_job(home / "tiny.yaml", [f"storage={storage}"])
    ranked = ranking(job)
    assert ranked.failed == ranked.running == []
    digests = {t.number: read_result(ranked.folder / f"trials/{t.number:04d}").weights_digest for t in ranked.trials}
    return {t.order: (t.dev_f1, t.updates, digests[t.number]) for t in ranked.trials}, ranked.reuse


def test_nodes_that_share_only_the_bucket_find_what_one_machine_finds(
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
    assert outcome(home, storage)[0] == expected[0]
    assert outcome(home, storage)[1].stages_trained == STAGES
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


def test_a_search_killed_with_its_machine_goes_on_from_the_bucket_through_an_outage(
    server, home, expected, tmp_path, monkeypatch
):
    storage = server.url("killed")
    monkeypatch.setenv("MUNCHRAY_CACHE", str(tmp_path / "first"))
    first = start(home, storage, tmp_path)
    wait_for(lambda: finished(server) and len(stored(server)) > 1, first)
    second = CliRunner().invoke(app, [*command(home, storage)[3:]], env={"MUNCHRAY_CACHE": str(tmp_path / "other")})
    assert second.exit_code == 2
    assert f"process {first.pid} on" in second.output
    kill_family(first)
    shutil.rmtree(tmp_path / "first")
    stages, results = stored(server), finished(server)
    assert len(results) < 4

    monkeypatch.setenv("MUNCHRAY_CACHE", str(tmp_path / "second"))
    again = start(home, storage, tmp_path, "--resume")
    wait_for(lambda: len(stored(server)) > len(stages) or len(finished(server)) > len(results), again)
    server.stop()
    back = threading.Timer(5.0, server.start)
    back.start()
    assert again.wait(400) == 0, (tmp_path / "log.txt").read_text()
    back.join()
    assert outcome(home, storage)[0] == expected[0]
    assert len(stored(server)) == STAGES
    assert stages.items() <= stored(server).items(), "what was stored was not trained again"
    assert results.items() <= finished(server).items(), "a result stays as it was"

    monkeypatch.setenv("MUNCHRAY_CACHE", str(tmp_path / "empty"))
    from_an_empty_cache(home, storage, expected[0], tmp_path)


def from_an_empty_cache(home, storage, trials, place):
    """Everything that another machine may be asked."""

    def said(*words):
        done = CliRunner().invoke(app, [words[0], str(home / "tiny.yaml"), "--set", f"storage={storage}", *words[1:]])
        assert done.exit_code == 0, done.output
        return done.stdout

    shown = json.loads(said("results", "--json"))
    assert {tuple(trial["order"]): trial["dev_f1"] for trial in shown["trials"]} == {
        order: f1 for order, (f1, _, _) in trials.items()
    }
    assert said("stages").count("sample-disease-1") == STAGES
    said("export", "--to", str(place / "model"), "--quiet")
    assert (place / "model" / "weights.safetensors").exists()
    assert "MLflow has all" in said("sync")
    finalized = [sys.executable, "-m", "munchray", "finalize", str(home / "tiny.yaml"), "--set", f"storage={storage}"]
    options = ["--top", "1", "--seeds", "1", "--baseline", "single_aux", "--set", "max_epochs=8", "--quiet"]
    done = subprocess.run([*finalized, *options], capture_output=True, text=True, cwd=home, timeout=400)
    assert done.returncode == 0, done.stderr
    shutil.rmtree(place / "empty")
    said("export", "--final", "--to", str(place / "final"), "--quiet")
    assert (place / "final" / "weights.safetensors").exists()


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


def start(home, storage, place, *more):
    """The command, running in a process group of its own as in a terminal."""
    with (place / "log.txt").open("w") as log:
        return subprocess.Popen(
            command(home, storage, *more),
            stdout=log,
            stderr=log,
            cwd=home,
            start_new_session=True,
            preexec_fn=install_sigint,
        )


def wait_for(condition, process, seconds=240):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, "the search ended too early"
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.2)


def stored(server):
    """When each stage was published."""
    return {name: when for name, when in written(server, "killed/stages").items() if name.endswith(".tar")}


def finished(server):
    """When each trial ended."""
    trials = written(server, "killed/tiny/trials")
    return {name: when for name, when in trials.items() if Path(name).name == "result.json"}


def written(server, path):
    """When each object below a path was written, by its name."""
    from pyarrow import fs

    chosen = fs.FileSelector(f"searches/{path}", recursive=True, allow_not_found=True)
    return {each.path: each.mtime_ns for each in server.files().get_file_info(chosen) if each.is_file}
