"""Writes the runs of one search to MLflow on a thread of its own, and keeps what a failing store does not take.

Once a search has started, a store that fails never stops it: what could not be written stays in memory and is tried
again. What never arrived can be written later by another process; what the store has is not repeated.
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
from typing import TYPE_CHECKING, Any

from munchray.errors import InputError, Problem
from munchray.tracking.runs import Key, Run

if TYPE_CHECKING:  # importing MLflow takes seconds
    from munchray.tracking.mlflow_client import MLflowStore

SEARCH, TRIAL, TRAINING = "munchray.search", "munchray.trial", "munchray.training"
PARENT, NAME = "mlflow.parentRunId", "mlflow.runName"
SQLITE = "sqlite:///"
FLUSH_S = 2.0
RETRY_S = 30.0  # a store that hangs must not hang once for every run


def default_uri(folder: Path) -> str:
    """An sqlite store in ``folder``; absolute, because a relative one depends on where a command is typed."""
    return f"{SQLITE}{folder.resolve() / 'mlflow.db'}"


class RunWriter:
    """The runs of one search in one MLflow experiment, written by a thread every `FLUSH_S`.

    Runs carry the tags ``munchray.search`` and ``munchray.trial`` or ``munchray.training``, by which a resumed search
    finds and continues them.

    Args:
        uri: of an MLflow server (``http://...``) or a database (``sqlite:////...``, ``postgresql+psycopg2://...``).
        search_id: the same id continues the same runs.
        warn: called once when writing first fails, on any thread.
        artifacts: where files are kept for a database that is not a file itself. Sqlite has them beside its own, and
            an MLflow server decides itself.

    Attributes:
        runs: by key; None is the search itself.
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
        self.runs: dict[Key | None, Run] = {}
        self._experiment, self._search_id, self._artifacts = experiment, search_id, artifacts
        self._warn = warn
        self._writing = threading.Lock()
        self._closed = threading.Event()
        self._retry_at = 0.0
        self._error = ""
        self._preload: _Preload | None = None
        self._store: MLflowStore | None = None

    def preload(self) -> None:
        """Import MLflow and make an empty database in a background thread; writes nothing where it counts."""
        self._preload = _Preload(self.uri)

    def connect(self) -> None:
        """Open the store, make the experiment, and see that something can be written; once.

        Raises:
            InputError: the URI is wrong, or the store cannot be reached or refuses.
        """
        if self._store is not None:
            return
        if self._preload:
            self._preload.put_in_place()
        from munchray.tracking import mlflow_client

        with self._explained():
            store = mlflow_client.MLflowStore(self.uri, self._experiment, self._artifacts)
            store.tag_experiment(SEARCH, self._search_id)
            self._store = store

    def start_search(self, run: Run, corpora: Mapping[str, str]) -> None:
        """Write the run of the search, and start the thread that writes what follows.

        Args:
            run: with key None.
            corpora: a fingerprint of at most 36 characters by name.

        Raises:
            InputError: as `connect`.
        """
        self.connect()
        with self._explained():
            self._find_runs()
            self._create_or_catch_up(run)
            self._opened.write(run)
            self._opened.log_corpora(run.run_id, corpora)
        self._start_thread()

    def join_search(self) -> None:
        """Find the runs of a search that has ended, to add to them; the status of its own stays as it is.

        Raises:
            InputError: as `connect`; or the store knows no such search.
        """
        self.connect()
        with self._explained():
            self._find_runs()
        if None not in self.runs:
            fix = "Tell it of the search first, with: munchray sync JOB"
            raise InputError(Problem("tracking_uri", f"{self.uri} has no run of this search", fix=fix))
        self._start_thread()

    def open(self, key: Key | None, name: str, params: Mapping[str, Any], began: datetime | None = None) -> Run:
        """The run of a trial, new or found, running again, with its parameters to be written.

        Args:
            began: now, when it is None.
        """
        run = self.runs.setdefault(key, Run(key))
        run.open(name, params, began)
        return run

    def close(self) -> str:
        """Stop the thread and write all that waits; what the store lacks then, empty if nothing."""
        self._closed.set()
        self._retry_at = 0.0
        self.flush()
        lacking = sum(run.pending for run in self.runs.values())
        return f"MLflow at {self.uri} lacks data of {lacking} runs: {self._error}" if lacking else ""

    def flush(self) -> None:
        """Write all that waits, or leave it for later when the store failed a moment ago."""
        with self._writing:
            # What failed last comes last: one run that the store will never take does not keep the others out.
            for run in sorted(self.runs.copy().values(), key=lambda run: run.failed_at):
                if run.pending and time.monotonic() >= self._retry_at:
                    try:
                        self._create_or_catch_up(run)
                        self._opened.write(run)
                    except Exception as error:  # of any kind: the search continues
                        self._note_failure(run, _cause(error))
            if not any(run.pending for run in self.runs.copy().values()):
                self._error = ""

    def _note_failure(self, run: Run, cause: str) -> None:
        if not self._error:
            self._warn(f"MLflow at {self.uri} failed ({cause}); the data is kept and tried again")
        self._error = cause
        run.failed_at = time.monotonic()
        self._retry_at = run.failed_at + RETRY_S

    def _start_thread(self) -> None:
        def write() -> None:
            while not self._closed.wait(FLUSH_S):
                self.flush()

        threading.Thread(target=write, name="mlflow", daemon=True).start()

    def _create_or_catch_up(self, run: Run) -> None:
        if self._error and not run.run_id:  # a store can create a run and fail to say so
            self._find_runs()
        if not run.run_id:
            tags = {SEARCH: self._search_id, NAME: run.name}
            if run.key is not None:
                own = TRIAL if isinstance(run.key, int) else TRAINING
                tags |= {own: str(run.key), PARENT: self.runs[None].run_id}
            run.run_id = self._opened.create(run.name, tags, run.began)
            run.written_status = "RUNNING"
        if not run.caught_up:
            run.skip_written(*self._opened.has(run.run_id))

    @property
    def _opened(self) -> MLflowStore:
        assert self._store is not None, "connect comes first"
        return self._store

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
        """Read which runs of this search the store has."""
        for found in self._opened.find(SEARCH, self._search_id):
            key = int(found.tags[TRIAL]) if TRIAL in found.tags else found.tags.get(TRAINING)
            # Nothing is to be written to a run that is not opened again: its status stays what it is.
            run = self.runs.setdefault(key, Run(key, status=found.status))
            if not run.run_id:
                run.run_id, run.written_status, run.caught_up = found.run_id, found.status, False


class _Preload:
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
    """Copy whole or not at all: another search may make the same database.

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
