"""The samplers that are compared, and one search by one of them on one landscape."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import optuna

from munchray.orders import OrderRule
from munchray.samplers.base import STAGES, NonRepeatingSampler
from munchray.samplers.order_gp import OrderGPSampler
from munchray.samplers.order_kernels import MallowsTerm, OrderTerm
from munchray.samplers.registry import SpaceExhausted, make_sampler
from munchray.samplers.search_space import SpaceEncoding
from munchray.settings.dimensions import OrderSpace
from munchray.settings.space import SearchSpace

MAX_BUDGETS = 4  # times the trials, for samplers whose trials train few stages


class CostBlindSampler(OrderGPSampler):
    """Ignores the cost of stages; learns from their scores."""

    stage_weight = 0.0


class PerStageSampler(OrderGPSampler):
    """Expected improvement divided by the stages left to train."""

    stage_weight = 1.0


class MallowsSampler(OrderGPSampler):
    """The Mallows kernel alone."""

    def kernel_terms(self, lengths_vary: bool) -> list[OrderTerm]:
        """The Mallows kernel."""
        return [MallowsTerm(self.encoding.lengths[-1])]


@dataclass(frozen=True)
class Contender:
    """A way to search.

    Args:
        make: creates the sampler.
        reports_stages: whether trials report the scores of their orders' prefixes.
        min_length: of the orders it may try; None for whole orders only.
    """

    make: Callable[[SpaceEncoding, int], NonRepeatingSampler]
    reports_stages: bool = False
    min_length: int | None = None


def registered(name: str) -> Callable[[SpaceEncoding, int], NonRepeatingSampler]:
    """The sampler that users choose by this name."""
    return lambda encoding, seed: make_sampler(name, encoding, seed)


CONTENDERS: dict[str, Contender] = {
    "random": Contender(registered("random")),
    "tpe": Contender(registered("tpe")),
    "sorted": Contender(registered("sorted"), reports_stages=True, min_length=1),
    "mallows": Contender(MallowsSampler),
    "order_gp, trials only": Contender(registered("order_gp")),
    "order_gp, costless": Contender(CostBlindSampler, reports_stages=True),
    "order_gp, per stage": Contender(PerStageSampler, reports_stages=True),
    "order_gp": Contender(registered("order_gp"), reports_stages=True),
}


class Objective(Protocol):
    """Scores of all orders and their prefixes; orders are of numbers below ``count``."""

    count: int
    best: float

    def score(self, order: Sequence[int]) -> float:
        """The score that a search observes."""

    def value(self, order: Sequence[int]) -> float:
        """The true value; ``best`` is the highest value of an order of all."""


@dataclass(frozen=True)
class Step:
    """State after a trial: distinct stages trained so far, and the regret of the order with the best score so far."""

    stages: int
    regret: float


def search(contender: Contender, objective: Objective, seed: int, trials: int, stages: int) -> list[Step]:
    """Search until this many trials have run and this many stages are trained, or the space is exhausted."""
    encoding = _encoding(objective.count, contender.min_length)
    study = optuna.create_study(direction="maximize", sampler=contender.make(encoding, seed))
    trained: dict[tuple[int, ...], float] = {}
    steps: list[Step] = []
    best = (-float("inf"), 0.0)
    while len(steps) < trials or (steps[-1].stages < stages and len(steps) < MAX_BUDGETS * trials):
        try:
            trial = study.ask(encoding.distributions)
        except SpaceExhausted:
            break
        order = tuple(map(int, encoding.decode(trial.params)["order"]))
        prefixes = [order[:length] for length in range(1, len(order) + 1)]
        trained.update((each, objective.score(each)) for each in prefixes if each not in trained)
        if contender.reports_stages:
            trial.set_user_attr(STAGES, [[len(each), trained[each]] for each in prefixes])
        study.tell(trial, trained[order])
        best = max(best, (trained[order], objective.value(order)))
        steps.append(Step(len(trained), objective.best - best[1]))
    return steps


def _encoding(count: int, min_length: int | None) -> SpaceEncoding:
    names = [str(item) for item in range(count)]
    return SpaceEncoding(SearchSpace(order=OrderSpace(min_length=min_length)), OrderRule({}), names)
