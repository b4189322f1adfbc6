"""A sampler that knows what an order is: a Gaussian process over orders and the other parameters.

In plain Optuna, without anything else of munchray (the example is run by tests/test_order_gp.py):

    import optuna
    from munchray.orders import OrderRule
    from munchray.samplers.search_space import Encoding
    from munchray.samplers.order_gp import OrderGp
    from munchray.settings import SearchSpace

    space = SearchSpace(learning_rate=[0.1, 0.05], order={"of": "auxiliaries"})
    encoding = Encoding(space, OrderRule({}), ["a", "b", "c", "d"])
    study = optuna.create_study(direction="maximize", sampler=OrderGp(encoding, seed=1))
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
from munchray.samplers.local_search import changes, hill_climb
from munchray.samplers.observations import Observations, build_observations
from munchray.samplers.order_features import Features, Orders, features
from munchray.samplers.order_kernels import Term, order_terms
from munchray.samplers.search_space import Encoding, identity
from munchray.samplers.vectorizer import Setting, Vectorizer

RANDOM_TRIALS = 4  # finished, before there is anything to learn from
MOST_ENUMERATED = 110_000  # orders: all of eight auxiliaries, whatever their length
MOST_PREDICTED = 400_000  # settings; with more, not all other parameters are tried with every order
MOST_VALUES, LEAST_VALUES = 16, 4
RANDOM_STARTS = 64
FITTED_ON = 100  # observations: more cost the cube and hardly change hyperparameters
SPARE = 20  # proposals beyond those that may be taken


class OrderGp(NonRepeatingSampler):
    """The setting of greatest expected improvement under a Gaussian process over orders and the other parameters.

    Suggestions are random until `RANDOM_TRIALS` trials have finished. From then on the model of `kernels.py` learns
    from every finished trial and every stage it reports (`unseen.STAGES`), which is an observation of a shorter order.
    Running trials count as if they had come to what the model expects of them. Where there are at most
    `MOST_ENUMERATED` orders, all are compared at each value of the other parameters; where there are more, the best
    known and some random ones are changed step by step. Other parameters with many values are compared at the best
    known values, near those and at random.

    Where trials report stages, they share them: an order costs what is left to train, or to wait for (`gains.py`).

    Args:
        earlier: trials of other studies of the same objective, orders of other lengths or breaking the rule included.
            They are evidence, and nothing else: their settings may be suggested again, and their stages be left to
            train.

    Raises:
        InputError: the space has no orders.
    """

    stage_weight = 0.25
    """How much an order still to be trained from its first stage is put off; measured in benchmarks/orders."""

    def __init__(self, encoding: Encoding, seed: int, earlier: Sequence[Outcome] = ()) -> None:
        super().__init__(encoding, seed)
        if not encoding.names:
            found = "the sampler order_gp searches orders, and the search space has none"
            raise InputError(Problem("order", found, fix="Add one, or use sampler: tpe"))
        self._codec = Vectorizer(encoding)
        self._earlier = list(earlier)
        self._last_fit: tuple[object, Fit] | None = None

    def candidates(self, study: optuna.Study, trial: FrozenTrial) -> Iterator[Setting]:
        """What the model proposes once it can, then random settings."""
        history = self.history(study)
        finished = sorted(history.outcomes.values(), key=lambda outcome: (outcome.ended, outcome.number))
        outcomes = [outcome for outcome in (*self._earlier, *finished) if np.isfinite(outcome.value)]
        if len(outcomes) >= RANDOM_TRIALS:
            sign = -1.0 if study.direction == StudyDirection.MINIMIZE else 1.0
            trained = [*(outcome.setting for outcome in finished), *history.behind]
            yield from self._proposals(trial, outcomes, trained, list(history.open.values()), sign)
        yield from self.random_settings(trial)

    def _proposals(
        self,
        trial: FrozenTrial,
        outcomes: list[Outcome],
        trained: list[Setting],
        pending: list[Setting],
        sign: float,
    ) -> Iterator[Setting]:
        evidence = build_observations(outcomes, sign)
        yield from self._better_beginnings(evidence)
        posterior, best = self._posterior(outcomes, evidence, pending, sign)
        values = self._values(trial, evidence)
        shared = any(outcome.beginnings for outcome in outcomes)
        stages = RemainingStages(self._codec, trained, pending, values) if shared else None
        gains = CostAwareLogEI(self._codec, posterior, best, values, stages, self.stage_weight)
        yield from self._ranked(trial, evidence, values, gains, len(outcomes) + len(pending) + SPARE)

    def _better_beginnings(self, evidence: Observations) -> Iterator[Setting]:
        """Orders that beat every trial when they were the beginning of one: as trials they train nothing anew."""
        height = evidence.values[: evidence.trials].max()
        for position in np.argsort(-evidence.values, kind="stable"):
            if evidence.values[position] <= height:
                return
            if len(evidence.settings[position]["order"]) in self.encoding.lengths:
                yield evidence.settings[position]

    def _posterior(
        self, outcomes: list[Outcome], evidence: Observations, pending: list[Setting], sign: float
    ) -> tuple[Posterior, float]:
        """The model after all evidence and the expected results of running trials; and its mean at the best setting."""
        lengths = {len(setting["order"]) for setting in evidence.settings} | set(self.encoding.lengths)
        kernel = SettingKernel(
            self._terms(len(lengths) > 1), len(self.encoding.axes), self._codec.longest, len(lengths) > 1
        )
        found = self._fitted(kernel, outcomes, sign)
        x = self._codec.features(evidence.settings)
        posterior = Posterior(kernel, found, x, evidence.values)
        allowed = np.isin(x.lengths, self.encoding.lengths)
        best = posterior.at(x)[0][allowed].max()
        if pending:
            believed = posterior.at(self._codec.features(pending))[0]
            everything = self._codec.features([*evidence.settings, *pending])
            posterior = Posterior(kernel, found, everything, np.concatenate([evidence.values, believed]))
        return posterior, float(best)

    def _terms(self, lengths_vary: bool) -> list[Term]:
        return order_terms(self._codec.longest, lengths_vary)

    def _fitted(self, kernel: SettingKernel, outcomes: list[Outcome], sign: float) -> Fit:
        """Hyperparameters after the first so many trials: the same whenever and wherever they are asked for."""
        first = outcomes[: _fitted_after(len(outcomes))]
        key = (tuple(kernel.priors), [(outcome.number, outcome.value) for outcome in first])
        if self._last_fit is None or self._last_fit[0] != key:
            seed = int(digest("fit", str(self.seed), str(len(first)))[:8], 16)
            evidence = build_observations(first, sign).sample(FITTED_ON, seed)
            self._last_fit = (key, fit(kernel, self._codec.features(evidence.settings), evidence.values))
        return self._last_fit[1]

    def _values(self, trial: FrozenTrial, evidence: Observations) -> list[Setting]:
        """All values of the other parameters if they are few; else the best known, some near those, and random ones."""
        most = min(MOST_VALUES, max(LEAST_VALUES, MOST_PREDICTED // self.encoding.orders))
        size = self.encoding.size
        if size is not None and size // self.encoding.orders <= most:
            return list(self.encoding.listed_values())
        rng = np.random.default_rng(self.seed_of(trial))
        order = np.argsort(-evidence.values[: evidence.trials], kind="stable")
        known = self._codec.axes([evidence.settings[position] for position in order[: most // 4]])
        near = np.clip(known + rng.normal(0, 0.1, known.shape), 0, 1)
        anywhere = rng.random((most - len(known) - len(near), known.shape[1]))
        found = [self.encoding.at(row.tolist()) for row in np.concatenate([known, near, anywhere])]
        return list({identity(values): values for values in found}.values())

    def _ranked(
        self, trial: FrozenTrial, evidence: Observations, values: list[Setting], gains: CostAwareLogEI, most: int
    ) -> Iterator[Setting]:
        """The best settings, best first."""
        orders, known = self._all_orders or (self._climbed(trial, evidence, gains)[:most], None)
        found = gains.of(orders, known)
        flat = found.ravel()
        chosen = np.argpartition(-flat, min(most, len(flat) - 1))[:most]
        for position in chosen[np.argsort(-flat[chosen], kind="stable")]:
            if flat[position] > -np.inf:
                which, row = divmod(int(position), len(orders))
                yield {**values[which], "order": self._codec.order(orders[row])}

    @cached_property
    def _all_orders(self) -> tuple[Orders, Features] | None:
        """Every order and its features, if they are few enough."""
        if self.encoding.orders > MOST_ENUMERATED:
            return None
        rows = self._codec.rows(self.encoding.listed_orders())
        return rows, features(rows, self._codec.count)

    def _climbed(self, trial: FrozenTrial, evidence: Observations, gains: CostAwareLogEI) -> Orders:
        """Orders found step by step, best first."""
        drawn = islice(self.encoding.draws(self.seed_of(trial)), RANDOM_STARTS)
        known = [setting for setting in evidence.settings if len(setting["order"]) in self.encoding.lengths]
        start = self._codec.rows(setting["order"] for setting in (*known, *drawn))
        return hill_climb(start, self._changed, lambda orders: gains.of(orders).max(axis=0))

    def _changed(self, orders: Orders) -> Orders:
        near = np.concatenate([changes(order, self._codec.count, self.encoding.lengths) for order in orders])
        return near[self._allowed(near)]

    def _allowed(self, orders: Orders) -> NDArray[np.bool_]:
        """(N,): whether the rule allows each order."""
        if not self.encoding.rule.adjacent_differ:
            return np.ones(len(orders), dtype=bool)
        types = self.encoding.rule.types
        kinds = sorted({types[name] for name in self.encoding.names})
        of = np.array([kinds.index(types[name]) for name in self.encoding.names])[orders]
        clash = (of[:, 1:] == of[:, :-1]) & (orders[:, 1:] >= 0)
        return np.asarray(~clash.any(axis=1))


def _fitted_after(count: int) -> int:
    """After how many trials hyperparameters were last fitted: ever rarer, since each tells less and costs more."""
    step = 1 if count < 10 else 2 if count < 20 else 5 if count < 50 else 10
    return count - count % step
