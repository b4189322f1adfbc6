"""The runs of a search, read back from a real store."""

from __future__ import annotations

import contextlib
import http.server
import math
import os
import re
import shutil
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient
from mlflow_server import free_port, server

from munchray.errors import InputError
from munchray.tracking import run_writer
from munchray.tracking.mlflow_logger import run_name
from munchray.tracking.run_writer import RunWriter, default_uri
from munchray.tracking.runs import error_note

TRIAL = {"order": ("bc5cdr-disease", "linnaeus"), "learning_rate": 0.1, "batch_size": 32, "seed": 1}

# what a client hears of a server that was killed, by whether it still had a connection
GONE = r"(\[Errno 111\] Connection refused|Connection reset by peer|Remote end closed connection without response)"


class Runs(RunWriter):
    """The runs of a search whose events a test makes."""

    def start(self, params=None, tags=None, files=None):
        run = self.open(None, self._search_id, params or {})
        run.add_tags(tags or {})
        run.files += (files or {}).items()
        self.start_search(run, {})

    def start_trial(self, number, params):
        self.open(number, run_name(number, params), params)

    def log(self, number, metrics, step):
        self.runs[number].add_points(metrics, step)

    def finish_trial(self, number, status, metrics=None, error=""):
        run = self.runs[number]
        run.add_points(metrics or {})
        run.add_tags(error_note(error) if error else {})
        run.close(status)

    def finish(self, status):
        self.runs[None].close(status)
        return self.close()


@pytest.fixture(scope="module")
def sqlite(tmp_path_factory) -> str:
    """One database for all tests, each with its own experiment: to create one takes seconds."""
    return default_uri(tmp_path_factory.mktemp("store"))


@pytest.fixture
def uri(request) -> str:
    """MUNCHRAY_TEST_DATABASE names another kind, such as postgresql+psycopg2://user@host/empty-database."""
    return os.environ.get("MUNCHRAY_TEST_DATABASE") or request.getfixturevalue("sqlite")


@pytest.fixture
def experiment(request) -> str:
    return request.node.name


def runs_of(uri: str, experiment: str) -> dict[str, Any]:
    client = MlflowClient(uri)
    found = client.search_runs([client.get_experiment_by_name(experiment).experiment_id])
    runs = {run.info.run_name: run for run in found}
    assert len(runs) == len(found), "run names repeat"
    return runs


def curve(uri: str, run: Any, metric: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in MlflowClient(uri).get_metric_history(run.info.run_id, metric)]


def small_search(uri: str, experiment: str, model: Path) -> None:
    """Two trials: one ends well and leaves a model, one fails."""
    writer = Runs(uri, experiment, "ncbi_disease_stack")
    writer.start({"main": "ncbi-disease", "trials": 2}, {"regime": "stack"}, {"job.yaml": "main: ncbi-disease\n"})
    writer.start_trial(7, TRIAL)
    writer.start_trial(8, {**TRIAL, "order": ("linnaeus",), "learning_rate": 0.05})
    for epoch in range(1, 4):
        writer.log(7, {"dev_f1": 50.0 + epoch, "train_loss": 1 / epoch}, epoch)
    writer.log(8, {"dev_f1": 40.0, "train_loss": math.nan}, 1)
    writer.finish_trial(7, "FINISHED", {"best_dev_f1": 53.0})
    writer.finish_trial(8, "FAILED", error="Traceback ...\nMemoryError")
    writer.log(None, {"best_dev_f1": 53.0}, 1)
    writer.runs[None].files.append(("best_model", model))
    writer.finish("FINISHED")


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture
def model(tmp_path) -> Path:
    folder = tmp_path / "model"
    (folder / "features").mkdir(parents=True)
    (folder / "settings.json").write_text("{}")
    (folder / "features" / "words.json").write_text("[]")
    return folder


def check_small_search(uri: str, experiment: str) -> None:
    runs = runs_of(uri, experiment)
    search, good, bad = (
        runs[name]
        for name in (
            "ncbi_disease_stack",
            "0007 bc5cdr-disease > linnaeus lr=0.1 bs=32",
            "0008 linnaeus lr=0.05 bs=32",
        )
    )
    assert {run.data.tags["mlflow.parentRunId"] for run in (good, bad)} == {search.info.run_id}
    assert "mlflow.parentRunId" not in search.data.tags
    assert search.data.params == {"main": "ncbi-disease", "trials": "2"}
    assert search.data.tags["regime"] == "stack"
    expected = {"order": "bc5cdr-disease > linnaeus", "learning_rate": "0.1", "batch_size": "32", "seed": "1"}
    assert good.data.params == expected
    assert [run.info.status for run in (search, good, bad)] == ["FINISHED", "FINISHED", "FAILED"]
    assert curve(uri, good, "dev_f1") == [(1, 51.0), (2, 52.0), (3, 53.0)]
    assert good.data.metrics["best_dev_f1"] == 53.0
    assert bad.data.metrics == {"dev_f1": 40.0}  # the loss was no number
    assert "MemoryError" in bad.data.tags["mlflow.note.content"]
    client = MlflowClient(uri)
    assert {file.path for file in client.list_artifacts(search.info.run_id)} == {"job.yaml", "best_model"}
    kept = {file.path for file in client.list_artifacts(search.info.run_id, "best_model")}
    assert kept == {"best_model/features", "best_model/settings.json"}


def test_a_search_reads_back_as_a_run_with_a_child_per_trial(uri, experiment, model):
    small_search(uri, experiment, model)
    check_small_search(uri, experiment)
    location = MlflowClient(uri).get_experiment_by_name(experiment).artifact_location
    if uri.startswith("sqlite"):
        assert location.startswith(Path(uri.removeprefix("sqlite:///")).parent.as_uri())


def test_the_same_search_again_changes_nothing(uri, experiment, model):
    for _ in range(2):
        small_search(uri, experiment, model)
    check_small_search(uri, experiment)


def test_a_killed_search_goes_on_in_the_same_runs_without_repeating_epochs(uri, experiment):
    killed = Runs(uri, experiment, "job")
    killed.start({"trials": 1})
    killed.start_trial(0, TRIAL)
    for epoch in (1, 2):
        killed.log(0, {"dev_f1": float(epoch)}, epoch)
    killed.flush()  # then the process dies: neither run is closed

    resumed = Runs(uri, experiment, "job")
    resumed.start({"trials": 2})
    resumed.start_trial(0, TRIAL)
    for epoch in (1, 2, 3):
        resumed.log(0, {"dev_f1": epoch + 0.5}, epoch)
    resumed.finish_trial(0, "FINISHED")
    resumed.finish("KILLED")

    runs = runs_of(uri, experiment)
    assert len(runs) == 2
    trial = runs["0000 bc5cdr-disease > linnaeus lr=0.1 bs=32"]
    assert curve(uri, trial, "dev_f1") == [(1, 1.0), (2, 2.0), (3, 3.5)]
    assert (trial.info.status, runs["job"].info.status) == ("FINISHED", "KILLED")
    assert runs["job"].data.params["trials"] == "1"  # as launched: MLflow never changes a parameter


def test_a_finished_search_that_goes_on_is_running_meanwhile(uri, experiment):
    Runs(uri, experiment, "job").start()
    again = Runs(uri, experiment, "job")
    again.start()
    again.finish("FINISHED")
    Runs(uri, experiment, "job").start()
    assert [run.info.status for run in runs_of(uri, experiment).values()] == ["RUNNING"]


def test_searches_in_one_experiment_keep_apart(uri, experiment):
    for name in ("one", "it's another"):
        writer = Runs(uri, experiment, name)
        writer.start()
        writer.start_trial(0, {"order": (name,)})
        writer.finish("FINISHED")
    runs = runs_of(uri, experiment)
    assert set(runs) == {"one", "it's another", "0000 one", "0000 it's another"}


def test_more_metrics_parameters_and_text_than_mlflow_takes_at_once(uri, experiment):
    writer = Runs(uri, experiment, "job")
    writer.start({f"p{n}": n for n in range(250)} | {"long": "x" * 9000}, {"long": "y" * 9000})
    writer.start_trial(0, {"order": tuple(f"auxiliary-number-{n}" for n in range(40))})
    for epoch in range(2500):
        writer.log(0, {"dev_f1": float(epoch)}, epoch)
    writer.finish_trial(0, "FAILED", error="z" * 20_000 + "the end")
    writer.finish("FINISHED")
    runs = runs_of(uri, experiment)
    search = runs.pop("job")
    (trial,) = runs.values()
    assert len(search.data.params) == 251
    assert len(search.data.params["long"]) == 6000
    assert len(curve(uri, trial, "dev_f1")) == 2500
    assert trial.data.tags["mlflow.note.content"].endswith("the end\n```")


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ("", "'' is no MLflow address.*http://host:port"),
        ("mlruns", "'mlruns' is no MLflow address"),
        ("http://127.0.0.1:9", "Connection refused.*start the server"),
        ("sqlite:////proc/nowhere/mlflow.db", "No such file or directory"),
        ("postgresql+nodriver://host/db", "Can't load plugin|nodriver"),
    ],
)
def test_a_store_that_cannot_be_used_is_refused_before_the_search(bad, says, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=says) as refused:
        Runs(bad, "e", "job").start()
    assert "\n" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []


@contextlib.contextmanager
def refusing(code: int):
    """What stands before a server and lets nobody through."""

    class Refuse(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_error(code)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: Any):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Refuse) as proxy:
        thread = threading.Thread(target=proxy.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{proxy.server_address[1]}"
        proxy.shutdown()
        thread.join()


@pytest.mark.parametrize(("code", "fix"), [(401, "MLFLOW_TRACKING_USERNAME"), (403, "Ask for the right to write")])
def test_a_server_that_refuses_is_one_error_that_says_what_to_do(code, fix, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with refusing(code) as address, pytest.raises(InputError, match=f"{code}.*{fix}"):
        Runs(address, "e", "job").connect()


@contextlib.contextmanager
def as_nobody():
    """Root may write anything."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)


@pytest.mark.parametrize("has_experiment", [True, False])
def test_a_database_that_may_not_be_written_is_refused_at_once(has_experiment, sqlite):
    Runs(sqlite, "known", "job").connect()
    with tempfile.TemporaryDirectory() as place:
        shutil.copy(sqlite.removeprefix("sqlite:///"), place)
        uri = default_uri(Path(place))
        (Path(place) / "mlflow.db").chmod(0o444)
        Path(place).chmod(0o555)
        with as_nobody(), pytest.raises(InputError, match=r"readonly database.*Give yourself the right to write"):
            Runs(uri, "known" if has_experiment else "new", "job").connect()
        Path(place).chmod(0o755)


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path):
    (tmp_path / "mlflow.db").write_text("my diary, years 1998 to 2004")
    with pytest.raises(InputError, match="file is not a database"):
        Runs(default_uri(tmp_path), "e", "job").start()
    assert (tmp_path / "mlflow.db").read_text() == "my diary, years 1998 to 2004"


@pytest.mark.slow
def test_a_real_server_keeps_the_same_runs_and_its_death_does_not_stop_a_search(
    uri, experiment, model, port, tmp_path, monkeypatch
):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(run_writer, "RETRY_S", 0.0)
    warnings: list[str] = []
    with server(uri, tmp_path / "files", port, "--allowed-hosts", f"127.0.0.1:{port}") as address:
        with pytest.raises(InputError, match=r"Invalid Host header.*--allowed-hosts"):
            Runs(address.replace("127.0.0.1", "localhost"), experiment, "job").connect()
        small_search(address, experiment, model)
        check_small_search(address, experiment)
        writer = Runs(address, f"{experiment}2", "job", warnings.append)
        writer.start()
        writer.start_trial(0, TRIAL)
    writer.log(0, {"dev_f1": 1.0}, 1)
    writer.finish_trial(0, "FINISHED")
    writer.start_trial(1, {"order": ("bc2gm",)})
    writer.log(1, {"dev_f1": 2.0}, 1)
    writer.flush()
    assert len(warnings) == 1
    assert re.search(rf"{GONE}\); the data is kept", warnings[0])
    with server(uri, tmp_path / "files", port):
        writer.finish_trial(1, "FINISHED")
        writer.finish("FINISHED")
        runs = runs_of(address, f"{experiment}2")
    assert {name: run.info.status for name, run in runs.items()} == {
        "job": "FINISHED",
        "0000 bc5cdr-disease > linnaeus lr=0.1 bs=32": "FINISHED",
        "0001 bc2gm": "FINISHED",
    }
    assert runs["0001 bc2gm"].data.metrics == {"dev_f1": 2.0}
    assert len(warnings) == 1
    writer.start_trial(2, {})
    assert re.search(rf"lacks data of 1 runs: {GONE}$", writer.finish("FINISHED"))
