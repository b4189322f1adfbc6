"""The account that a finalize gives MLflow of its trainings: runs beside the search's trials, under the same search."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from munchray.files import read_json
from munchray.finalization.finalize import final_folder
from munchray.finalization.statistics import Spread
from munchray.finalization.trainings import ResultStore, known_data
from munchray.settings import Job, TrialSettings
from munchray.tagging.scoring import total
from munchray.training.final_evaluation import read_test, scored_on
from munchray.training.trial_results import read_epochs, read_result
from munchray.tuning.account import curve_point, final_metrics, params_of, tracker_of
from munchray.tuning.search import search_folder, search_id

FINAL = "munchray.final"
"""Tag of the search's run: what its finalize came to."""
REPORT = "report.json"
RENAMED = {"final_dev_f1": "rerun_dev_f1"}


class FinalAccount:
    """What MLflow is told of trainings that have ended. It can be told again: nothing is written twice.

    Re-runs on train have ``rerun_dev_f1`` and trainings on train and dev ``test_f1``, so that no table of the search's
    trials by ``final_dev_f1`` mixes them up.

    Args:
        warn: told when MLflow fails.
    """

    def __init__(self, job: Job, warn: Callable[[str], None]) -> None:
        self._warn = warn
        self._tracker = tracker_of(job, search_folder(job), search_id(job), warn)
        self._told: set[str] = set()
        self._shelf: ResultStore | None = None

    def connect(self) -> None:
        """Find the runs of the search, before anything is computed.

        Raises:
            InputError: MLflow cannot be reached or refuses, or does not know the search.
        """
        self._tracker.join_search()

    def open(self, store: ResultStore) -> None:
        """Tell what has ended by now."""
        self._shelf = store
        self.tell()

    def tell(self) -> None:
        """Whatever has ended and is not known yet."""
        assert self._shelf is not None, "open comes first"
        for result in sorted(self._shelf.folder.glob("trainings/*/result.json")):
            if self._is_news(result.parent.name) and _has_all_scores(result.parent):
                self._tell_finished(result.parent)
        for training, reason in self._shelf.failures.items():
            self._tell_failed(self._shelf.folder_of(training).name, training.settings, reason)

    def close(self) -> None:
        """Write all that waits, the report too if there is one, and warn of what MLflow lacks; if it was opened."""
        if self._shelf is None:
            return
        path = self._shelf.folder / REPORT
        if path.exists():
            report = read_json(path)
            self._tracker.log_texts({f"final/{REPORT}": json.dumps(report, indent=2)}, {FINAL: _in_a_line(report)})
        lacking = self._tracker.leave()
        if lacking:
            self._warn(f"{lacking}; later: munchray sync JOB")

    def _is_news(self, name: str) -> bool:
        return name not in self._told and self._tracker.end_of(name) != "FINISHED"

    def _tell_failed(self, name: str, settings: TrialSettings, reason: str) -> None:
        if name not in self._told:
            self._told.add(name)
            self._tracker.start_trial(name, _params(settings))
            self._tracker.finish_trial(name, "FAILED", error_tail=reason)

    def _tell_finished(self, folder: Path) -> None:
        self._told.add(folder.name)
        settings, result = TrialSettings(**read_json(folder / "settings.json")), read_result(folder)
        ended = datetime.fromtimestamp((folder / "result.json").stat().st_mtime).astimezone()
        began = ended - timedelta(seconds=result.seconds)
        self._tracker.start_trial(folder.name, _params(settings), began)
        for report in read_epochs(folder):
            moment = began + timedelta(seconds=report.seconds)
            self._tracker.log(folder.name, curve_point(report), report.updates, moment)
        metrics = {RENAMED.get(key, key): value for key, value in final_metrics(result, settings.main).items()}
        self._tracker.finish_trial(folder.name, "FINISHED", {**metrics, **_test_metrics(folder, settings)}, ended=ended)


def sync(job: Job, warn: Callable[[str], None]) -> None:
    """Tell MLflow what it lacks of a finalize; nothing where there was none.

    Raises:
        InputError: as `FinalAccount.connect`.
    """
    folder = final_folder(job)
    if folder.exists():
        account = FinalAccount(job, warn)
        account.connect()
        account.open(ResultStore(folder, known_data(folder)))
        account.close()


def _has_all_scores(folder: Path) -> bool:
    """Of a finished training; one on train and dev has its score on test."""
    return bool(read_json(folder / "result.json")["dev"] or scored_on(folder))


def _params(settings: TrialSettings) -> Mapping[str, Any]:
    return {**params_of(settings), "trained_on": settings.trained_on}


def _test_metrics(folder: Path, settings: TrialSettings) -> Mapping[str, float]:
    if settings.main not in scored_on(folder):
        return {}
    counts = total(read_test(folder).sentences[settings.main])
    return {"test_precision": counts.precision, "test_recall": counts.recall, "test_f1": counts.f1}


def _in_a_line(report: Mapping[str, Any]) -> str:
    """``trial 0003: test F1 70.12 ± 0.80, seeds: 5``."""
    test = Spread(**report["finalists"][0]["test"])
    return f"{report['winner']}: test F1 {test}, seeds: {test.seeds}"
