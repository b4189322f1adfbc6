"""Logs a search, and the trainings of its finalize, to MLflow: as they happen, or later from their folders.

Idempotent: what the store has is not written twice, so everything may be logged again after a crash.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any

from munchray.files import read_json
from munchray.orders import order_text
from munchray.settings import Job, TrialSettings
from munchray.tagging.scoring import total
from munchray.tracking import session
from munchray.tracking.run_writer import RunWriter, default_uri
from munchray.tracking.runs import Key, Run, error_note
from munchray.training.events import RecordedTrial, TrialAssignment, TrialListener
from munchray.training.final_evaluation import read_test, scored_on
from munchray.training.trial_results import EpochMetrics, TrialResult, read_epochs, read_error, read_result

EPOCH_METRICS = (
    "train_loss",
    "dev_precision",
    "dev_recall",
    "dev_f1",
    "learning_rate",
    "tokens_per_second",
    "clipped_share",
    "epoch",
    "stage",
)
NOT_LOGGED = ("search_space", "corpora", "first_orders")
"""Keys of a job that are no parameter of its run, but stand in its job.json."""
SHORT = {"learning_rate": "lr", "batch_size": "bs"}  # in the names of runs
ENDED = ("FINISHED", "FAILED")  # a KILLED trial is resumed with its search


class MLflowLogger(TrialListener):
    """Logs a search as one run, with a child run for each trial.

    Args:
        folder: of the search.
        search_id: differs from that of any other search on the same server.
        warn: called when writing first fails.
    """

    def __init__(self, job: Job, folder: Path, search_id: str, warn: Callable[[str], None]) -> None:
        self._job, self._search_id = job, search_id
        self._running: dict[Key, Run] = {}
        self._finished, self._best = 0, 0.0
        uri = job.tracking_uri or default_uri(folder)
        self._writer = RunWriter(uri, job.name, search_id, warn, folder / "mlartifacts")
        self.preload = self._writer.preload
        self.connect = self._writer.connect
        self.flush = self._writer.flush
        self.joined = False

    def join_search(self) -> None:
        """Find the runs of a search that has ended, to add to them.

        Raises:
            InputError: the store cannot be reached or refuses, or knows no such search.
        """
        self._writer.join_search()
        self.joined = True

    def start_search(self, data: str, corpora: Mapping[str, str], sessions: Path, began: datetime | None) -> None:
        """Open the run of the search.

        Args:
            data: fingerprint of all that is trained on.
            corpora: fingerprints by name, the main corpus first.
            sessions: a folder with what `session.describe` gave for each process that ran the search.
            began: now, when it is None.

        Raises:
            InputError: the store cannot be reached or refuses.
        """
        job = self._job.model_dump(mode="json")
        params = {key: value for key, value in job.items() if key not in NOT_LOGGED}
        run = self._writer.open(None, self._search_id, params, began)
        described = sorted(sessions.glob("*.json"))
        run.add_tags({"munchray.data": data, **(session.as_tags(read_json(described[-1])) if described else {})})
        run.files += [("job.json", json.dumps(job, indent=2)), *([("sessions", sessions)] if described else [])]
        self._writer.start_search(run, corpora)

    def log_again(self, trials: Sequence[RecordedTrial]) -> None:
        """Log, from their folders, trials that the store lacks or has not to their end."""
        for trial in trials:
            run = self._writer.runs.get(self._key(trial.number, trial.folder))
            if run is None or run.written_status not in ENDED:
                self._log_from_folder(trial)
        for trial in sorted((t for t in trials if t.state == "finished"), key=lambda t: t.ended or t.began):
            self._log_best(read_result(trial.folder), trial.ended)

    def trial_started(self, trial: TrialAssignment) -> None:
        """Open its run."""
        self._open(trial)

    def epoch_ended(self, trial: TrialAssignment, report: EpochMetrics) -> None:
        """Buffer a point of each curve, over parameter updates."""
        self._run(trial).add_points(epoch_metrics(report), report.updates)

    def trial_finished(self, trial: TrialAssignment, result: TrialResult) -> None:
        """Log its scores, and the epochs that were trained while no process listened."""
        run = self._run(trial)
        for report in read_epochs(trial.folder):
            run.add_points(epoch_metrics(report), report.updates)
        run.add_points(self._final_metrics(trial.folder, trial.settings, result))
        self._close(trial, "FINISHED")
        self._log_best(result)

    def trial_failed(self, trial: TrialAssignment, reason: str, details: str = "") -> None:
        """Log why, as the description of its run."""
        self._run(trial).add_tags(error_note(f"{reason}\n\n{details}".strip()))
        self._close(trial, "FAILED")

    def close(
        self,
        status: str = "",
        files: Mapping[str, str | Path] = MappingProxyType({}),
        tags: Mapping[str, str] = MappingProxyType({}),
        ended: datetime | None = None,
    ) -> str:
        """Add to the run of the search, mark what still runs as ``KILLED``, and write all that waits.

        Args:
            status: of the search's run; empty leaves it as it is.
            files: texts and folders by their name as artifacts of the search.

        Returns:
            What the store lacks, empty if nothing.
        """
        for run in self._running.values():
            run.close("KILLED")
        search = self._writer.runs[None]
        search.add_tags(tags)
        search.files.extend(files.items())
        if status:
            search.close(status, ended)
        return self._writer.close()

    def _key(self, number: int, folder: Path) -> Key:
        return number

    def _params(self, settings: TrialSettings) -> dict[str, Any]:
        return trial_params(settings)

    def _final_metrics(self, folder: Path, settings: TrialSettings, result: TrialResult) -> Mapping[str, float]:
        return final_metrics(result, settings.main)

    def _log_best(self, result: TrialResult, ended: datetime | None = None) -> None:
        """A point of the search's own curve: the best dev F1 over the number of finished trials."""
        self._finished += 1
        self._best = max(self._best, result.dev_f1(self._job.main))
        self._writer.runs[None].add_points({"best_dev_f1": self._best}, self._finished, ended)

    def _run(self, trial: TrialAssignment | RecordedTrial) -> Run:
        return self._running[self._key(trial.number, trial.folder)]

    def _open(self, trial: TrialAssignment | RecordedTrial, began: datetime | None = None) -> Run:
        key = self._key(trial.number, trial.folder)
        params = self._params(trial.settings) if trial.settings else {}
        self._running[key] = self._writer.open(key, run_name(key, params), params, began)
        return self._running[key]

    def _close(self, trial: TrialAssignment | RecordedTrial, status: str, ended: datetime | None = None) -> None:
        self._running.pop(self._key(trial.number, trial.folder)).close(status, ended)

    def _log_from_folder(self, trial: RecordedTrial) -> None:
        run = self._open(trial, trial.began)
        for report in read_epochs(trial.folder):
            run.add_points(epoch_metrics(report), report.updates, trial.began + timedelta(seconds=report.seconds))
        if trial.state == "finished" and trial.settings:
            metrics = self._final_metrics(trial.folder, trial.settings, read_result(trial.folder))
            run.add_points(metrics, moment=trial.ended)
            self._close(trial, "FINISHED", trial.ended)
        elif trial.state == "failed":
            run.add_tags(error_note(f"{trial.reason}\n\n{read_error(trial.folder)}".strip()))
            self._close(trial, "FAILED", trial.ended)
        else:  # until it is dispatched again
            self._close(trial, "KILLED")


class FinalLogger(MLflowLogger):
    """Logs the trainings of a finalize as runs beside the search's trials, under the same search.

    Trainings on train have ``rerun_dev_f1`` and those on train and dev ``test_f1``, so that no table of the search's
    trials by ``final_dev_f1`` mixes them up. A run is found again by the name of the training's folder.
    """

    def _key(self, number: int, folder: Path) -> Key:
        return folder.name

    def _params(self, settings: TrialSettings) -> dict[str, Any]:
        return {**trial_params(settings), "trained_on": settings.trained_on}

    def _final_metrics(self, folder: Path, settings: TrialSettings, result: TrialResult) -> Mapping[str, float]:
        renamed = {"final_dev_f1": "rerun_dev_f1"}
        metrics = {renamed.get(key, key): value for key, value in final_metrics(result, settings.main).items()}
        if settings.main not in scored_on(folder):
            return metrics
        counts = total(read_test(folder).sentences[settings.main])
        test = {"test_precision": counts.precision, "test_recall": counts.recall, "test_f1": counts.f1}
        return {**metrics, **test}

    def _log_best(self, result: TrialResult, ended: datetime | None = None) -> None:
        """Nothing: a training of a finalize is not a candidate of the search."""


def run_name(key: Key, params: Mapping[str, Any]) -> str:
    """``0007 bc5cdr-disease > linnaeus lr=0.1 bs=32``; for a training of finalize ``final train+dev seed=5 ...``."""
    order = [order_text(params["order"])] if params.get("order") else []
    numbers = [f"{short}={params[name]:g}" for name, short in SHORT.items() if name in params]
    first = f"{key:04d}" if isinstance(key, int) else f"final {params['trained_on']} seed={params['seed']}"
    return " ".join([first, *order, *numbers])


def trial_params(settings: TrialSettings) -> dict[str, Any]:
    """A trial's parameters as MLflow shows them: a readable order, and each auxiliary's position as a number."""
    values = settings.model_dump(mode="json", exclude={"auxiliaries"})
    positions = {f"position.{name}": position for position, name in enumerate(settings.auxiliaries, 1)}
    return {**values, "order": settings.auxiliaries, **positions}


def epoch_metrics(report: EpochMetrics) -> Mapping[str, float]:
    """The metrics of an epoch."""
    return {name: getattr(report, name) for name in EPOCH_METRICS}


def final_metrics(result: TrialResult, main: str) -> Mapping[str, float]:
    """The score of every corpus and of every stage, and the time the trial took.

    No corpus is scored where the trial trained on dev.
    """
    own = {"final_dev_f1": result.dev_f1(main)} if main in result.dev else {}
    other = {f"dev_f1.{corpus}": counts.f1 for corpus, counts in result.dev.items() if corpus != main}
    stages = {f"stage_{n}_dev_f1": stage.dev_f1 for n, stage in enumerate(result.stages, 1)}
    reused = sum(stage.reused for stage in result.stages)
    return {**own, "seconds": result.seconds, "stages_reused": reused, **other, **stages}
