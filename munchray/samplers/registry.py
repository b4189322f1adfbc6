"""The samplers by name: what to try next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import optuna
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial

from munchray.errors import InputError, Problem, nearest
from munchray.samplers.base import NonRepeatingSampler, Outcome, SpaceExhausted
from munchray.samplers.order_gp import OrderGp
from munchray.samplers.search_space import MOST_ORDERS_LISTED, Encoding
from munchray.samplers.sorted_orders import Sorted

__all__ = ["SAMPLERS", "NonRepeatingSampler", "SpaceExhausted", "make_sampler"]

OTHER = "Or use sampler: random or tpe"
TPE_DRAWS = 10  # a proposal costs milliseconds and a line in the journal


class Random(NonRepeatingSampler):
    """Every setting alike."""

    def candidates(self, study: optuna.Study, trial: FrozenTrial) -> Iterator[dict[str, Any]]:
        """Independent draws; when those only repeat, all settings shuffled."""
        return self.random_settings(trial)


class Tpe(NonRepeatingSampler):
    """Optuna's tree-structured Parzen estimator over all parameters jointly, pending trials counted as poor."""

    def candidates(self, study: optuna.Study, trial: FrozenTrial) -> Iterator[dict[str, Any]]:
        """Proposals of the model once ten trials have ended; before that, and when those only repeat, as `Random`."""
        model = TPESampler(seed=self.seed_of(trial))
        space = self.encoding.distributions
        for _ in range(TPE_DRAWS):
            proposal = model.sample_relative(study, trial, space)
            if not proposal:
                break
            yield self.encoding.decode(proposal)
        yield from self.random_settings(trial)


class Grid(NonRepeatingSampler):
    """Every setting once, in an order shuffled by the seed.

    Raises:
        InputError: a continuous range, or more orders than can be listed.
    """

    def __init__(self, encoding: Encoding, seed: int) -> None:
        super().__init__(encoding, seed)
        problems = _not_listable(encoding)
        if problems:
            raise InputError(*problems)

    def candidates(self, study: optuna.Study, trial: FrozenTrial) -> Iterator[dict[str, Any]]:
        """All settings, the same sequence for every trial."""
        return iter(self.sequence)

    @cached_property
    def sequence(self) -> list[dict[str, Any]]:
        """All settings as they will be tried."""
        return self.shuffled_settings(self.seed)


SAMPLERS: Mapping[str, type[NonRepeatingSampler]] = {
    "order_gp": OrderGp,
    "tpe": Tpe,
    "random": Random,
    "grid": Grid,
    "sorted": Sorted,
}


def make_sampler(name: str, encoding: Encoding, seed: int, earlier: Sequence[Outcome] = ()) -> NonRepeatingSampler:
    """The sampler of that name; cheap, so that a job is checked by making it.

    Args:
        earlier: trials of other studies, from which only ``order_gp`` learns.

    Raises:
        InputError: no such sampler, or the space is not for it.
    """
    if name not in SAMPLERS:
        raise InputError(Problem("sampler", f"there is no '{name}'", fix=nearest(name, SAMPLERS)))
    return OrderGp(encoding, seed, earlier) if name == "order_gp" else SAMPLERS[name](encoding, seed)


def _not_listable(encoding: Encoding) -> list[Problem]:
    problems = [
        Problem(name, "a continuous range cannot be walked as a grid", "choices, or a range with a step", OTHER)
        for name, axis in encoding.axes.items()
        if axis.points() is None
    ]
    if encoding.orders > MOST_ORDERS_LISTED:
        found = f"{encoding.orders:,} orders are too many for a grid"
        problems.append(Problem("order", found, f"at most {MOST_ORDERS_LISTED:,}", OTHER))
    return problems
