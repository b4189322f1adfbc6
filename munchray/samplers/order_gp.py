"""Bayesian optimization of orders: a sampler with a Gaussian process over orders and the other parameters.

In plain Optuna, without anything else of munchray (the example is run by tests/test_order_gp.py):

    import optuna
    from munchray.orders import OrderRule
    from munchray.samplers.order_gp import OrderGPSampler
    from munchray.samplers.search_space import SpaceEncoding
    from munchray.settings import SearchSpace

    space = SearchSpace(learning_rate=[0.1, 0.05], order={"of": "auxiliaries"})
    encoding = SpaceEncoding(space, OrderRule({}), ["a", "b", "c", "d"])
    study = optuna.create_study(direction="maximize", sampler=OrderGPSampler(encoding, seed=1))
    for _ in range(15):
        trial = study.ask(encoding.distributions)
        study.tell(trial, encoding.decode(trial.params)["order"].index("c"))
    print(encoding.decode(study.best_params)["order"])
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import islice

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from munchray.errors import InputError, Problem
from munchray.files import digest
from munchray.samplers.acquisition import CostAwareLogEI, RemainingStages
from munchray.samplers.base import NonRepeatingSampler, Outcome
from munchray.samplers.gp import Fit, Posterior, fit
from munchray.samplers.kernels import SettingKernel
from munchray.samplers.local_search import hill_climb, neighbors
from munchray.samplers.observations import Observations, build_observations
from munchray.samplers.order_features import Array, Features, Orders, extract_features
from munchray.samplers.order_kernels import OrderTerm, order_terms
from munchray.samplers.search_space import Setting, SpaceEncoding, setting_key
from munchray.samplers.vectorizer import Vectorizer

STARTUP_TRIALS = 4  # finished random trials before the first fit
MAX_ENUMERATED = 110_000  # orders: all of eight auxiliaries, of any length
MAX_PREDICTED = 400_000  # settings; beyond that, orders are not compared at all values of the axes
MAX_VALUES, MIN_VALUES = 16, 4
RANDOM_STARTS = 64
MAX_FIT_SIZE = 100  # observations: fitting costs the cube of it and more hardly change hyperparameters
SPARE = 20  # proposals beyond the number of settings that may be taken


class OrderGPSampler(NonRepeatingSampler):
    """Suggests the setting of greatest expected improvement under a Gaussian process.

    Suggestions are random until `STARTUP_TRIALS` trials have finished. After that the model of `kernels.py` learns
    from every finished trial and every stage it reports (`base.STAGES`), which is an observation of a shorter order.
    Running trials are imputed by their predicted means ("kriging believer", Ginsbourger et al. 2010). Up to
    `MAX_ENUMERATED` orders are all compared at each value of the axes; beyond that a local search starts from the
    observed orders and some random ones. Axes with many values are compared at the best observed values, near those
    and at random. Where trials report stages they share them, and the stages still to train are an order's cost
    (`acquisition.py`).

    Args:
        earlier: completed trials of other studies of the same objective, orders of other lengths or against the rule
            included. The model learns from them, but their settings may be suggested again and their stages do not
            count as trained.

    Raises:
        InputError: the space has no orders.
    """

    stage_weight = 0.25
    """How strongly the cost of stages counts, see `CostAwareLogEI`; chosen by measurement in benchmarks/orders."""

    def __init__(self, encoding: SpaceEncoding, seed: int, earlier: Sequence[Outcome] = ()) -> None:
        super().__init__(encoding, seed)
        if not encoding.names:
            found = "the sampler order_gp searches orders, and the search space has none"
            raise InputError(Problem("order", found, fix="Add one, or use sampler: tpe"))
        self._vectorizer = Vectorizer(encoding)
        self._earlier = list(earlier)
        self._last_fit: tuple[object, Fit] | None = None

    def candidates(self, study: optuna.Study, trial: FrozenTrial) -> Iterator[Setting]:
        """The model's proposals once enough trials have finished, then random settings."""
        history = self.history(study)
        finished = sorted(history.outcomes.values(), key=lambda outcome: (outcome.ended, outcome.number))
        outcomes = [outcome for outcome in (*self._earlier, *finished) if np.isfinite(outcome.value)]
        if len(outcomes) >= STARTUP_TRIALS:
            sign = -1.0 if study.direction == StudyDirection.MINIMIZE else 1.0
            trained = [*(outcome.setting for outcome in finished), *history.trained_prefixes]
            yield from self._proposals(trial, outcomes, trained, list(history.pending.values()), sign)
        yield from self.random_settings(trial)

    def kernel_terms(self, lengths_vary: bool) -> list[OrderTerm]:
        """The kernels over orders that the model sums; subclasses may choose others."""
        return order_terms(self._vectorizer.max_length, lengths_vary)

    def _proposals(
        self,
        trial: FrozenTrial,
        outcomes: list[Outcome],
        trained: list[Setting],
        pending: list[Setting],
        sign: float,
    ) -> Iterator[Setting]:
        observations = build_observations(outcomes, sign)
        yield from self._best_prefixes(observations)
        posterior, best = self._posterior(outcomes, observations, pending, sign)
        values = self._axis_values(trial, observations)
        shared = any(outcome.prefix_values for outcome in outcomes)
        stages = RemainingStages(self._vectorizer, trained, pending, values) if shared else None
        acquisition = CostAwareLogEI(self._vectorizer, posterior, best, values, stages, self.stage_weight)
        limit = len(outcomes) + len(pending) + SPARE
        orders, features = self._enumerated or (self._climb(trial, observations, acquisition)[:limit], None)
        for which, row in _highest(acquisition(orders, features), limit):
            yield {**values[which], "order": self._vectorizer.order(orders[row])}

    def _best_prefixes(self, observations: Observations) -> Iterator[Setting]:
        """Prefixes that scored higher than every trial, best first: as trials of their own they train nothing anew."""
        best_trial = observations.values[: observations.trials].max()
        for index in np.argsort(-observations.values, kind="stable"):
            if observations.values[index] <= best_trial:
                return
            if len(observations.settings[index]["order"]) in self.encoding.lengths:
                yield observations.settings[index]

    def _posterior(
        self, outcomes: list[Outcome], observations: Observations, pending: list[Setting], sign: float
    ) -> tuple[Posterior, float]:
        """The posterior with running trials imputed, and the highest mean at an observed setting of the space."""
        lengths = {len(setting["order"]) for setting in observations.settings} | set(self.encoding.lengths)
        terms = self.kernel_terms(len(lengths) > 1)
        kernel = SettingKernel(terms, len(self.encoding.axes), self._vectorizer.max_length, len(lengths) > 1)
        fitted = self._fit(kernel, outcomes, sign)
        x = self._vectorizer.features(observations.settings)
        posterior = Posterior(kernel, fitted, x, observations.values)
        allowed = np.isin(x.lengths, self.encoding.lengths)
        best = posterior.predict(x)[0][allowed].max()
        if pending:
            imputed = posterior.predict(self._vectorizer.features(pending))[0]
            x = self._vectorizer.features([*observations.settings, *pending])
            posterior = Posterior(kernel, fitted, x, np.concatenate([observations.values, imputed]))
        return posterior, float(best)

    def _fit(self, kernel: SettingKernel, outcomes: list[Outcome], sign: float) -> Fit:
        """Hyperparameters fitted to the first `_fit_size` trials, so that a reloaded search fits the same ones."""
        first = outcomes[: _fit_size(len(outcomes))]
        key = (tuple(kernel.priors), [(outcome.number, outcome.value) for outcome in first])
        if self._last_fit is None or self._last_fit[0] != key:
            seed = int(digest("fit", str(self.seed), str(len(first)))[:8], 16)
            observations = build_observations(first, sign).subsample(MAX_FIT_SIZE, seed)
            x = self._vectorizer.features(observations.settings)
            self._last_fit = (key, fit(kernel, x, observations.values))
        return self._last_fit[1]

    def _axis_values(self, trial: FrozenTrial, observations: Observations) -> list[Setting]:
        """All values of the axes if they are few; else the best observed ones, some near those, and random ones."""
        limit = min(MAX_VALUES, max(MIN_VALUES, MAX_PREDICTED // self.encoding.num_orders))
        size = self.encoding.size
        if size is not None and size // self.encoding.num_orders <= limit:
            return list(self.encoding.all_values())
        rng = np.random.default_rng(self.seed_of(trial))
        ranked = np.argsort(-observations.values[: observations.trials], kind="stable")
        best = self._vectorizer.axes([observations.settings[index] for index in ranked[: limit // 4]])
        near = np.clip(best + rng.normal(0, 0.1, best.shape), 0, 1)
        anywhere = rng.random((limit - len(best) - len(near), best.shape[1]))
        found = [self.encoding.from_unit(row.tolist()) for row in np.concatenate([best, near, anywhere])]
        return list({setting_key(values): values for values in found}.values())

    @cached_property
    def _enumerated(self) -> tuple[Orders, Features] | None:
        """Every order and its features, if they are few enough."""
        if self.encoding.num_orders > MAX_ENUMERATED:
            return None
        rows = self._vectorizer.rows(self.encoding.all_orders())
        return rows, extract_features(rows, self._vectorizer.count)

    def _climb(self, trial: FrozenTrial, observations: Observations, acquisition: CostAwareLogEI) -> Orders:
        """Orders found by local search, best first."""
        drawn = islice(self.encoding.random_settings(self.seed_of(trial)), RANDOM_STARTS)
        known = [setting for setting in observations.settings if len(setting["order"]) in self.encoding.lengths]
        start = self._vectorizer.rows(setting["order"] for setting in (*known, *drawn))
        return hill_climb(start, self._neighbors, lambda orders: acquisition(orders).max(axis=0))

    def _neighbors(self, orders: Orders) -> Orders:
        count, lengths = self._vectorizer.count, self.encoding.lengths
        found = np.concatenate([neighbors(order, count, lengths) for order in orders])
        return found[self._allowed(found)]

    def _allowed(self, orders: Orders) -> NDArray[np.bool_]:
        """(N,): whether the rule allows each order."""
        if not self.encoding.rule.adjacent_differ:
            return np.ones(len(orders), dtype=bool)
        entity_types = [self.encoding.rule.types[name] for name in self.encoding.names]
        types = np.unique(entity_types, return_inverse=True)[1][orders]
        clash = (types[:, 1:] == types[:, :-1]) & (orders[:, 1:] >= 0)
        return np.asarray(~clash.any(axis=1))


def _highest(acquisition: Array, limit: int) -> Iterator[tuple[int, int]]:
    """Indices of the ``limit`` highest finite values (S, N), highest first."""
    flat = acquisition.ravel()
    chosen = np.argpartition(-flat, min(limit, len(flat) - 1))[:limit]
    for index in chosen[np.argsort(-flat[chosen], kind="stable")]:
        if flat[index] > -np.inf:
            yield divmod(int(index), acquisition.shape[1])


def _fit_size(trials: int) -> int:
    """The number of trials that hyperparameters are fitted to: refits grow rarer as each tells less and costs more."""
    step = 1 if trials < 10 else 2 if trials < 20 else 5 if trials < 50 else 10
    return trials - trials % step
