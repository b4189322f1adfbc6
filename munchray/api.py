"""The Python API: what the command line does, as functions. Each imports what it needs when it is called."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from munchray.errors import InputError, Problem, nearest
from munchray.progress import Progress
from munchray.progress.default import default_progress

if TYPE_CHECKING:
    import pandas as pd

    from munchray.corpora.reader import Sentence
    from munchray.finalization.report import FinalReport
    from munchray.models.export import TrainedModel
    from munchray.models.model import Model
    from munchray.settings import Job
    from munchray.training.data import DataSpec
    from munchray.training.inputs import Inputs
    from munchray.training.trial_results import TrialResult
    from munchray.tuning.ranking import RankedTrial, Ranking

REPORT = "report.html"


def load_job(path: str | Path, /, **changes: Any) -> Job:
    """Read and check a job file and its search space.

    A job that is only trained needs no search space.

    Args:
        path: of the job file.
        changes: keys of the job with other values, such as ``trials=6``; nested ones with dots, as in
            ``**{"max_sentences.train": 400}``.

    Raises:
        InputError: every mistake in the files and the changes.
    """
    from munchray import settings

    return settings.load_job(Path(path), [f"{key}={json.dumps(value)}" for key, value in changes.items()])


def search(
    job: Job | str | Path, *, address: str | None = None, resume: bool = False, progress: Progress | None = None
) -> SearchResult:
    """Run a search, or resume it where it was stopped; a search that is done is only read.

    An interrupt (Ctrl-C) stops it in order; a second one, while it stops, ends the process.

    Args:
        job: or the path of its file.
        address: of a Ray cluster that this machine belongs to (``auto``) or its head (``HOST:PORT``); None runs the
            trials on the cores and GPUs of this machine.
        resume: insist that the search was started before.
        progress: where to show what happens; None chooses a notebook's or a terminal's display, ``Progress()`` shows
            nothing.

    Raises:
        InputError: every mistake in the job, its corpora and embeddings; the job differs from the one that the search
            was started with; another process runs it; the cluster is not fit; MLflow cannot be reached.
        Interrupted: the user stopped it; the same call resumes it.
        WorkError: no trial has finished, or what every trial needs is away or full.
    """
    from munchray.training.inputs import read_inputs
    from munchray.tuning.run import run_search

    job, progress = _loaded(job), progress or default_progress()
    if job.search_space.is_empty:
        expected = "a search_space that varies something, such as {learning_rate: [0.1, 0.05]}"
        raise InputError(Problem(f"job {job.name}", "nothing varies, so there is nothing to search", expected))
    with progress.task("reading corpora"):
        inputs = read_inputs(job)
    run_search(
        job,
        inputs,
        address=address,
        resume=resume,
        progress=progress,
        summary=lambda: {REPORT: html_report(job, inputs)},
    )
    return results(job)


def results(job: Job | str | Path) -> SearchResult:
    """Read the ranking of a search, also while it runs.

    Raises:
        InputError: the job has not been searched yet.
    """
    from munchray.tuning.ranking import ranking

    job = _loaded(job)
    return SearchResult(job, ranking(job))


def train(job: Job | str | Path, *, progress: Progress | None = None) -> TrainResult:
    """Train one setting in this process, without Ray: the job's own values, the auxiliaries as listed.

    A setting that has been trained before is only read.

    Raises:
        InputError: every mistake in the job, its corpora and embeddings; the device cannot do the precision.
        WorkError: the loss diverged.
    """
    from munchray.tuning.single import train_once

    job = _loaded(job, search=False)
    folder, result = train_once(job, progress or default_progress())
    return TrainResult(job, folder, result)


def finalize(
    job: Job | str | Path,
    *,
    top: int = 3,
    seeds: int = 5,
    baselines: Sequence[str] | None = None,
    address: str | None = None,
    progress: Progress | None = None,
) -> FinalizeResult:
    """Train the best settings of a search and baselines with fresh seeds, on train and on train and dev; score test.

    Each model is scored on test once, and no choice sees that score. The same call again resumes what was stopped.

    Args:
        top: how many of the search's best settings.
        seeds: how many fresh seeds for each; one shows no spread.
        baselines: regimes to compare with; None is ``single_task``.
        address: as for `search`.

    Raises:
        InputError: the search has too few finished trials; an unknown baseline; as `search`.
        Interrupted: the user stopped it.
        WorkError: a training failed.
    """
    from munchray.finalization.run import finalize as run_finalize

    job = _loaded(job)
    progress = progress or default_progress()
    report = run_finalize(job, top=top, seeds=seeds, baselines=baselines, address=address, progress=progress)
    return FinalizeResult(job, report)


def load_model(source: str | Path, *, tracking_uri: str | None = None) -> Model:
    """Load a model that tags new text.

    Args:
        source: a folder that `munchray export` wrote, or a registered model such as ``models:/quickstart@champion``.
        tracking_uri: the MLflow store of a registered model; None is that of the environment variable
            ``MLFLOW_TRACKING_URI``.

    Raises:
        InputError: no such folder or model, or a damaged one.
    """
    from munchray.models.model import Model

    if not str(source).startswith("models:/"):
        return Model.load(Path(source))
    from munchray.tracking.registry import downloaded

    with downloaded(str(source), tracking_uri) as folder:
        return Model.load(folder)


def read_corpus(name: str | Path, split: str = "train", *, data_dir: str | Path | None = None) -> tuple[Sentence, ...]:
    """Read a split of a corpus: sentences of tokens and IOB2 tags.

    Args:
        name: a known corpus, such as ``ncbi-disease``, or a folder with train, dev and test files whose first column
            are tokens and whose last column are tags.
        split: ``train``, ``dev`` or ``test``.
        data_dir: folder of the known corpora; None is ``$MUNCHRAY_DATA``, else ``./data``.

    Raises:
        InputError: no such corpus or split, or every mistake in the file.
    """
    from munchray.corpora.catalogue import SPLITS, load_split, resolve_corpus

    if split not in SPLITS:
        raise InputError(
            Problem(str(name), f"no split '{split}'", f"one of {', '.join(SPLITS)}", nearest(split, SPLITS))
        )
    return load_split(resolve_corpus(str(name), Path(data_dir) if data_dir else None), split)


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Args:
        found: the trials ranked, as the files of the search have them.
    """

    job: Job
    found: Ranking

    @property
    def trials(self) -> list[RankedTrial]:
        """The finished trials, best dev F1 first."""
        return self.found.trials

    @property
    def best(self) -> RankedTrial:
        """The trial with the highest dev F1.

        Raises:
            WorkError: no trial has finished.
        """
        return self.found.best

    @cached_property
    def ranking(self) -> pd.DataFrame:
        """A row for each finished trial, best first: its number, settings, dev scores in percent, updates, seconds."""
        import pandas as pd

        columns = {
            "trial": "number",
            "order": "order",
            "dev_f1": "dev_f1",
            "dev_precision": "dev_precision",
            "dev_recall": "dev_recall",
            "epochs": "epochs",
            "updates": "updates",
            "seconds": "seconds",
        }
        rows = [
            {**trial.values, **{column: getattr(trial, name) for column, name in columns.items()}}
            for trial in self.trials
        ]
        varied = list(self.trials[0].values) if self.trials else []
        return pd.DataFrame(rows, columns=["trial", "order", *varied, *list(columns)[2:]])

    def best_model(self, trial: int | None = None) -> Model:
        """The model of the best trial, or of another finished one by its number, with its embeddings.

        Raises:
            InputError: no such trial; an embedding is missing.
            WorkError: no trial has finished.
        """
        from munchray.tuning.export import trained_by

        return _opened(trained_by(self.job, trial))

    def plot(self, kind: str = "progress") -> Any:
        """A matplotlib figure of the trials.

        Args:
            kind: ``progress``: dev F1 over the updates spent; ``positions``: mean dev F1 by auxiliary and position;
                ``paths``: the orders explored as a tree of prefixes.

        Raises:
            InputError: the trials do not allow this figure.
        """
        from munchray.report.figures import draw_all

        figures = draw_all(self.trials)
        if kind not in figures:
            expected = f"one of {', '.join(figures)}" if figures else "finished trials"
            raise InputError(Problem("plot", f"no figure '{kind}' of these trials", expected))
        return figures[kind]


@dataclass(frozen=True)
class TrainResult:
    """What a training in this process came to.

    Args:
        folder: where everything of it lies.
        result: scores, stages, updates, seconds, digest of the weights.
    """

    job: Job
    folder: Path
    result: TrialResult

    @property
    def scores(self) -> Mapping[str, Mapping[str, float]]:
        """Precision, recall and F1 on dev in percent, by corpus."""
        return {
            corpus: {"precision": counts.precision, "recall": counts.recall, "f1": counts.f1}
            for corpus, counts in self.result.dev.items()
        }

    def model(self) -> Model:
        """The trained model with its embeddings.

        Raises:
            InputError: an embedding is missing.
        """
        from munchray.models.export import TrainedModel
        from munchray.training.inputs import open_embedders

        return _opened(TrainedModel("training", self.folder / "model", open_embedders(self.job), {}))


@dataclass(frozen=True)
class FinalizeResult:
    """What a finalize came to: ``report`` has the settings with their spread, the pairs and the verdicts in words."""

    job: Job
    report: FinalReport

    def model(self) -> Model:
        """The final model, chosen without looking at test.

        Raises:
            InputError: an embedding is missing.
        """
        from munchray.finalization.finalize import final

        return _opened(final(self.job))


def html_report(job: Job, inputs: Inputs | None = None) -> str:
    """The report of a search as one HTML page.

    Args:
        inputs: of the job, if they have been read.

    Raises:
        InputError: the job has not been searched yet.
        WorkError: no trial has finished.
    """
    from munchray.report.html import html_report as render
    from munchray.training.inputs import prepare
    from munchray.tuning.folder import check_same_data, search_folder

    def open_data() -> DataSpec:
        data = prepare(job, lambda line: None, inputs)
        check_same_data(search_folder(job), data.fingerprint())
        return data

    return render(job, open_data)


def _loaded(job: Job | str | Path, *, search: bool = True) -> Job:
    from munchray import settings

    return settings.load_job(Path(job), search=search) if isinstance(job, str | Path) else job


def _opened(trained: TrainedModel) -> Model:
    from munchray.models.model import Model
    from munchray.tagging.weights import load_tagger

    tagger, description = load_tagger(trained.folder)
    return Model(tagger, trained.embedders, description["main"])
