"""The account that a search gives MLflow of itself, while it runs or later, from what lies in its folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from munchray.files import read_json, write_json
from munchray.settings import Job, TrialSettings
from munchray.tracking import session
from munchray.tracking.tracker import Tracker, default_uri
from munchray.training.trial_results import EpochMetrics, TrialResult, read_epochs, read_result
from munchray.tuning.study import PastTrial

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
NOT_TRACKED = ("search_space", "corpora", "first_orders")
"""Keys of a job that are no parameter of its run in MLflow, but stand in its job.json."""
SESSIONS = "sessions"
"""In the folder of a search: a file for every process that ran it, with versions, git state and machine."""
ERROR_FILE = "error.txt"
"""In the folder of a trial that failed: the last lines of what its process said."""


class Account:
    """What MLflow is told. Everything in it can be told again, since nothing the store has is written twice.

    Args:
        folder: of the search.
        place: the folder of a trial.
        search_id: differs from that of any other search on the same server.
        warn: told when MLflow fails.
    """

    def __init__(
        self, job: Job, folder: Path, place: Callable[[int], Path], search_id: str, warn: Callable[[str], None]
    ) -> None:
        self._job = job
        self._place = place
        self._sessions = folder / SESSIONS
        self._tracker = tracker_of(job, folder, search_id, warn)
        self._finished = 0
        self._best = 0.0
        self.get_ready = self._tracker.get_ready
        self.connect = self._tracker.connect

    def note_session(self) -> str:
        """Write down with what this process computes; where, below the search's folder."""
        described = session.describe()
        name = f"{described['began'].replace(':', '')}.json"
        write_json(self._sessions / name, described)
        return f"{SESSIONS}/{name}"

    def open(self, data_fingerprint: str, corpora: Mapping[str, str], history: Sequence[PastTrial]) -> None:
        """Open the run of the search and say again what may have been lost.

        Raises:
            InputError: the store cannot be reached or refuses.
        """
        described = self._job.model_dump(mode="json")
        params = {key: value for key, value in described.items() if key not in NOT_TRACKED}
        sessions = sorted(self._sessions.glob("*.json"))
        tags = session.as_tags(read_json(sessions[-1])) if sessions else {}
        files: dict[str, str | Path] = {"job.json": json.dumps(described, indent=2)}
        files |= {SESSIONS: self._sessions} if sessions else {}
        began = min((trial.began for trial in history), default=None)
        self._tracker.start_search(params, {"munchray.data": data_fingerprint, **tags}, files, corpora, began)
        for trial in history:
            if not self._tracker.end_of(trial.number):
                self._say_again(trial)
        for trial in sorted((t for t in history if t.state == "finished"), key=lambda t: t.ended or t.began):
            self._one_more(read_result(self._place(trial.number)), trial.ended)

    def trial_started(self, number: int, settings: TrialSettings) -> None:
        """A trial was handed out, or will be told of now."""
        self._tracker.start_trial(number, params_of(settings))

    def epoch_ended(self, number: int, report: EpochMetrics, moment: datetime | None = None) -> None:
        """A point of a trial's curves, over its updates."""
        self._tracker.log(number, curve_point(report), report.updates, moment)

    def trial_finished(self, number: int, result: TrialResult) -> None:
        """A trial ended with a score."""
        self._say_epochs(number)  # some may have been trained while nobody was looking on
        self._tracker.finish_trial(number, "FINISHED", final_metrics(result, self._job.main))
        self._one_more(result)

    def trial_failed(self, number: int, reason: str, ended: datetime | None = None) -> None:
        """A trial ended without one."""
        kept = self._place(number) / ERROR_FILE
        details = kept.read_text(encoding="utf-8") if kept.exists() else ""
        self._tracker.finish_trial(number, "FAILED", {}, f"{reason}\n\n{details}".strip(), ended)

    def trial_stopped(self, number: int) -> None:
        """A trial goes on when the search does."""
        self._tracker.finish_trial(number, "KILLED")

    def close(self, status: str, best: int | None, texts: Mapping[str, str], ended: datetime | None = None) -> str:
        """Write all that waits; what MLflow lacks, empty if nothing.

        Args:
            ended: now, unless it is told later.
            best: the trial whose model is kept with the search.
            texts: kept with the search, by file name.
        """
        if best is not None:
            self._tracker.log_best(self._place(best) / "model", {"munchray.best_trial": str(best)})
        self._tracker.log_texts(texts)
        return self._tracker.finish_search(status, ended)

    def _say_again(self, trial: PastTrial) -> None:
        """What ended, or was stopped, when a process was killed or the store away before it knew."""
        params = {} if trial.values is None else params_of(self._job.trial(trial.values))
        self._tracker.start_trial(trial.number, params, trial.began)
        self._say_epochs(trial.number, trial.began)
        if trial.state == "finished":
            metrics = final_metrics(read_result(self._place(trial.number)), self._job.main)
            self._tracker.finish_trial(trial.number, "FINISHED", metrics, ended=trial.ended)
        elif trial.state == "failed":
            self.trial_failed(trial.number, trial.reason, trial.ended)
        else:  # until it is handed out again
            self.trial_stopped(trial.number)

    def _say_epochs(self, number: int, began: datetime | None = None) -> None:
        for report in read_epochs(self._place(number)):
            moment = began + timedelta(seconds=report.seconds) if began else None
            self.epoch_ended(number, report, moment)

    def _one_more(self, result: TrialResult, ended: datetime | None = None) -> None:
        """A point of the search's own curve: the best score over the number of finished trials."""
        self._finished += 1
        self._best = max(self._best, result.dev_f1(self._job.main))
        self._tracker.log(None, {"best_dev_f1": self._best}, self._finished, ended)


def tracker_of(job: Job, folder: Path, search_id: str, warn: Callable[[str], None]) -> Tracker:
    """Where MLflow has the runs of a job's search."""
    return Tracker(job.tracking_uri or default_uri(folder), job.name, search_id, warn, folder / "mlartifacts")


def curve_point(report: EpochMetrics) -> Mapping[str, float]:
    """What MLflow is told of an epoch."""
    values = asdict(report)
    return {name: values[name] for name in EPOCH_METRICS}


def params_of(settings: TrialSettings) -> dict[str, Any]:
    """A trial's parameters as MLflow shows them; an order readable, and each auxiliary's place as a number."""
    values = settings.model_dump(mode="json", exclude={"auxiliaries"})
    places = {f"position.{name}": place for place, name in enumerate(settings.auxiliaries, 1)}
    return {**values, "order": settings.auxiliaries, **places}


def final_metrics(result: TrialResult, main: str) -> Mapping[str, float]:
    """What a trial came to: the score of every corpus, of every stage, the time it took.

    No corpus is scored where it trained on dev.
    """
    own = {"final_dev_f1": result.dev_f1(main)} if main in result.dev else {}
    other = {f"dev_f1.{corpus}": counts.f1 for corpus, counts in result.dev.items() if corpus != main}
    stages = {f"stage_{n}_dev_f1": stage.dev_f1 for n, stage in enumerate(result.stages, 1)}
    reused = sum(stage.reused for stage in result.stages)
    return {**own, "seconds": result.seconds, "stages_reused": reused, **other, **stages}
