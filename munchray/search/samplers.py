"""Optuna samplers that know what a setting is: orders always allowed, nothing tried twice, the same after a reload.

They work with plain Optuna too: ``optuna.create_study(sampler=...)`` and ``study.ask(encoding.distributions)``.
"""

from __future__ import annotations

import random
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from munchray.errors import InputError, Problem, nearest
from munchray.files import digest
from munchray.search.encoding import MOST_ORDERS_LISTED, Encoding, Identity, identity

RANDOM_DRAWS = 1_000  # if all of them were tried before, little is left and listing the rest is cheap
OTHER = "Or use sampler: random or tpe"
TPE_DRAWS = 10  # a proposal costs milliseconds and a line in the journal


class SpaceExhausted(Exception):  # noqa: N818  (an end, not an error)
    """Every setting of the space has been tried."""


class UnseenSampler(BaseSampler):  # type: ignore[misc]  # optuna is not typed for us
    """What all our samplers share: the first of `candidates` that no trial has.

    A setting whose trial failed is tried once more, after everything that was never tried. Randomness comes from
    the seed and the trial's number alone, so a reloaded search goes on as if it had never stopped.
    """

    def __init__(self, encoding: Encoding, seed: int) -> None:
        self.encoding = encoding
        self.seed = seed

    @abstractmethod
    def candidates(self, study: optuna.Study, trial: FrozenTrial) -> Iterator[dict[str, Any]]:
        """Settings to try, best first; sooner or later every setting of a finite space."""

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The whole space: everything is drawn jointly."""
        return self.encoding.distributions

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The parameters of a setting that no other trial has; parameters enqueued by hand stay as they are.

        Raises:
            SpaceExhausted: there is none; the trial that asked is marked failed.
        """
        enqueued = trial.system_attrs.get("fixed_params", {})
        if enqueued.keys() >= search_space.keys():
            return dict(enqueued)
        for taken in self._taken(study, trial):
            if not self._all_in(taken):
                for setting in self.candidates(study, trial):
                    params = {**self.encoding.encode(setting), **enqueued}
                    if identity(self.encoding.decode(params)) not in taken:
                        return params
        study.tell(trial.number, state=TrialState.FAIL)
        raise SpaceExhausted(f"all {self.encoding.size} settings of the search space were tried")

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Only reached by parameters that the space does not know."""
        raise ValueError(f"'{param_name}' is not in the search space: {', '.join(self.encoding.distributions)}")

    def exhausted(self, study: optuna.Study) -> bool:
        """Whether no trial can be suggested any more."""
        return all(map(self._all_in, self._taken(study, None)))

    def seed_of(self, trial: FrozenTrial) -> int:
        """The seed (32 bits) of all that is random about this trial's suggestion."""
        return int(digest("suggestion", str(self.seed), str(trial.number))[:8], 16)

    def shuffled_settings(self, seed: int) -> list[dict[str, Any]]:
        """Every setting of a finite space, shuffled."""
        settings = list(self.encoding.settings())
        random.Random(seed).shuffle(settings)
        return settings

    def _all_in(self, taken: set[Identity]) -> bool:
        return self.encoding.size is not None and len(taken) >= self.encoding.size

    def _taken(self, study: optuna.Study, asking: FrozenTrial | None) -> tuple[set[Identity], set[Identity]]:
        """Settings that any trial has, and those not even to be tried once more: the others failed only once."""
        tries: Counter[Identity] = Counter()
        lasting = set()
        for trial in study.get_trials(deepcopy=False):
            params = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
            if (asking and trial.number == asking.number) or not params.keys() >= self.encoding.distributions.keys():
                continue
            setting = identity(self.encoding.decode(params))
            tries[setting] += 1
            if trial.state != TrialState.FAIL:
                lasting.add(setting)
        return set(tries), lasting | {setting for setting, count in tries.items() if count > 1}


class Random(UnseenSampler):
    """Every setting alike."""

    def candidates(self, study: optuna.Study, trial: FrozenTrial) -> Iterator[dict[str, Any]]:
        """Independent draws; when those only repeat, all settings shuffled."""
        draws = self.encoding.draws(self.seed_of(trial))
        yield from (next(draws) for _ in range(RANDOM_DRAWS))
        yield from draws if self.encoding.size is None else self.shuffled_settings(self.seed_of(trial))


class Tpe(Random):
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
        yield from super().candidates(study, trial)


class Grid(UnseenSampler):
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


SAMPLERS: Mapping[str, type[UnseenSampler]] = {"random": Random, "tpe": Tpe, "grid": Grid}


def make_sampler(name: str, encoding: Encoding, seed: int) -> UnseenSampler:
    """The sampler of that name; cheap, so that a job is checked by making it.

    Raises:
        InputError: no such sampler, or the space is not for it.
    """
    if name not in SAMPLERS:
        raise InputError(Problem("sampler", f"there is no '{name}'", fix=nearest(name, SAMPLERS)))
    return SAMPLERS[name](encoding, seed)


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
