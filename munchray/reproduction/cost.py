"""Cost estimate of a plan: trainings, stages, tokens, hours.

Hours are tokens trained on, divided by tokens per second. The number of epochs is known where the learning rate is
annealed to zero, and assumed where a training ends by convergence.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import fmean, median

from munchray.corpora.catalogue import TABLE_1
from munchray.finalization.trainings import ResultStore, SimulatedScores, Training
from munchray.reproduction.plan import PaperPlan
from munchray.settings import Job, TrialSettings
from munchray.training.inputs import read_inputs
from munchray.training.trial_results import read_epochs

EPOCHS_TO_CONVERGENCE = 60
"""Assumed number of epochs under the paper's schedule; the minimum is 40, ten cuts of the learning rate after four
epochs each."""

Size = tuple[int, int]
"""Sentences and tokens."""
Sizes = Mapping[str, Mapping[str, Size]]
"""Sizes by corpus and split (train, dev)."""


@dataclass(frozen=True)
class Cost:
    """The cost of a list of trainings.

    Args:
        stages: stages without reuse; `distinct`: with reuse.
        tokens, distinct_tokens: tokens trained on, likewise.
    """

    trainings: int
    stages: int
    distinct: int
    tokens: float
    distinct_tokens: float

    def hours(self, speed: float) -> float:
        """Hours of training with reuse, at ``speed`` tokens per second."""
        return self.distinct_tokens / speed / 3600


def sizes_of(job: Job) -> dict[str, dict[str, Size]]:
    """Sizes after truncation; those in the paper's Table 1 as printed, others counted.

    Raises:
        InputError: a corpus that is not in Table 1 cannot be read.
    """
    names = (job.main, *job.auxiliaries)
    known = {n: {s: (c.sentences, c.words) for s, c in TABLE_1[n].items()} for n in names if n in TABLE_1}
    if len(known) < len(names):
        whole = job.model_copy(update={"regime": "multi_task"})
        for name, splits in read_inputs(whole).corpora.items():
            known[name] = {split: (len(s), sum(len(x.tokens) for x in s)) for split, s in splits.items()}
    limits = {"train": job.max_sentences.train, "dev": job.max_sentences.dev}
    return {name: {split: _truncated(known[name][split], limits[split]) for split in limits} for name in names}


def cost_of(trainings: list[Training], sizes: Sizes) -> Cost:
    """Sum the cost of all trainings."""
    units = [unit for training in trainings for unit in _stages(training, sizes)]
    distinct = dict(units)
    return Cost(len(trainings), len(units), len(distinct), sum(t for _, t in units), sum(distinct.values()))


def tokens_of(training: Training, sizes: Sizes) -> float:
    """Tokens trained on by one training without reuse."""
    return sum(tokens for _, tokens in _stages(training, sizes))


def measured_speed(trainings: list[Training], store: ResultStore) -> float | None:
    """Tokens per second: the median of the finished trainings; None if there is none."""
    done = [read_epochs(store.folder_of(training)) for training in trainings if store.finished(training)]
    return median(fmean(epoch.tokens_per_second for epoch in epochs) for epochs in done) if done else None


@dataclass(frozen=True)
class PlannedTraining:
    """A training of a plan, for display.

    Args:
        decided: False while its settings depend on dev scores that are not known yet.
    """

    training: Training
    tokens: float
    done: bool
    decided: bool


@dataclass(frozen=True)
class Listing:
    """A plan with its total and remaining cost.

    Args:
        gpu: GPUs per training.
        speed: tokens per second of one training.
    """

    planned: list[PlannedTraining]
    whole: Cost
    left: Cost
    gpu: float
    speed: float
    speed_source: str


def listing(plan: PaperPlan, store: ResultStore, speed: float | None) -> Listing:
    """List every training of a plan; choices that depend on unknown dev scores are filled in arbitrarily.

    Args:
        speed: tokens per second of one training; by default that of the finished ones, else the scale's assumption.
    """
    sizes, decided = sizes_of(plan.job), set(plan(store))
    trainings = list(dict.fromkeys(plan(SimulatedScores(store))))
    done = {training for training in trainings if store.finished(training)}
    planned = [PlannedTraining(t, tokens_of(t, sizes), t in done, t in decided) for t in trainings]
    measured = measured_speed(sorted(done, key=str), store)
    source = "as given" if speed else "as measured here" if measured else plan.scale.speed_source
    left = cost_of([training for training in trainings if training not in done], sizes)
    tokens_per_second = speed or measured or plan.scale.speed
    return Listing(
        planned, cost_of(trainings, sizes), left, plan.job.resources_per_trial.gpu, tokens_per_second, source
    )


def _truncated(size: Size, limit: int | None) -> Size:
    sentences, tokens = size
    kept = min(sentences, limit or sentences)
    return kept, round(tokens * kept / sentences)


def _stages(training: Training, sizes: Sizes) -> Iterator[tuple[object, float]]:
    """The identity of each stage, equal for stages that reuse shares, and its tokens."""
    settings = training.settings
    epochs = settings.max_epochs if settings.anneal == "linear" else min(settings.max_epochs, EPOCHS_TO_CONVERGENCE)
    if settings.regime not in ("stack", "single_aux"):
        yield training, epochs * _pass_tokens(settings, settings.auxiliaries, sizes)
        return
    shared = settings.model_copy(update={"regime": "stack", "auxiliaries": ()})
    for length, name in enumerate(settings.auxiliaries, start=1):
        yield (training.job, shared, settings.auxiliaries[:length]), epochs * _pass_tokens(settings, (name,), sizes)


def _pass_tokens(settings: TrialSettings, auxiliaries: tuple[str, ...], sizes: Sizes) -> float:
    """Tokens of one epoch: the main corpus and an equal number of auxiliary sentences."""

    def size(name: str, scored: bool) -> Size:
        splits = ["train", "dev"] if scored and settings.trained_on == "train+dev" else ["train"]
        return sum(sizes[name][s][0] for s in splits), sum(sizes[name][s][1] for s in splits)

    sentences, tokens = size(settings.main, True)
    beside = [size(name, settings.regime == "multi_task") for name in auxiliaries]
    if settings.regime == "multi_task":
        return tokens + sum(words for _, words in beside)
    if settings.regime == "iteration":
        return sum(tokens + sentences * words / count for count, words in beside)
    pooled = sum(words for _, words in beside) / sum(count for count, _ in beside) if beside else 0.0
    return tokens + sentences * pooled
