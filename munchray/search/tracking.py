"""What MLflow keeps of a search: a run for the search, a child run per trial, curves, and the best model.

Only the process that leads the search writes. Runs carry the tags ``munchray.search`` and ``munchray.trial``, by which
a resumed search finds and continues them. Once a search has started, a store that fails never stops it: what could
not be written stays in memory and is tried again.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# Before MLflow is imported. Its own seven retries of 120 s would hold a search up for minutes.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # two lines a trial

import sqlalchemy
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import RestException
from mlflow.tracking import MlflowClient

from munchray.errors import InputError, Problem
from munchray.orders import order_text

SEARCH, TRIAL = "munchray.search", "munchray.trial"
PARENT, NAME, NOTE = "mlflow.parentRunId", "mlflow.runName", "mlflow.note.content"
SHORT = {"learning_rate": "lr", "batch_size": "bs"}  # as run names show them
FLUSH_SECONDS, FLUSH_METRICS = 2.0, 500
FIX = "Check the address, start the server, or leave tracking_uri out to use a file beside the run"
RETRY_SECONDS = 30.0  # a store that hangs must not hold up every epoch
METRICS_A_CALL, PARAMS_A_CALL, TAGS_A_CALL = 1000, 100, 100  # what MLflow takes at once
PARAM_LENGTH, TAG_LENGTH, NAME_LENGTH = 6000, 8000, 250

for _name, _level in (("mlflow", logging.WARNING), ("alembic", logging.WARNING), ("urllib3", logging.ERROR)):
    logging.getLogger(_name).setLevel(_level)


def default_uri(folder: Path) -> str:
    """An sqlite store in ``folder``; absolute, because a relative one depends on where a command is typed."""
    return f"sqlite:///{folder.resolve() / 'mlflow.db'}"


@dataclass
class _Run:
    """One MLflow run: what is to be written and what has been. The search itself has no number."""

    number: int | None
    run_id: str = ""
    name: str = ""
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    metrics: list[Metric] = field(default_factory=list)
    files: list[tuple[str, str | Path]] = field(default_factory=list)
    status: str = "RUNNING"
    written_status: str = ""
    last_step: int = -1  # of what has been logged or waits; -1 before the first
    caught_up: bool = True  # False: found in the store, from an earlier process
    failed_at: float = 0.0

    @property
    def waits(self) -> bool:
        """Whether something is still to be written."""
        unwritten = self.params or self.tags or self.metrics or self.files
        return bool(unwritten) or self.status != self.written_status

    def write(self, client: MlflowClient) -> None:
        """Write everything; what a failing store has taken by then is not written again."""
        while self.params or self.tags or self.metrics:
            self._write_batch(client)
        while self.files:
            _log_file(client, self.run_id, *self.files[0])
            del self.files[0]
        if self.status != self.written_status:
            _set_status(client, self.run_id, self.status)
            self.written_status = self.status

    def _write_batch(self, client: MlflowClient) -> None:
        metrics = self.metrics[:METRICS_A_CALL]
        params = list(self.params.items())[:PARAMS_A_CALL]
        tags = list(self.tags.items())[:TAGS_A_CALL]
        client.log_batch(
            self.run_id,
            metrics,
            [Param(*pair) for pair in params],
            [RunTag(*pair) for pair in tags],
            synchronous=True,
        )
        del self.metrics[: len(metrics)]
        for pending, written in ((self.params, params), (self.tags, tags)):
            for key, _ in written:
                del pending[key]


class Tracker:
    """The runs of one search in one MLflow experiment.

    Args:
        uri: of an MLflow server (``http://...``) or a database (``sqlite:////...``, ``postgresql+psycopg2://...``).
        search_id: the same id continues the same runs.
        warn: told once when writing first fails, and at the end if something never was written.
        artifacts: where a database store keeps files; by default beside the sqlite file. A server decides itself.
    """

    def __init__(
        self,
        uri: str,
        experiment: str,
        search_id: str,
        warn: Callable[[str], None] = lambda message: None,
        artifacts: Path | None = None,
    ) -> None:
        self.uri = uri
        self._experiment = experiment
        self._search_id = search_id
        self._warn = warn
        self._artifacts = artifacts
        self._runs: dict[int | None, _Run] = {}
        self._flushed = 0.0
        self._retry_at = 0.0
        self._error = ""

    def start_search(self, params: Mapping[str, Any], tags: Mapping[str, str], artifacts: Mapping[str, str]) -> None:
        """Connect, create what is missing, open the run of the search; ``artifacts`` are texts by file name.

        Raises:
            InputError: the URI is wrong, or the store cannot be reached or refuses.
        """
        _check_scheme(self.uri)
        try:
            _check_database(self.uri)
            self._client = MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)
            self._experiment_id = self._find_or_create_experiment()
            self._find_runs()
            run = self._opened(None, self._search_id, params)
            run.tags.update(_tags(tags))
            run.files.extend(artifacts.items())
            self._write(run)
        except Exception as error:  # MLflow and its stores raise all kinds; each means that this URI does not work
            found = f"'{self.uri}' does not work: {_cause(error)}"
            raise InputError(Problem("tracking_uri", found, fix=FIX)) from error

    def start_trial(self, number: int, params: Mapping[str, Any]) -> None:
        """Open the run of a trial; an ``order`` among the parameters is written as ``a > b > c``."""
        run = self._opened(number, _trial_name(number, params), params)
        self._try(run)

    def log_epoch(self, number: int, metrics: Mapping[str, float], step: int) -> None:
        """Points of the trial's curves; those of a step that has been logged are left out, as is what is not finite."""
        run = self._runs[number]
        if step > run.last_step:
            run.last_step = step
            run.metrics.extend(_metrics(metrics, step))
        waiting = sum(len(each.metrics) for each in self._runs.values())
        if waiting >= FLUSH_METRICS or time.monotonic() - self._flushed > FLUSH_SECONDS:
            self.flush()

    def finish_trial(
        self, number: int, status: str, metrics: Mapping[str, float] | None = None, error_tail: str = ""
    ) -> None:
        """Close the run of a trial as ``FINISHED``, ``FAILED`` or ``KILLED``, with what it came to."""
        run = self._runs[number]
        run.metrics.extend(_metrics(metrics or {}, max(run.last_step, 0)))
        if error_tail:
            run.tags[NOTE] = f"```\n{error_tail[8 - TAG_LENGTH :]}\n```"
        run.status = status
        self._try(run)

    def log_best(self, folder: Path, metrics: Mapping[str, float], tags: Mapping[str, str]) -> None:
        """Keep a model folder as the artifact ``best_model`` of the search, with its scores."""
        run = self._runs[None]
        run.metrics.extend(_metrics(metrics, 0))
        run.tags.update(_tags(tags))
        run.files.append(("best_model", folder))
        self._try(run)

    def finish_search(self, status: str) -> None:
        """Write all that waits and close the run of the search."""
        self._runs[None].status = status
        self._retry_at = 0.0
        self.flush()
        lost = [run for run in self._runs.values() if run.waits]
        if lost:
            self._warn(f"MLflow at {self.uri} lacks data of {len(lost)} runs: {self._error}")

    def flush(self) -> None:
        """Write all that waits, or leave it for later when the store failed a moment ago."""
        self._flushed = time.monotonic()
        # What failed last comes last: one run that the store will never take does not keep the others out.
        for run in sorted(self._runs.values(), key=lambda run: run.failed_at):
            if run.waits:
                self._try(run)

    def _try(self, run: _Run) -> None:
        if time.monotonic() < self._retry_at:
            return
        try:
            self._write(run)
            self._error = self._error if any(each.waits for each in self._runs.values()) else ""
        except Exception as error:  # whatever it is, the search goes on
            if not self._error:
                self._warn(f"MLflow at {self.uri} failed ({_cause(error)}); the data is kept and tried again")
            self._error = _cause(error)
            run.failed_at = time.monotonic()
            self._retry_at = run.failed_at + RETRY_SECONDS

    def _write(self, run: _Run) -> None:
        if self._error and not run.run_id:  # a store can create a run and fail to say so
            self._find_runs()
        if not run.run_id:
            run.run_id = self._create(run)
        if not run.caught_up:
            self._catch_up(run)
        run.write(self._client)

    def _create(self, run: _Run) -> str:
        tags = {SEARCH: self._search_id, NAME: run.name}
        if run.number is not None:
            tags |= {TRIAL: str(run.number), PARENT: self._runs[None].run_id}
        created = self._client.create_run(self._experiment_id, tags=tags, run_name=run.name)
        run.written_status = "RUNNING"
        return str(created.info.run_id)

    def _opened(self, number: int | None, name: str, params: Mapping[str, Any]) -> _Run:
        """The run of a trial, new or known, with its parameters to be written."""
        run = self._runs.setdefault(number, _Run(number))
        run.name = run.name or name[:NAME_LENGTH]
        run.status = "RUNNING"
        run.params = {key: _text(key, value) for key, value in params.items()}
        return run

    def _catch_up(self, run: _Run) -> None:
        """Leave out what the run has from an earlier process: MLflow takes no parameter twice."""
        data = self._client.get_run(run.run_id).data
        run.params = {key: value for key, value in run.params.items() if key not in data.params}
        histories = [self._client.get_metric_history(run.run_id, key) for key in data.metrics]
        logged = {(point.key, point.step) for history in histories for point in history}
        run.metrics = [point for point in run.metrics if (point.key, point.step) not in logged]
        run.last_step = max([run.last_step, *(step for _, step in logged)])
        run.caught_up = True

    def _find_runs(self) -> None:
        """Learn of the runs that this search has in the store."""
        quote = '"' if "'" in self._search_id else "'"
        query, token = f"tags.`{SEARCH}` = {quote}{self._search_id}{quote}", None
        while True:
            page = self._client.search_runs([self._experiment_id], query, max_results=1000, page_token=token)
            for found in page:
                trial = found.data.tags.get(TRIAL)
                number = None if trial is None else int(trial)
                # Nothing is to be written to a run that nobody opens again: its status stays what it is.
                run = self._runs.setdefault(number, _Run(number, status=found.info.status))
                if not run.run_id:
                    run.run_id, run.written_status, run.caught_up = found.info.run_id, found.info.status, False
            token = page.token
            if not token:
                return

    def _find_or_create_experiment(self) -> str:
        if self._client.get_experiment_by_name(self._experiment) is None:
            with contextlib.suppress(RestException):
                self._client.create_experiment(self._experiment, artifact_location=self._artifact_root())
        return str(self._client.get_experiment_by_name(self._experiment).experiment_id)

    def _artifact_root(self) -> str | None:
        if not _is_database(self.uri):
            return None
        database = sqlalchemy.make_url(self.uri).database or ""
        beside = Path(database).parent if self.uri.startswith("sqlite") else Path()
        return (self._artifacts or beside / "mlartifacts").resolve().as_uri()


def _trial_name(number: int, params: Mapping[str, Any]) -> str:
    """``0007 bc5cdr-disease > linnaeus lr=0.1 bs=32``."""
    order = [order_text(params["order"])] if params.get("order") else []
    numbers = [f"{short}={params[name]:g}" for name, short in SHORT.items() if name in params]
    return " ".join([f"{number:04d}", *order, *numbers])


def _text(key: str, value: Any) -> str:
    if isinstance(value, list | tuple):
        return order_text(value)[:PARAM_LENGTH] if key == "order" else ", ".join(map(str, value))[:PARAM_LENGTH]
    return str(value)[:PARAM_LENGTH]


def _tags(tags: Mapping[str, str]) -> dict[str, str]:
    return {key: value[:TAG_LENGTH] for key, value in tags.items()}


def _metrics(metrics: Mapping[str, float], step: int) -> list[Metric]:
    now = time.time_ns() // 1_000_000
    return [Metric(key, float(value), now, step) for key, value in metrics.items() if math.isfinite(value)]


def _set_status(client: MlflowClient, run_id: str, status: str) -> None:
    if status == "RUNNING":
        client.update_run(run_id, status=status)
    else:
        client.set_terminated(run_id, status=status)


def _log_file(client: MlflowClient, run_id: str, name: str, content: str | Path) -> None:
    if isinstance(content, Path):
        client.log_artifacts(run_id, str(content), name)
    else:
        client.log_text(run_id, content, name)


def _check_scheme(uri: str) -> None:
    """MLflow would take what it does not know for a folder, or for a default of its own."""
    if not _is_database(uri) and not uri.startswith(("http://", "https://")):
        expected = "http://host:port of a server, or a database such as sqlite:////absolute/path/mlflow.db"
        raise InputError(Problem("tracking_uri", f"'{uri}' is no MLflow address", expected, FIX))


def _is_database(uri: str) -> bool:
    scheme, found, _ = uri.partition("://")
    return bool(found) and scheme.split("+")[0] in ("sqlite", "postgresql", "mysql", "mssql")


def _check_database(uri: str) -> None:
    """Look into a database at once: MLflow would retry ten times, for minutes, before it says what is wrong."""
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


def _cause(error: BaseException) -> str:
    """The first line of an error; of an HTTP error, which holds the whole stack in one line, the innermost cause."""
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return (line.rsplit(": ", 1)[-1].strip("\"')") if "Caused by" in line else line)[:300]
