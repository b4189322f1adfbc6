"""A search as a source of trials: interrupted ones first, then what the sampler suggests. Knows no Ray."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from munchray.files import write_json
from munchray.settings import Job
from munchray.tracking import session
from munchray.training.events import TrialAssignment
from munchray.tuning.folder import SESSIONS, SearchRecord, check_same_data, search_storage, trial_folder
from munchray.tuning.lock import FolderLock
from munchray.tuning.study import Study
from munchray.tuning.warm_start import PriorSearch


class Search:
    """The trials of a search that are still to be run. The process holds the lease of the search's folder.

    Args:
        study: opened for writing.
    """

    waits_for_results = False
    """What comes next never depends on trials that still run."""

    def __init__(self, job: Job, study: Study, lease: FolderLock) -> None:
        self.job, self.study = job, study
        self.folder = search_storage(job).folder
        self._lease = lease
        self._interrupted = study.running()

    @property
    def trials_left(self) -> int:
        """How many trials are still to be dispatched, interrupted ones included."""
        return self.study.unsuggested(self.job.trials) + len(self._interrupted)

    @property
    def complete(self) -> bool:
        """Whether all trials have ended."""
        return self.trials_left <= 0 and not self.study.running()

    def next_assignment(self) -> TrialAssignment | None:
        """A trial to run, None when there is nothing left to try.

        Raises:
            WorkError: the lease was lost.
        """
        self._lease.check()
        suggestion = self._interrupted.pop(0) if self._interrupted else self.study.suggest()
        if suggestion is None:
            return None
        settings = self.job.trial(suggestion.values)
        return TrialAssignment(suggestion.number, self.job.name, settings, trial_folder(self.folder, suggestion.number))


def open_search(
    job: Job, record: SearchRecord, priors: Sequence[PriorSearch], lease: FolderLock, warn: Callable[[str], None]
) -> Search:
    """Write the record of a search, the same again if it is resumed, and open its study.

    Args:
        priors: the searches that this one learns from.
        lease: of the search's folder, acquired.
        warn: called while the study waits for a disk.

    Raises:
        InputError: text or embeddings differ from those the search started with, or from those of a prior search; the
            study cannot be opened.
    """
    storage = search_storage(job)
    check_same_data(storage.folder, record.data)
    for prior in priors:
        prior.check_corpora(record.corpora)
    record.write(storage)
    study = Study.open(job, storage.folder, prior=[outcome for each in priors for outcome in each.outcomes], warn=warn)
    study.try_first(job.first_orders)
    described = session.describe()
    name = f"{SESSIONS}/{described['began'].replace(':', '')}.json"
    write_json(storage.folder / name, described)
    storage.upload(name)
    return Search(job, study, lease)
