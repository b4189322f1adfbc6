"""A real MLflow server on this machine, and what MLflow must have of a search; for tests."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from munchray.training.trial_results import read_epochs


def free_port() -> int:
    """One that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def server(store: str, artifacts: Path, port: int, *more: str) -> Iterator[str]:
    """A real MLflow server on this machine; it goes away in one moment, with all its processes, whatever happens."""
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", store]
    command += [
        "--artifacts-destination",
        str(artifacts),
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--workers",
        "1",
        *more,
    ]
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "NO_PROXY": "127.0.0.1"},
        start_new_session=True,
    )
    try:
        wait_until_healthy(f"http://127.0.0.1:{port}/health", process)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_until_healthy(address: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(address, timeout=5) as answer:
            if answer.status == 200:
                return
        time.sleep(0.5)
    pytest.fail("the MLflow server did not start")


def check_runs(uri: str, folder: Path, status: str = "FINISHED") -> None:
    """MLflow has a run a trial and one for the search, all ended, with every epoch once and the way to the best."""
    client = MlflowClient(uri)
    found = client.search_runs([client.get_experiment_by_name(folder.name).experiment_id], max_results=1000)
    children = {run.data.tags["munchray.trial"]: run for run in found if "munchray.trial" in run.data.tags}
    (parent,) = [run for run in found if "munchray.trial" not in run.data.tags]
    trials = sorted((folder / "trials").iterdir())
    assert len(found) == len(trials) + 1
    assert {run.info.status for run in found} == {status}
    for trial in trials:
        run = children[str(int(trial.name))]
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        for metric in ("dev_f1", "train_loss", "clipped_share"):
            logged = sorted((m.step, m.value) for m in client.get_metric_history(run.info.run_id, metric))
            assert logged == [(report.updates, getattr(report, metric)) for report in read_epochs(trial)]
    progress = client.get_metric_history(parent.info.run_id, "best_dev_f1")
    assert sorted(point.step for point in progress) == list(range(1, len(trials) + 1))
    assert sorted(point.value for point in progress) == [m.value for m in sorted(progress, key=lambda m: m.step)]
