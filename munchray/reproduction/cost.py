"""What a plan would cost before it is run: trainings, stages, tokens, hours.

The model: tokens that are trained on, divided by tokens a second. Where a training ends by convergence, the number of
epochs is a guess; where the learning rate is annealed to zero, it is known.
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

CONVERGENCE = 60
"""Epochs that a convergence is guessed to take by the paper's schedule, which cannot end before 40: ten cuts of the
learning rate, each after four epochs."""

Size = tuple[int, int]
"""Sentences and tokens."""
Sizes = Mapping[str, Mapping[str, Size]]
"""Of train and dev of every corpus."""


@dataclass(frozen=True)
class Cost:
    """Of a list of trainings.

    Args:
        stages: trained if every training stood alone; `distinct`: trained with reuse.
        tokens, distinct_tokens: trained on, likewise.
    """

    trainings: int
    stages: int
    distinct: int
    tokens: float
    distinct_tokens: float

    def hours(self, speed: float) -> float:
        """Of training, with reuse, at so many tokens a second."""
        return self.distinct_tokens / speed / 3600


def sizes_of(job: Job) -> dict[str, dict[str, Size]]:
    """As trained on: of the corpora of Table 1 as printed, of others as counted.

    Raises:
        InputError: a corpus that Table 1 does not have cannot be read.
    """
    names = (job.main, *job.auxiliaries)
    known = {n: {s: (c.sentences, c.words) for s, c in TABLE_1[n].items()} for n in names if n in TABLE_1}
    if len(known) < len(names):
        whole = job.model_copy(update={"regime": "multi_task"})
        for name, splits in read_inputs(whole).corpora.items():
            known[name] = {split: (len(s), sum(len(x.tokens) for x in s)) for split, s in splits.items()}
    limits = {"train": job.max_sentences.train, "dev": job.max_sentences.dev}
    return {name: {split: _first(known[name][split], limits[split]) for split in limits} for name in names}


def cost_of(trainings: list[Training], sizes: Sizes) -> Cost:
    """Of all of them."""
    units = [unit for training in trainings for unit in _stages(training, sizes)]
    distinct = dict(units)
    return Cost(len(trainings), len(units), len(distinct), sum(t for _, t in units), sum(distinct.values()))


def tokens_of(training: Training, sizes: Sizes) -> float:
    """TrainedModel on by one training that stands alone."""
    return sum(tokens for _, tokens in _stages(training, sizes))


def measured_speed(trainings: list[Training], store: ResultStore) -> float | None:
    """Tokens a second: the median of the finished trainings; None if there is none."""
    done = [read_epochs(store.folder_of(training)) for training in trainings if store.finished(training)]
    return median(fmean(report.tokens_per_second for report in curve) for curve in done) if done else None


@dataclass(frozen=True)
class Planned:
    """A training of a plan, for people.

    Args:
        decided: False while dev scores that are not there yet decide what it will be.
    """

    training: Training
    tokens: float
    done: bool
    decided: bool


@dataclass(frozen=True)
class Listing:
    """All of a plan, what is left of it, and how fast that is thought to go.

    Args:
        gpu: of each training.
        speed: tokens a second of each.
    """

    planned: list[Planned]
    whole: Cost
    left: Cost
    gpu: float
    speed: float
    speed_source: str


def listing(plan: PaperPlan, store: ResultStore, speed: float | None) -> Listing:
    """Every training of a plan; where dev decides, any choice stands for the one it will make.

    Args:
        speed: tokens a second of one training; else as measured in those that are done, else as the scale assumes.
    """
    sizes, decided = sizes_of(plan.job), set(plan(store))
    trainings = list(dict.fromkeys(plan(SimulatedScores(store))))
    done = {training for training in trainings if store.finished(training)}
    planned = [Planned(t, tokens_of(t, sizes), t in done, t in decided) for t in trainings]
    measured = measured_speed(sorted(done, key=str), store)
    source = "as given" if speed else "as measured here" if measured else plan.scale.speed_source
    left = cost_of([training for training in trainings if training not in done], sizes)
    pace = speed or measured or plan.scale.speed
    return Listing(planned, cost_of(trainings, sizes), left, plan.job.resources_per_trial.gpu, pace, source)


def _first(size: Size, limit: int | None) -> Size:
    sentences, tokens = size
    kept = min(sentences, limit or sentences)
    return kept, round(tokens * kept / sentences)


def _stages(training: Training, sizes: Sizes) -> Iterator[tuple[object, float]]:
    """What names each stage, and its tokens."""
    settings = training.settings
    epochs = settings.max_epochs if settings.anneal == "linear" else min(settings.max_epochs, CONVERGENCE)
    if settings.regime not in ("stack", "single_aux"):
        yield training, epochs * _pass_tokens(settings, settings.auxiliaries, sizes)
        return
    alike = settings.model_copy(update={"regime": "stack", "auxiliaries": ()})
    for position, name in enumerate(settings.auxiliaries, start=1):
        yield (training.job, alike, settings.auxiliaries[:position]), epochs * _pass_tokens(settings, (name,), sizes)


def _pass_tokens(settings: TrialSettings, auxiliaries: tuple[str, ...], sizes: Sizes) -> float:
    """Tokens of one epoch: of the main corpus, and as many sentences of auxiliaries beside it."""

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
