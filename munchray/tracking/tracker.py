"""What MLflow keeps of a search: a run for the search, a child run per trial, curves, and the best model.

Only the process that leads the search writes, on a thread of its own every two seconds, so that no trial waits for a
database. Runs carry the tags ``munchray.tuning`` and ``munchray.trial``, by which a resumed search finds and continues
them, or ``munchray.training`` where they tell of trainings that came after the search. Once a search has started, a
store that fails never stops it: what could not be written stays in memory and is tried again. What never arrived can
be said again later, by whoever leads the search then: what the store has is not repeated.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from munchray.errors import InputError, Problem
from munchray.tracking.runs import Key, Run, error_note, run_name

if TYPE_CHECKING:  # importing MLflow takes seconds
    from munchray.tracking.mlflow_client import MLflowStore

SEARCH, TRIAL, TRAINING = "munchray.tuning", "munchray.trial", "munchray.training"
PARENT, NAME = "mlflow.parentRunId", "mlflow.runName"
ENDED = ("FINISHED", "FAILED")  # KILLED trials go on
SQLITE = "sqlite:///"
FLUSH_SECONDS = 2.0
RETRY_SECONDS = 30.0  # a store that hangs must not hang once for every run


def default_uri(folder: Path) -> str:
    """An sqlite store in ``folder``; absolute, because a relative one depends on where a command is typed."""
    return f"{SQLITE}{folder.resolve() / 'mlflow.db'}"


class Tracker:
    """The runs of one search in one MLflow experiment.

    Args:
        uri: of an MLflow server (``http://...``) or a database (``sqlite:////...``, ``postgresql+psycopg2://...``).
        search_id: the same id continues the same runs.
        warn: told once when writing first fails; on any thread.
        artifacts: where files are kept for a database that is not a file itself. Sqlite has them beside its own, and
            an MLflow server decides itself.
    """

    def __init__(
        self,
        uri: str,
        experiment: str,
        search_id: str,
        warn: Callable[[str], None] = lambda message: None,
        artifacts: Path = Path("mlartifacts"),
    ) -> None:
        self.uri = uri
        self._experiment = experiment
        self._search_id = search_id
        self._warn = warn
        self._artifacts = artifacts
        self._runs: dict[Key | None, Run] = {}
        self._writing = threading.Lock()
        self._ended = threading.Event()
        self._retry_at = 0.0
        self._error = ""
        self._ahead: _Ahead | None = None
        self._store: MLflowStore | None = None

    def get_ready(self) -> None:
        """Do in the background what takes seconds and `start_search` would do otherwise; writes nothing yet."""
        self._ahead = _Ahead(self.uri)

    def connect(self) -> None:
        """Open the store, make the experiment, and see that something can be written; once.

        Raises:
            InputError: the URI is wrong, or the store cannot be reached or refuses.
        """
        if self._store is not None:
            return
        if self._ahead:
            self._ahead.put_in_place()
        from munchray.tracking import mlflow_client

        with self._explained():
            store = mlflow_client.MLflowStore(self.uri, self._experiment, self._artifacts)
            store.tag_experiment(SEARCH, self._search_id)
            self._store = store

    def start_search(
        self,
        params: Mapping[str, Any],
        tags: Mapping[str, str],
        artifacts: Mapping[str, str | Path],
        corpora: Mapping[str, str] | None = None,
        began: datetime | None = None,
    ) -> None:
        """Open the run of the search and write it; from now on a thread writes what comes.

        Args:
            artifacts: texts by file name, folders by their name.
            corpora: a fingerprint of at most 36 characters by name.
            began: now, unless it is told later.

        Raises:
            InputError: the URI is wrong, or the store cannot be reached or refuses.
        """
        self.connect()
        with self._explained():
            self._find_runs()
            run = self._opened(None, self._search_id, params, began)
            run.add_tags(tags)
            run.files.extend(artifacts.items())
            self._write(run)
            self._opened_store.log_corpora(run.run_id, corpora or {})
        self._write_in_background()

    def join_search(self) -> None:
        """Open the runs of a search that has ended, to add to them; the status of its own stays as it is.

        Raises:
            InputError: as `start_search`; or the store knows no such search.
        """
        self.connect()
        with self._explained():
            self._find_runs()
        if None not in self._runs:
            fix = "Tell it of the search first, with: munchray sync JOB"
            raise InputError(Problem("tracking_uri", f"{self.uri} has no run of this search", fix=fix))
        self._write_in_background()

    def end_of(self, key: Key) -> str:
        """``FINISHED`` or ``FAILED`` where the store has all of a trial or a later training, else empty."""
        status = self._runs[key].written_status if key in self._runs else ""
        return status if status in ENDED else ""

    def start_trial(self, key: Key, params: Mapping[str, Any], began: datetime | None = None) -> None:
        """Open the run of a trial; an ``order`` among the parameters is written as ``a > b > c``.

        Args:
            began: now, unless it is told later.
        """
        self._opened(key, run_name(key, params), params, began)

    def log(self, key: Key | None, metrics: Mapping[str, float], step: int, moment: datetime | None = None) -> None:
        """Points of the curves of a trial, or of the search; those of a step that has been logged are left out, as is
        what is not finite."""
        run = self._runs[key]
        if step not in run.steps:
            run.add_points(metrics, step, moment)

    def finish_trial(
        self,
        key: Key,
        status: str,
        metrics: Mapping[str, float] | None = None,
        error_tail: str = "",
        ended: datetime | None = None,
    ) -> None:
        """Close the run of a trial as ``FINISHED``, ``FAILED`` or ``KILLED``, with what it came to."""
        run = self._runs[key]
        run.add_points(metrics or {}, run.last_step, ended)
        run.add_tags(error_note(error_tail) if error_tail else {})
        run.close(status, ended)

    def log_best(self, folder: Path, tags: Mapping[str, str]) -> None:
        """Keep a model folder as the artifact ``best_model`` of the search."""
        run = self._runs[None]
        run.add_tags(tags)
        run.files.append(("best_model", folder))

    def log_texts(self, texts: Mapping[str, str], tags: Mapping[str, str] = MappingProxyType({})) -> None:
        """Keep texts as artifacts of the search, by file name, and tags."""
        self._runs[None].add_tags(tags)
        self._runs[None].files.extend(texts.items())

    def finish_search(self, status: str, ended: datetime | None = None) -> str:
        """Close the run of the search, and `leave` it."""
        self._runs[None].close(status, ended)
        return self.leave()

    def leave(self) -> str:
        """Write all that waits; what the store lacks, empty if nothing."""
        self._ended.set()
        self._retry_at = 0.0
        self.flush()
        lacking = sum(run.waits for run in self._runs.values())
        return f"MLflow at {self.uri} lacks data of {lacking} runs: {self._error}" if lacking else ""

    def flush(self) -> None:
        """Write all that waits, or leave it for later when the store failed a moment ago."""
        with self._writing:
            # What failed last comes last: one run that the store will never take does not keep the others out.
            for run in sorted(self._runs.copy().values(), key=lambda run: run.failed_at):
                if run.waits:
                    self._try(run)

    def _write_in_background(self) -> None:
        threading.Thread(target=self._write_on, name="mlflow", daemon=True).start()

    def _write_on(self) -> None:
        while not self._ended.wait(FLUSH_SECONDS):
            self.flush()

    def _try(self, run: Run) -> None:
        if time.monotonic() < self._retry_at:
            return
        try:
            self._write(run)
            self._error = self._error if any(each.waits for each in self._runs.copy().values()) else ""
        except Exception as error:  # whatever it is, the search goes on
            if not self._error:
                self._warn(f"MLflow at {self.uri} failed ({_cause(error)}); the data is kept and tried again")
            self._error = _cause(error)
            run.failed_at = time.monotonic()
            self._retry_at = run.failed_at + RETRY_SECONDS

    def _write(self, run: Run) -> None:
        if self._error and not run.run_id:  # a store can create a run and fail to say so
            self._find_runs()
        if not run.run_id:
            run.run_id = self._create(run)
        if not run.caught_up:
            run.catch_up(self._opened_store)
        run.write(self._opened_store)

    def _create(self, run: Run) -> str:
        tags = {SEARCH: self._search_id, NAME: run.name}
        if run.key is not None:
            own = TRIAL if isinstance(run.key, int) else TRAINING
            tags |= {own: str(run.key), PARENT: self._runs[None].run_id}
        run_id = self._opened_store.create(run.name, tags, run.began)
        run.written_status = "RUNNING"
        return run_id

    @property
    def _opened_store(self) -> MLflowStore:
        assert self._store is not None, "start_search comes first"
        return self._store

    def _opened(self, key: Key | None, name: str, params: Mapping[str, Any], began: datetime | None = None) -> Run:
        """The run of a trial, new or known, with its parameters to be written."""
        run = self._runs.setdefault(key, Run(key))
        run.open(name, params, began)
        return run

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """MLflow and its stores raise all kinds; each means that this URI does not work."""
        from munchray.tracking import mlflow_client

        try:
            yield
        except InputError:
            raise
        except Exception as error:
            found = f"'{self.uri}' does not work: {_cause(error)}"
            raise InputError(Problem("tracking_uri", found, fix=mlflow_client.advice(error))) from error

    def _find_runs(self) -> None:
        """Learn of the runs that this search has in the store."""
        for found in self._opened_store.find(SEARCH, self._search_id):
            key = int(found.tags[TRIAL]) if TRIAL in found.tags else found.tags.get(TRAINING)
            # Nothing is to be written to a run that nobody opens again: its status stays what it is.
            run = self._runs.setdefault(key, Run(key, status=found.status))
            if not run.run_id:
                run.run_id, run.written_status, run.caught_up = found.run_id, found.status, False


class _Ahead:
    """MLflow imported and an empty database made in the background, for a search that has none yet."""

    def __init__(self, uri: str) -> None:
        is_file = uri.startswith(SQLITE) and "?" not in uri
        self._target = Path(uri.removeprefix(SQLITE)) if is_file else None
        self._folder = TemporaryDirectory()
        self._made = Path(self._folder.name, "mlflow.db")
        self._thread = threading.Thread(target=self._make, name="mlflow")
        self._thread.start()

    def put_in_place(self) -> None:
        """Wait for it, and put the database where the search wants it, if there is none."""
        self._thread.join()
        with contextlib.suppress(OSError):  # MLflow then makes its own, or says what is wrong
            if self._target and self._made.exists():
                self._target.parent.mkdir(parents=True, exist_ok=True)
                _copy_unless_there(self._made, self._target)
        self._folder.cleanup()

    def _make(self) -> None:
        from munchray.tracking import mlflow_client

        if self._target and not self._target.exists():
            with contextlib.suppress(Exception):
                mlflow_client.make_database(self._made)


def _copy_unless_there(source: Path, target: Path) -> None:
    """Whole or not at all: another search may make the same database.

    Raises:
        OSError: it is there, or cannot be written.
    """
    aside = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        shutil.copyfile(source, aside)
        os.link(aside, target)
    finally:
        aside.unlink(missing_ok=True)


def _cause(error: BaseException) -> str:
    """The first line of an error; of an HTTP error, which holds the whole stack in one line, the innermost cause."""
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    if "Caused by" in line:
        line = line.rsplit(": ", 1)[-1].strip("\"')").rsplit("'", 1)[-1]
    return line[:300]
