"""The trainings of a finalize: the best settings of a search, and baselines, with fresh seeds.

Every setting is trained twice with each fresh seed: on train, to see what its dev score was worth (the best of many is
partly the luckiest), and on train+dev, to be scored on test once. What is chosen is chosen on the former.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean

from munchray.errors import InputError, Problem
from munchray.files import read_json, write_json
from munchray.finalization.budget import match_updates
from munchray.finalization.trainings import ResultStore, Scores, Training, fresh_seeds
from munchray.models.export import TrainedModel
from munchray.settings import Job, TrialSettings
from munchray.tagging.scoring import total
from munchray.training.final_evaluation import read_test, scored_on
from munchray.training.inputs import open_embedders
from munchray.tuning.folder import search_folder, search_storage, trial_folder
from munchray.tuning.lock import sync_for_reading
from munchray.tuning.ranking import ranking

CHOICE = "final.json"
BASELINES = ("single_task", "multi_task", "single_aux", "concatenation")
RULE = (
    "of the search's settings, the one with the highest mean dev F1 of its re-runs; of its trainings on train and dev, "
    "the one of the first fresh seed; the weights after the last epoch"
)


@dataclass(frozen=True)
class Contender:
    """A setting to be trained again.

    Args:
        job: whose data it trains on.
        candidates: the setting; or several, of which the re-runs on dev choose one.
        searched: its dev F1 in the search, in percent.
    """

    name: str
    job: str
    candidates: tuple[TrialSettings, ...]
    searched: float | None = None


@dataclass(frozen=True)
class FinalPlan:
    """All trainings of a finalize; a `Plan`.

    Args:
        contenders: of the search, best first.
        baselines: to compare with.
    """

    contenders: tuple[Contender, ...]
    baselines: tuple[Contender, ...]
    seeds: tuple[int, ...]

    def __call__(self, scores: Scores) -> Iterator[Training]:
        """First all on train, then all on train+dev."""
        for contender in self.all():
            for candidate in contender.candidates:
                yield from self.reruns(contender, candidate)
        for contender in self.all():
            chosen = self.chosen(contender, scores)
            if chosen:
                yield from self.retrained(contender, chosen)

    def all(self) -> tuple[Contender, ...]:
        """The contenders of the search, then the baselines."""
        return self.contenders + self.baselines

    def reruns(self, contender: Contender, settings: TrialSettings) -> list[Training]:
        """The trainings of a setting on train alone, one for each fresh seed."""
        return [Training(contender.job, settings.model_copy(update={"seed": seed})) for seed in self.seeds]

    def retrained(self, contender: Contender, settings: TrialSettings) -> list[Training]:
        """The trainings of a setting on train and dev, one for each fresh seed."""
        both = settings.model_copy(update={"trained_on": "train+dev"})
        seeded = [both.model_copy(update={"seed": seed}) for seed in self.seeds]
        return [Training(contender.job, each, (each.main,)) for each in seeded]

    def rerun_score(self, contender: Contender, settings: TrialSettings, scores: Scores) -> float | None:
        """Mean dev F1 of the re-runs; None until all have finished."""
        found = [scores.dev_score(training) for training in self.reruns(contender, settings)]
        known = [score for score in found if score is not None]
        return fmean(known) if len(known) == len(found) else None

    def chosen(self, contender: Contender, scores: Scores) -> TrialSettings | None:
        """The candidate with the highest mean dev F1, the first of equals; None until all have finished."""
        if len(contender.candidates) == 1:
            return contender.candidates[0]
        found = [self.rerun_score(contender, candidate, scores) for candidate in contender.candidates]
        if None in found:
            return None
        return max(zip(contender.candidates, found, strict=True), key=lambda pair: pair[1] or 0.0)[0]

    def by_rerun(self, scores: Scores) -> list[Contender]:
        """The contenders of the search by mean dev F1 of their re-runs, best first; ties in the order of the search."""
        found = [(self.rerun_score(c, c.candidates[0], scores) or 0.0, c) for c in self.contenders]
        return [contender for _, contender in sorted(found, key=lambda pair: -pair[0])]


def make_plan(job: Job, top: int, seeds: int, baselines: Sequence[str]) -> FinalPlan:
    """Plan the trainings for the best ``top`` settings of a job's search.

    Raises:
        InputError: nothing has finished, or less than ``top``; a baseline that is none, or that this job cannot have.
    """
    ranked = ranking(job)
    problems = [*_count_problems(job, top, seeds, len(ranked.trials)), *_baseline_problems(job, baselines)]
    if problems:
        raise InputError(*problems)
    contenders = []
    for trial in ranked.trials[:top]:
        settings = TrialSettings(**read_json(trial_folder(ranked.folder, trial.number) / "settings.json"))
        contenders.append(Contender(f"trial {trial.number:04d}", job.name, (settings,), trial.dev_f1))
    best = contenders[0].candidates[0]
    others = tuple(_baseline(job, name, best) for name in dict.fromkeys(baselines))
    return FinalPlan(tuple(contenders), others, fresh_seeds(job.seed, seeds))


def jobs_of(job: Job, plan: FinalPlan) -> dict[str, tuple[Job, tuple[str, ...]]]:
    """The jobs whose data the plan needs, by name, and what is scored; multi_task reads more splits than others."""
    multi = job.model_copy(update={"name": multi_name(job), "regime": "multi_task"})
    known = {job.name: job, multi.name: multi}
    return {contender.job: (known[contender.job], (job.main,)) for contender in plan.all()}


def final_folder(job: Job) -> Path:
    """Where a finalize keeps everything."""
    return search_folder(job) / "final"


def write_choice(job: Job, plan: FinalPlan, store: ResultStore) -> None:
    """Write ``final.json``: which model is the final one, and why."""
    winner = plan.by_rerun(store)[0]
    settings = winner.candidates[0]
    retrained = plan.retrained(winner, settings)
    chosen = {
        "winner": winner.name,
        "rule": RULE,
        "training": store.folder_of(retrained[0]).name,
        "seeds": plan.seeds,
        "test_f1": [store.test_f1(training, settings.main) for training in retrained],
    }
    write_json(store.folder / CHOICE, {**chosen, "settings": settings.model_dump(mode="json")})
    job.storage_path.within(store.folder).upload(CHOICE)


def final_model(job: Job) -> Path:
    """The folder of the final training: its ``model/`` is to be exported, ``test.json`` has its test score.

    Raises:
        InputError: the search has not been finalized.
    """
    sync_for_reading(search_storage(job))
    folder = final_folder(job)
    try:
        return folder / "trainings" / str(read_json(folder / CHOICE)["training"])
    except FileNotFoundError:
        found = "this search has not been finalized"
        raise InputError(Problem(str(folder), found, fix="Do it with: munchray finalize JOB")) from None


def final(job: Job, progress: Callable[[str], None] = lambda line: None) -> TrainedModel:
    """Open the final model, with its test score.

    Raises:
        InputError: the search has not been finalized; an embedding is missing.
    """
    training = final_model(job)
    return _trained("the final model", job, training, progress, read_json(final_folder(job) / CHOICE))


def trained_in(job: Job, training: str, progress: Callable[[str], None] = lambda line: None) -> TrainedModel:
    """Open the model of any training of a finalize by the name of its folder, with its test score if it has one.

    Raises:
        InputError: there is no such training here; an embedding is missing.
    """
    sync_for_reading(search_storage(job))
    folder = final_folder(job) / "trainings" / training
    if not (folder / "result.json").exists():
        raise InputError(Problem(str(folder), "no finished training", "the storage in which the search was finalized"))
    return _trained(f"training {training}", job, folder, progress, {})


def _trained(
    name: str, job: Job, training: Path, progress: Callable[[str], None], choice: Mapping[str, object]
) -> TrainedModel:
    job.storage_path.within(training).download("model")
    found = read_test(training).sentences if scored_on(training) else {}
    test = {corpus: asdict(total(counts)) for corpus, counts in found.items()}
    scores = {"search": job.name, **choice, "settings": read_json(training / "settings.json"), "test": test}
    return TrainedModel(name, training / "model", open_embedders(job, progress), scores)


def multi_name(job: Job) -> str:
    """The name of a job's data when all corpora are scored."""
    return f"{job.name}.multi_task"


def _count_problems(job: Job, top: int, seeds: int, finished: int) -> Iterator[Problem]:
    if not finished:
        fix = "Wait for the search, or look at it with: munchray results JOB"
        yield Problem(f"job {job.name}", "no trial of its search has finished", "at least one", fix)
    elif not 1 <= top <= finished:
        yield Problem("--top", f"{top}, but {finished} trials have finished", f"1 to {finished}")
    if seeds < 1:
        yield Problem("--seeds", f"{seeds}", "at least 1; 5 to see a spread")


def _baseline_problems(job: Job, baselines: Sequence[str]) -> Iterator[Problem]:
    for name in baselines:
        if name not in BASELINES:
            yield Problem("--baseline", f"'{name}' is no baseline", f"one of {', '.join(BASELINES)}")
        elif name == job.regime:
            yield Problem("--baseline", f"{name} is the regime of the search itself", "another regime")
        elif name != "single_task" and not job.auxiliaries:
            yield Problem("--baseline", f"{name} needs auxiliaries and the job has none", "single_task")


def _baseline(job: Job, regime: str, best: TrialSettings) -> Contender:
    """A baseline with the learning rate, batch size and other settings of the best trial, and as many updates."""
    orders: Mapping[str, tuple[tuple[str, ...], ...]] = {
        "single_task": ((),),
        "single_aux": tuple((name,) for name in job.auxiliaries),
    }
    given = best.model_dump(exclude={"regime", "auxiliaries"})
    candidates = tuple(
        match_updates(TrialSettings(**{**given, "regime": regime, "auxiliaries": order}), best)
        for order in orders.get(regime, (job.auxiliaries,))
    )
    return Contender(regime, multi_name(job) if regime == "multi_task" else job.name, candidates)
