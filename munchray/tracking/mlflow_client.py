"""The adapter of MLflow's client: opens a store, finds and creates runs, writes to them. (mlflow, sqlalchemy)

Importing this module takes seconds, so it is imported when a search begins, and only then.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

# Before MLflow is imported. Its own seven retries of 120 s would hold a search up for minutes.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # two lines a trial

import sqlalchemy
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.exceptions import RestException
from mlflow.tracking import MlflowClient

from munchray.errors import InputError, Problem
from munchray.tracking.runs import Run

KIND, TRAINING = "mlflow.experimentKind", "custom_model_development"  # or MLflow's pages speak of prompts and judges
FIX = "Check the address, start the server, or leave tracking_uri out to use a file beside the run"
FIXES = {  # by what an error's text holds
    "Invalid Host header": "Start the server with --allowed-hosts naming this host, or use an address it answers to",
    "code 401": "Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN",
    "code 403": "Ask for the right to write there, or leave tracking_uri out to use a file beside the run",
    "No module named": "Install the driver into this environment, such as psycopg2-binary for postgresql+psycopg2://",
    "readonly database": "Give yourself the right to write the file and its folder, or leave tracking_uri out",
}

for _name, _level in (("mlflow", logging.WARNING), ("alembic", logging.WARNING), ("urllib3", logging.ERROR)):
    logging.getLogger(_name).setLevel(_level)


@dataclass(frozen=True)
class FoundRun:
    """A run found in the store."""

    run_id: str
    status: str
    tags: Mapping[str, str]


class MLflowStore:
    """One experiment in a reachable store.

    Args:
        uri: of an MLflow server (``http://...``) or a database (``sqlite:////...``, ``postgresql+psycopg2://...``).
        artifacts: where files are kept for a database that is not a file itself. Sqlite has them beside its own, and
            an MLflow server decides itself.

    Raises:
        InputError: the URI is none of these.
        Exception: of any kind, as MLflow and its stores raise when they cannot be reached, or refuse.
    """

    def __init__(self, uri: str, experiment: str, artifacts: Path) -> None:
        check_uri(uri)
        self._client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        if self._client.get_experiment_by_name(experiment) is None:
            with contextlib.suppress(RestException):  # another search made it just now
                self._client.create_experiment(experiment, _artifact_root(uri, artifacts), {KIND: TRAINING})
        self._experiment_id = str(self._client.get_experiment_by_name(experiment).experiment_id)

    def tag_experiment(self, tag: str, value: str) -> None:
        """Set a tag of the experiment."""
        self._client.set_experiment_tag(self._experiment_id, tag, value)

    def create(self, name: str, tags: Mapping[str, str], began: int) -> str:
        """Create a run and return its id."""
        run = self._client.create_run(self._experiment_id, start_time=began, tags=dict(tags), run_name=name)
        return str(run.info.run_id)

    def find(self, tag: str, value: str) -> Iterator[FoundRun]:
        """Find the runs with this value of a tag."""
        quote = '"' if "'" in value else "'"
        query, token = f"tags.`{tag}` = {quote}{value}{quote}", None
        while True:
            page = self._client.search_runs([self._experiment_id], query, max_results=1000, page_token=token)
            yield from (FoundRun(run.info.run_id, run.info.status, run.data.tags) for run in page)
            token = page.token
            if not token:
                return

    def has(self, run_id: str) -> tuple[set[str], set[tuple[str, int]]]:
        """The names of a run's parameters, and key and step of its logged points."""
        data = self._client.get_run(run_id).data
        histories = [self._client.get_metric_history(run_id, key) for key in data.metrics]
        return set(data.params), {(point.key, point.step) for history in histories for point in history}

    def write(self, run: Run) -> None:
        """Write all that a run has buffered; what a failing store has taken by then is not written again."""
        while batch := run.next_batch():
            self._client.log_batch(
                run.run_id,
                [Metric(point.key, point.value, point.time, point.step) for point in batch.points],
                [Param(*pair) for pair in batch.params.items()],
                [RunTag(*pair) for pair in batch.tags.items()],
                synchronous=True,
            )
            run.drop(batch)
        while run.files:
            self._log_file(run.run_id, *run.files[0])
            del run.files[0]
        if run.status != run.written_status:
            self._set_status(run, run.status)

    def log_corpora(self, run_id: str, fingerprints: Mapping[str, str]) -> None:
        """Log the datasets of a run, the main corpus first; those already logged stay as they are."""
        roles = ["main", *["auxiliary"] * len(fingerprints)]
        inputs = [
            DatasetInput(Dataset(name, fingerprint, "corpus", name), [InputTag("mlflow.data.context", role)])
            for role, (name, fingerprint) in zip(roles, fingerprints.items(), strict=False)
        ]
        if inputs:
            self._client.log_inputs(run_id, inputs)

    def _log_file(self, run_id: str, name: str, content: str | Path) -> None:
        if isinstance(content, Path):
            self._client.log_artifacts(run_id, str(content), name)
        else:
            self._client.log_text(run_id, content, name)

    def _set_status(self, run: Run, status: str) -> None:
        if status == "RUNNING":
            self._client.update_run(run.run_id, status=status)
        else:
            self._client.set_terminated(run.run_id, status=status, end_time=run.ended)
        run.written_status = status


def advice(error: Exception) -> str:
    """What a user can do about a store that fails."""
    return next((fix for part, fix in FIXES.items() if part in str(error)), FIX)


def make_database(path: Path) -> None:
    """Create an empty sqlite store."""
    MlflowClient(f"sqlite:///{path}").search_experiments(max_results=1)


def check_uri(uri: str, *, must_exist: bool = False) -> None:
    """Check the form of a URI, and that a database answers.

    Args:
        must_exist: an sqlite file that is not there is a mistake; otherwise its folder is made.

    Raises:
        InputError: it is none, or there is nothing.
        Exception: what the database says.
    """
    _check_scheme(uri)
    file = Path(sqlalchemy.make_url(uri).database or "") if uri.startswith("sqlite") else None
    if must_exist and file is not None and not file.is_file():
        raise InputError(Problem("tracking_uri", f"there is no database {file}", "the one that a search wrote"))
    _check_database(uri)


def _check_scheme(uri: str) -> None:
    """Refuse unknown schemes: MLflow would take them for a folder, or for a default of its own."""
    if not _is_database(uri) and not uri.startswith(("http://", "https://")):
        expected = "http://host:port of a server, or a database such as sqlite:////absolute/path/mlflow.db"
        raise InputError(Problem("tracking_uri", f"'{uri}' is no MLflow address", expected, FIX))


def _is_database(uri: str) -> bool:
    scheme, found, _ = uri.partition("://")
    return bool(found) and scheme.split("+")[0] in ("sqlite", "postgresql", "mysql", "mssql")


def _check_database(uri: str) -> None:
    """Query a database once: MLflow would retry ten times, for minutes, before it reports the error."""
    if not _is_database(uri):
        return
    url = sqlalchemy.make_url(uri)
    if url.get_backend_name() == "sqlite" and url.database:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    engine = sqlalchemy.create_engine(url)
    try:
        sqlalchemy.inspect(engine).get_table_names()
    finally:
        engine.dispose()


def _artifact_root(uri: str, artifacts: Path) -> str | None:
    if not _is_database(uri):
        return None
    url = sqlalchemy.make_url(uri)
    if url.get_backend_name() == "sqlite" and url.database:
        artifacts = Path(url.database).parent / "mlartifacts"
    return artifacts.resolve().as_uri()
