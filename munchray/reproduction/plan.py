"""The paper's experiments (sections 4 and 5) as trainings: what is tuned on dev, what is chosen, what is tested.

Every corpus in turn is main and the others are its auxiliaries. A *model* is a regime with a way to choose its
auxiliaries: SingleAux takes the one that is best on dev, Iteration and Stack a random order that obeys the order rule
(a new one for every seed), their sorted variants the ascending order of the single_aux models with the same learning
rate and batch size. Learning rate and batch size are those of the grid that are best on dev, after training on train
with the job's seed; tests are of trainings on train and dev with fresh seeds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from munchray.errors import InputError, Problem
from munchray.finalization.budget import as_long_as
from munchray.finalization.trainings import Scores, Training, fresh_seeds
from munchray.orders import Order, OrderRule, ascending
from munchray.reproduction.published import Cell
from munchray.reproduction.scales import Scale
from munchray.seeds import generator
from munchray.settings import Choices, Job, Range, TrialSettings

MODELS = ("single_task", "multi_task", "single_aux", "concatenation", "iteration", "stack")
SORTED = ("iteration_sorted", "stack_sorted")
TABLES: Mapping[int, tuple[str, ...]] = {
    2: MODELS,
    3: ("single_aux", *SORTED),
    4: (*MODELS[4:], *SORTED),
    6: MODELS[4:],
}
"""The models of each table; the trainings of one are used by all."""

ALL = "all corpora"
"""The job of MultiTask: one model for every corpus."""


@dataclass(frozen=True)
class Choice:
    """Where a training of a model stands: batch size and learning rate, and auxiliaries if dev chose them."""

    cell: Cell
    order: Order | None = None


@dataclass(frozen=True)
class PaperPlan:
    """All trainings of some tables; a `Plan`.

    Args:
        job: for its corpora, embeddings, settings, grid and seed.
        mains: in the order of the tables.
        tables: which ones.
        seeds: how many fresh ones.
    """

    job: Job
    scale: Scale
    mains: tuple[str, ...]
    tables: tuple[int, ...]
    seeds: int

    def __call__(self, scores: Scores) -> Iterator[Training]:
        """For each main corpus what decides, then what is tested."""
        if 3 in self.tables:
            yield from self._dev_table(scores)
        models = [m for m in (*MODELS, *SORTED) if any(m in TABLES[table] for table in self.tables if table != 3)]
        for main in self.mains:
            for model in models:
                yield from self.deciding(main, model, scores)
                yield from self.tests(main, model, scores)

    @property
    def corpora(self) -> tuple[str, ...]:
        """All of the job's."""
        return (self.job.main, *self.job.auxiliaries)

    @cached_property
    def grid(self) -> tuple[Cell, ...]:
        """Batch sizes and learning rates of the job's search space.

        Raises:
            InputError: a range that cannot be listed.
        """
        space, job = self.job.search_space, self.job
        sizes = _points("batch_size", space.batch_size, job.batch_size)
        rates = _points("learning_rate", space.learning_rate, job.learning_rate)
        return tuple((int(size), float(rate)) for size in sizes for rate in rates)

    @property
    def cells(self) -> tuple[Cell, ...]:
        """What models are tuned over."""
        return self.grid if self.scale.tuned else self.grid[:1]

    @cached_property
    def test_seeds(self) -> tuple[int, ...]:
        """None of them is the seed that dev chooses with."""
        return fresh_seeds(self.job.seed, self.seeds)

    def jobs(self) -> dict[str, tuple[Job, tuple[str, ...]]]:
        """The jobs whose data is needed, by name, and the corpora that their trainings are scored on."""
        made = {main: (self._job(main, main, "stack"), (main,)) for main in self._used_mains()}
        if all("multi_task" not in TABLES[table] for table in self.tables):
            return dict(made)
        return {**made, ALL: (self._job(ALL, self.job.main, "multi_task"), self.mains)}

    def deciding(self, main: str, model: str, scores: Scores) -> Iterator[Training]:
        """The trainings on train whose dev scores decide about a model, as far as they can be named."""
        if model in SORTED:
            yield from self.singles(main, self.cells)
        choices = self.choices(main, model, self.cells, scores)
        if len(self.cells) > 1 or model == "single_aux":
            yield from (self.training(main, model, choice, self.job.seed) for choice in choices)

    def tests(self, main: str, model: str, scores: Scores) -> list[Training]:
        """The trainings on train and dev, one a fresh seed; none until dev has decided."""
        chosen = self.chosen(main, model, scores)
        if chosen is None:
            return []
        return [self.training(main, model, chosen, seed, "train+dev") for seed in self.test_seeds]

    def chosen(self, main: str, model: str, scores: Scores) -> Choice | None:
        """The choice with the best dev score, the first of equals; None until it is known."""
        choices = self.choices(main, model, self.cells, scores)
        expected = len(self.cells) * (len(self._others(main)) if model == "single_aux" else 1)
        if len(choices) < expected:
            return None
        if expected == 1:
            return choices[0]
        found = [scores.dev_score(self.training(main, model, choice, self.job.seed)) for choice in choices]
        known = [score for score in found if score is not None]
        return choices[known.index(max(known))] if len(known) == len(found) else None

    def choices(self, main: str, model: str, cells: Sequence[Cell], scores: Scores) -> list[Choice]:
        """What dev chooses between; a sorted model's cells only once their orders are known."""
        if model == "single_aux":
            return [Choice(cell, (name,)) for cell in cells for name in self._others(main)]
        if model not in SORTED:
            return [Choice(cell) for cell in cells]
        orders = [(cell, self.sorted_order(main, cell, scores)) for cell in cells]
        return [Choice(cell, order) for cell, order in orders if order]

    def singles(self, main: str, cells: Sequence[Cell]) -> list[Training]:
        """A single_aux model for every auxiliary and cell."""
        return [
            self.training(main, "single_aux", Choice(cell, (name,)), self.job.seed)
            for cell in cells
            for name in self._others(main)
        ]

    def sorted_order(self, main: str, cell: Cell, scores: Scores) -> Order | None:
        """Ascending dev scores of the single_aux models of a cell; None until all are known."""
        found = {t.settings.auxiliaries[0]: scores.dev_score(t) for t in self.singles(main, [cell])}
        known = {name: score for name, score in found.items() if score is not None}
        return ascending(known) if len(known) == len(found) else None

    def random_order(self, main: str, seed: int) -> Order:
        """A random order in which neighbours differ in type: every such order alike.

        Raises:
            InputError: there is none.
        """
        names = self._others(main)
        rule = OrderRule(self.job.entity_types(), adjacent_differ=True)
        if not rule.count(names, len(names)):
            found = f"the auxiliaries of {main} have no order in which neighbours differ in type"
            raise InputError(Problem(f"job {self.job.name}", found, "at least one such order"))
        rng = generator("random order", main, seed, *names)
        while True:
            order = tuple(names[position] for position in rng.permutation(len(names)))
            if rule.allows(order):
                return order

    def training(self, main: str, model: str, choice: Choice, seed: int, trained_on: str = "train") -> Training:
        """One training of a model."""
        regime = model.removesuffix("_sorted")
        first = self.job.main if regime == "multi_task" else main
        size, rate = choice.cell
        settings = {
            **{name: getattr(self.job, name) for name in TrialSettings.model_fields if name != "trained_on"},
            "main": first,
            "regime": regime,
            "auxiliaries": choice.order or self._order(first, regime, seed),
            "batch_size": size,
            "learning_rate": rate,
            "seed": seed,
            "trained_on": trained_on,
        }
        name, tests = (ALL, self.mains) if regime == "multi_task" else (main, (main,))
        alone = TrialSettings(**settings)
        longest = alone.model_copy(update={"regime": "stack", "auxiliaries": self.job.auxiliaries})
        return Training(name, as_long_as(alone, longest), () if trained_on == "train" else tests)

    def _order(self, main: str, regime: str, seed: int) -> Order:
        if regime == "single_task":
            return ()
        return self.random_order(main, seed) if regime in ("iteration", "stack") else self._others(main)

    def _dev_table(self, scores: Scores) -> Iterator[Training]:
        main = self.scale.dev_main
        yield from self.singles(main, self.grid)
        for model in SORTED:
            for choice in self.choices(main, model, self.grid, scores):
                yield self.training(main, model, choice, self.job.seed)

    def _others(self, main: str) -> Order:
        return tuple(name for name in self.corpora if name != main)

    def _used_mains(self) -> list[str]:
        for_dev = [self.scale.dev_main] if 3 in self.tables else []
        return list(dict.fromkeys([*for_dev, *(self.mains if self.tables != (3,) else ())]))

    def _job(self, name: str, main: str, regime: str) -> Job:
        update = {"name": name, "main": main, "auxiliaries": self._others(main), "regime": regime}
        return self.job.model_copy(update=update)


def make_plan(job: Job, scale: Scale, mains: Sequence[str], tables: Sequence[int], seeds: int) -> PaperPlan:
    """A plan whose parts fit together.

    Args:
        mains: those of the scale if none are named.

    Raises:
        InputError: a main corpus that the job does not have; a grid that cannot be listed; no seed; too few corpora.
    """
    corpora = (job.main, *job.auxiliaries)
    chosen = tuple(mains) or tuple(name for name in scale.mains if name in corpora)
    problems = [Problem("--main", f"{name} is no corpus of the job", ", ".join(corpora)) for name in chosen]
    problems = [problem for problem, name in zip(problems, chosen, strict=True) if name not in corpora]
    if not chosen:
        problems.append(Problem("--main", "none of the scale's main corpora is in the job", ", ".join(corpora)))
    if len(corpora) < 3:
        problems.append(Problem(f"job {job.name}", f"{len(corpora)} corpora", "main and at least two auxiliaries"))
    if seeds < 1:
        problems.append(Problem("--seeds", f"{seeds}", "at least 1; 3 to see a spread"))
    if problems:
        raise InputError(*problems)
    if mains or scale.dev_main not in corpora:
        scale = replace(scale, dev_main=scale.dev_main if scale.dev_main in chosen else chosen[0])
    plan = PaperPlan(job, scale, chosen, tuple(tables), seeds)
    _ = plan.grid  # raises if it cannot be listed
    return plan


def _points(name: str, dimension: Choices | Range | None, fixed: float) -> tuple[float, ...]:
    points = (fixed,) if dimension is None else dimension.points()
    if points is None:
        raise InputError(Problem(f"search_space.{name}", "a range cannot be tuned over", "a list of values"))
    return points
