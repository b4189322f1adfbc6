"""The registry of samplers, `SAMPLERS`, and `make_sampler`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

import optuna
from optuna.trial import FrozenTrial

from munchray.errors import InputError, Problem, nearest
from munchray.samplers.base import NonRepeatingSampler, Outcome, SpaceExhausted
from munchray.samplers.order_gp import OrderGPSampler
from munchray.samplers.search_space import MAX_LISTED_ORDERS, Setting, SpaceEncoding
from munchray.samplers.sorted_orders import SortedOrderSampler

__all__ = ["SAMPLERS", "NonRepeatingSampler", "SpaceExhausted", "make_sampler"]

OTHER = "Or use sampler: random or tpe"
TPE_DRAWS = 10  # a proposal costs milliseconds and a line in the journal


class RandomSampler(NonRepeatingSampler):
    """Random search without repeats."""

    def candidates(self, study: optuna.Study, trial: FrozenTrial) -> Iterator[Setting]:
        """Random settings."""
        return self.random_settings(trial)


class TpeSampler(NonRepeatingSampler):
    """Optuna's tree-structured Parzen estimator (Bergstra et al. 2011) over all parameters jointly, without repeats.

    Running trials count as poor ones.
    """

    def candidates(self, study: optuna.Study, trial: FrozenTrial) -> Iterator[Setting]:
        """Proposals of the model once ten trials have ended, then random settings."""
        model = optuna.samplers.TPESampler(seed=self.seed_of(trial))
        space = self.encoding.distributions
        for _ in range(TPE_DRAWS):
            proposal = model.sample_relative(study, trial, space)
            if not proposal:
                break
            yield self.encoding.decode(proposal)
        yield from self.random_settings(trial)


class GridSampler(NonRepeatingSampler):
    """Grid search: every setting once, in an order shuffled by the seed.

    Raises:
        InputError: a continuous range, or more orders than can be listed.
    """

    def __init__(self, encoding: SpaceEncoding, seed: int) -> None:
        super().__init__(encoding, seed)
        found, expected = "a continuous range cannot be walked as a grid", "choices, or a range with a step"
        problems = [Problem(name, found, expected, OTHER) for name in encoding.continuous_axes]
        if encoding.num_orders > MAX_LISTED_ORDERS:
            found = f"{encoding.num_orders:,} orders are too many for a grid"
            problems.append(Problem("order", found, f"at most {MAX_LISTED_ORDERS:,}", OTHER))
        if problems:
            raise InputError(*problems)

    def candidates(self, study: optuna.Study, trial: FrozenTrial) -> Iterator[Setting]:
        """All settings, in the same sequence for every trial."""
        return iter(self._sequence)

    @cached_property
    def _sequence(self) -> list[Setting]:
        return self.shuffled_settings(self.seed)


SAMPLERS: Mapping[str, type[NonRepeatingSampler]] = {
    "order_gp": OrderGPSampler,
    "tpe": TpeSampler,
    "random": RandomSampler,
    "grid": GridSampler,
    "sorted": SortedOrderSampler,
}


def make_sampler(name: str, encoding: SpaceEncoding, seed: int, earlier: Sequence[Outcome] = ()) -> NonRepeatingSampler:
    """Create a sampler by its name in `SAMPLERS`; cheap enough to validate a job by.

    Args:
        earlier: completed trials of other studies, from which only ``order_gp`` learns.

    Raises:
        InputError: no such sampler, or it cannot search this space.
    """
    if name not in SAMPLERS:
        raise InputError(Problem("sampler", f"there is no '{name}'", fix=nearest(name, SAMPLERS)))
    return OrderGPSampler(encoding, seed, earlier) if name == "order_gp" else SAMPLERS[name](encoding, seed)
