"""The paper's experiments (sections 4 and 5) as trainings: tuned and selected on dev, then tested.

Each corpus in turn is main and the others are its auxiliaries. A *model* is a regime with a way to choose its
auxiliaries: SingleAux takes the one that is best on dev, Iteration and Stack a random order that satisfies the order
rule (a new one for every seed), their sorted variants the ascending order of the single_aux models with the same
learning rate and batch size. Learning rate and batch size are the grid's best on dev, after training on train with the
job's seed; test scores are those of trainings on train and dev with fresh seeds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from munchray.errors import InputError, Problem
from munchray.finalization.budget import match_updates
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
"""The models of each table; tables share trainings."""

ALL = "all corpora"
"""Name of the job of multi_task, which trains one model for all corpora."""


@dataclass(frozen=True)
class Choice:
    """A grid cell (batch size and learning rate), and the auxiliaries where dev selects them."""

    cell: Cell
    order: Order | None = None


@dataclass(frozen=True)
class PaperPlan:
    """All trainings of some tables; a `Plan`.

    Args:
        job: gives corpora, embeddings, settings, grid and seed.
        mains: main corpora, in the order of the tables.
        tables: numbers of the tables.
        seeds: number of fresh seeds.
    """

    job: Job
    scale: Scale
    mains: tuple[str, ...]
    tables: tuple[int, ...]
    seeds: int

    def __call__(self, scores: Scores) -> Iterator[Training]:
        """For each main corpus the trainings that dev selects from, then the tested ones."""
        if 3 in self.tables:
            yield from self._dev_table(scores)
        models = [m for m in (*MODELS, *SORTED) if any(m in TABLES[table] for table in self.tables if table != 3)]
        for main in self.mains:
            for model in models:
                yield from self.tuning_trainings(main, model, scores)
                yield from self.test_trainings(main, model, scores)

    @property
    def corpora(self) -> tuple[str, ...]:
        """All corpora of the job."""
        return (self.job.main, *self.job.auxiliaries)

    @cached_property
    def grid(self) -> tuple[Cell, ...]:
        """Batch sizes and learning rates of the job's search space.

        Raises:
            InputError: a continuous range, which has no grid.
        """
        space, job = self.job.search_space, self.job
        sizes = _points("batch_size", space.batch_size, job.batch_size)
        rates = _points("learning_rate", space.learning_rate, job.learning_rate)
        return tuple((int(size), float(rate)) for size in sizes for rate in rates)

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The grid cells that models are tuned over."""
        return self.grid if self.scale.tuned else self.grid[:1]

    @cached_property
    def test_seeds(self) -> tuple[int, ...]:
        """Fresh seeds; none equals the job's, with which models are selected on dev."""
        return fresh_seeds(self.job.seed, self.seeds)

    def jobs(self) -> dict[str, tuple[Job, tuple[str, ...]]]:
        """The jobs whose data is needed, by name, and the corpora that their trainings are scored on."""
        made = {main: (self._job(main, main, "stack"), (main,)) for main in self._used_mains()}
        if all("multi_task" not in TABLES[table] for table in self.tables):
            return dict(made)
        return {**made, ALL: (self._job(ALL, self.job.main, "multi_task"), self.mains)}

    def tuning_trainings(self, main: str, model: str, scores: Scores) -> Iterator[Training]:
        """The trainings on train whose dev scores select a model's settings, as far as they are determined."""
        if model in SORTED:
            yield from self.single_aux_trainings(main, self.cells)
        choices = self.choices(main, model, self.cells, scores)
        if len(self.cells) > 1 or model == "single_aux":
            yield from (self.training(main, model, choice, self.job.seed) for choice in choices)

    def test_trainings(self, main: str, model: str, scores: Scores) -> list[Training]:
        """The trainings on train and dev, one per fresh seed; empty until the choice is known."""
        chosen = self.chosen(main, model, scores)
        if chosen is None:
            return []
        return [self.training(main, model, chosen, seed, "train+dev") for seed in self.test_seeds]

    def chosen(self, main: str, model: str, scores: Scores) -> Choice | None:
        """The choice with the best dev score, the first of ties; None until it is known."""
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
        """The choices to select from on dev; those of a sorted model only for cells whose order is known."""
        if model == "single_aux":
            return [Choice(cell, (name,)) for cell in cells for name in self._others(main)]
        if model not in SORTED:
            return [Choice(cell) for cell in cells]
        orders = [(cell, self.sorted_order(main, cell, scores)) for cell in cells]
        return [Choice(cell, order) for cell, order in orders if order]

    def single_aux_trainings(self, main: str, cells: Sequence[Cell]) -> list[Training]:
        """The trainings of single_aux for every auxiliary and cell."""
        return [
            self.training(main, "single_aux", Choice(cell, (name,)), self.job.seed)
            for cell in cells
            for name in self._others(main)
        ]

    def sorted_order(self, main: str, cell: Cell, scores: Scores) -> Order | None:
        """Ascending dev scores of the single_aux models of a cell; None until all are known."""
        found = {t.settings.auxiliaries[0]: scores.dev_score(t) for t in self.single_aux_trainings(main, [cell])}
        known = {name: score for name, score in found.items() if score is not None}
        return ascending(known) if len(known) == len(found) else None

    def random_order(self, main: str, seed: int) -> Order:
        """Draw uniformly from the orders in which neighbours differ in type.

        Raises:
            InputError: there is no such order.
        """
        names = self._others(main)
        rule = OrderRule(self.job.entity_types(), adjacent_differ=True)
        if not rule.count(names, len(names)):
            found = f"the auxiliaries of {main} have no order in which neighbours differ in type"
            raise InputError(Problem(f"job {self.job.name}", found, "at least one such order"))
        rng = generator("random order", main, seed, *names)
        while True:
            order = tuple(names[index] for index in rng.permutation(len(names)))
            if rule.allows(order):
                return order

    def training(self, main: str, model: str, choice: Choice, seed: int, trained_on: str = "train") -> Training:
        """One training of a model; a fixed-length training makes as many updates as Stack."""
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
        return Training(name, match_updates(alone, longest), () if trained_on == "train" else tests)

    def _order(self, main: str, regime: str, seed: int) -> Order:
        if regime == "single_task":
            return ()
        return self.random_order(main, seed) if regime in ("iteration", "stack") else self._others(main)

    def _dev_table(self, scores: Scores) -> Iterator[Training]:
        main = self.scale.dev_main
        yield from self.single_aux_trainings(main, self.grid)
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
    """Build and validate a plan.

    Args:
        mains: main corpora; by default those of the scale.

    Raises:
        InputError: a main corpus that the job does not have; a continuous range; no seed; too few corpora.
    """
    corpora = (job.main, *job.auxiliaries)
    chosen = tuple(mains) or tuple(name for name in scale.mains if name in corpora)
    problems = [Problem("--main", f"{name} is not a corpus of the job", ", ".join(corpora)) for name in chosen]
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
    _ = plan.grid  # raises for a continuous range
    return plan


def _points(name: str, dimension: Choices | Range | None, fixed: float) -> tuple[float, ...]:
    points = (fixed,) if dimension is None else dimension.points()
    if points is None:
        raise InputError(Problem(f"search_space.{name}", "a range cannot be tuned over", "a list of values"))
    return points
