"""Searches run by hand: the real lease, study and MLflow logger, and trials that a test finishes itself."""

from munchray.progress import Progress
from munchray.tracking.mlflow_logger import MLflowLogger
from munchray.training.events import TrialListener
from munchray.training.trial_results import read_result
from munchray.tuning.folder import SearchRecord, check_same_job, search_folder, search_id, search_storage
from munchray.tuning.lock import FolderLock, sync_for_reading
from munchray.tuning.run import finish_logging, start_logging
from munchray.tuning.search import open_search
from munchray.tuning.warm_start import PriorSearch


class Recorder(Progress):
    """A listener that remembers the events, with the numbers of their trials."""

    def __init__(self):
        self.events = []

    def trial_started(self, trial):
        self.events.append(("started", trial.number))

    def epoch_ended(self, trial, report):
        self.events.append(("epoch", trial.number))

    def trial_finished(self, trial, result):
        main = trial.settings.main
        self.events.append(("finished", trial.number, result.dev_f1(main) if main in result.dev else None))

    def trial_failed(self, trial, reason, details=""):
        self.events.append(("failed", trial.number, reason))

    def warn(self, message):
        self.events.append(("warning", message))


class HandRunSearch:
    """A search whose events a test makes, in the order in which Tune would; opened by the first process that may."""

    def __init__(self, job, data="data-1", corpora=None, resume=False, summary=dict):
        self.job, self.folder, self._summary = job, search_folder(job), summary
        self.recorder = Recorder()
        sync_for_reading(search_storage(job))
        check_same_job(job, self.folder, resume=resume)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.lease = FolderLock(search_storage(job))
        self.lease.acquire()
        try:
            priors = [PriorSearch(named, job) for named in job.warm_start]
            record = SearchRecord(search_id(job), job.model_dump(mode="json"), data, corpora or {})
            self.logger = MLflowLogger(job, self.folder, record.id, self.recorder.warn)
            self.logger.connect()
            self.search = open_search(job, record, priors, self.lease, self.recorder.warn)
        except BaseException:
            self.lease.release()
            raise
        start_logging(self.logger, job, self.search.study)
        self.listeners: list[TrialListener] = [self.search.study, self.logger, self.recorder]

    @property
    def trials_left(self):
        return self.search.trials_left

    def start(self):
        """The next trial, started; None if there is none."""
        trial = self.search.next_assignment()
        if trial:
            self.tell("trial_started", trial)
        return trial

    def tell(self, event, trial, *details):
        for listener in self.listeners:
            getattr(listener, event)(trial, *details)

    def finish(self, trial):
        """What lies in its folder is its result."""
        self.tell("trial_finished", trial, read_result(trial.folder))

    def close(self):
        """In order; whether all trials have ended."""
        complete = self.search.complete
        finish_logging(self.logger, self.search, self.recorder, self._summary)
        self.lease.release()
        return complete

    def die(self):
        """As when the process is killed: its lease goes with it, and what MLflow has not been given by now is lost."""
        self.lease.release()
