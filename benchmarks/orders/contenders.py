"""The samplers compared, and what one of them finds on one landscape."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import optuna

from munchray.orders import OrderRule
from munchray.samplers.base import STAGES, NonRepeatingSampler
from munchray.samplers.order_gp import OrderGp
from munchray.samplers.order_kernels import Mallows, Term
from munchray.samplers.registry import SpaceExhausted, make_sampler
from munchray.samplers.search_space import Encoding
from munchray.settings.dimensions import OrderSpace
from munchray.settings.space import SearchSpace

MOST_TRIALS = 4  # times the budget, for samplers whose trials train few stages


class Costless(OrderGp):
    """Looks at what stages scored, not at what they cost."""

    stage_weight = 0.0


class PerStage(OrderGp):
    """The expected improvement divided by the stages left to train."""

    stage_weight = 1.0


class OnlyMallows(OrderGp):
    """With the Mallows kernel alone."""

    def _terms(self, lengths_vary: bool) -> list[Term]:
        return [Mallows(self._codec.longest)]


@dataclass(frozen=True)
class Contender:
    """A way to search.

    Args:
        make: the sampler.
        tells_stages: whether it hears what the beginnings of an order scored.
        shortest: the shortest order it may try; None for whole orders only.
    """

    make: Callable[[Encoding, int], NonRepeatingSampler]
    tells_stages: bool = False
    shortest: int | None = None


def named(name: str) -> Callable[[Encoding, int], NonRepeatingSampler]:
    """The sampler that users choose by this name."""
    return lambda encoding, seed: make_sampler(name, encoding, seed)


CONTENDERS: dict[str, Contender] = {
    "random": Contender(named("random")),
    "tpe": Contender(named("tpe")),
    "sorted": Contender(named("sorted"), tells_stages=True, shortest=1),
    "mallows": Contender(OnlyMallows),
    "order_gp, trials only": Contender(named("order_gp")),
    "order_gp, costless": Contender(Costless, tells_stages=True),
    "order_gp, per stage": Contender(PerStage, tells_stages=True),
    "order_gp": Contender(named("order_gp"), tells_stages=True),
}


class Scores(Protocol):
    """What every order and each of its beginnings scores; orders are of numbers below ``count``."""

    count: int
    best: float

    def score(self, order: Sequence[int]) -> float:
        """What a search sees."""

    def value(self, order: Sequence[int]) -> float:
        """What it is truly worth; ``best`` is the highest value of an order of all."""


@dataclass(frozen=True)
class Step:
    """After a trial: stages trained so far, each beginning once; how far the best seen is from the best there is."""

    stages: int
    regret: float


def search(contender: Contender, scores: Scores, seed: int, trials: int, stages: int) -> list[Step]:
    """One search until it has had so many trials and trained so many stages, or has tried everything."""
    encoding = _encoding(scores.count, contender.shortest)
    study = optuna.create_study(direction="maximize", sampler=contender.make(encoding, seed))
    trained: dict[tuple[int, ...], float] = {}
    steps: list[Step] = []
    best = (-float("inf"), 0.0)
    while len(steps) < trials or (steps[-1].stages < stages and len(steps) < MOST_TRIALS * trials):
        try:
            trial = study.ask(encoding.distributions)
        except SpaceExhausted:
            break
        order = tuple(map(int, encoding.decode(trial.params)["order"]))
        beginnings = [order[:length] for length in range(1, len(order) + 1)]
        trained.update((each, scores.score(each)) for each in beginnings if each not in trained)
        if contender.tells_stages:
            trial.set_user_attr(STAGES, [[len(each), trained[each]] for each in beginnings])
        study.tell(trial, trained[order])
        best = max(best, (trained[order], scores.value(order)))
        steps.append(Step(len(trained), scores.best - best[1]))
    return steps


def _encoding(count: int, shortest: int | None) -> Encoding:
    names = [str(item) for item in range(count)]
    return Encoding(SearchSpace(order=OrderSpace(min_length=shortest)), OrderRule({}), names)
