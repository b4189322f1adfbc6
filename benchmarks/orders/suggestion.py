"""Processor time of one suggestion of order_gp, by the size of the search space.

    python -m benchmarks.orders.suggestion [--trials 100] [--rounds 20]

Processor seconds of `study.ask` after ``--trials`` finished trials that report their stages; each suggestion is
scored before the next. The highest includes a fit of the hyperparameters, which happens every tenth time.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import optuna
from numpy.typing import NDArray

from benchmarks import bench
from benchmarks.orders.landscapes import DECAY, DEPTH
from munchray.orders import OrderRule
from munchray.samplers.base import STAGES
from munchray.samplers.registry import make_sampler
from munchray.samplers.search_space import SpaceEncoding
from munchray.settings.dimensions import OrderSpace
from munchray.settings.space import SearchSpace


@dataclass(frozen=True)
class Case:
    """A search space; with ``types`` of the auxiliaries, adjacent ones must differ in type."""

    auxiliaries: int
    min_length: int | None = None
    types: Sequence[str] = ()

    def encoding(self) -> SpaceEncoding:
        """Orders of numbers at four learning rates."""
        names = [str(item) for item in range(self.auxiliaries)]
        rule = OrderRule(dict(zip(names, self.types, strict=False)), adjacent_differ=bool(self.types))
        return SpaceEncoding(
            SearchSpace(learning_rate=[0.4, 0.2, 0.1, 0.05], order=OrderSpace(min_length=self.min_length)), rule, names
        )


CASES: Mapping[str, Case] = {
    "7, adjacent types differ": Case(7, types=("d", "d", "c", "c", "g", "g", "s")),
    "7": Case(7),
    "1 to 7": Case(7, min_length=1),
    "8": Case(8),
    "10": Case(10),
    "20": Case(20),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and write the results."""
    parser = bench.parser("orders.suggestion", __doc__)
    parser.set_defaults(rounds=20, json=bench.FOLDER / "results" / "orders_suggestion.json")
    parser.add_argument("--trials", type=bench.positive, default=100, help="finished beforehand (default: 100)")
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES), help="default: all")
    options = parser.parse_args(arguments)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    report = bench.Results("orders.suggestion", "processor seconds a suggestion", options.json, arguments)
    for name in options.cases:
        encoding = CASES[name].encoding()
        seconds = bench.Measured(tuple(suggestions(encoding, options.trials, options.rounds)))
        report.add(auxiliaries=name, orders=encoding.num_orders, settings=encoding.size, s=seconds)
    report.publish()


def suggestions(encoding: SpaceEncoding, trials: int, rounds: int) -> list[float]:
    """Processor seconds of ``rounds`` suggestions after ``trials`` random trials."""
    effects = np.random.default_rng(1).normal(size=len(encoding.names))
    study = optuna.create_study(direction="maximize", sampler=make_sampler("random", encoding, 1))
    for _ in range(trials):
        _tell(study, study.ask(encoding.distributions), encoding, effects)
    study.sampler = make_sampler("order_gp", encoding, 1)
    seconds = []
    for _ in range(rounds):
        began = time.process_time()
        trial = study.ask(encoding.distributions)
        seconds.append(time.process_time() - began)
        _tell(study, trial, encoding, effects)
    return seconds


def _tell(study: optuna.Study, trial: optuna.Trial, encoding: SpaceEncoding, effects: NDArray[np.float64]) -> None:
    """Report a score by recency and length of the order."""
    order = [int(name) for name in encoding.decode(trial.params)["order"]]
    late = [DECAY ** np.arange(length)[::-1] @ effects[order[:length]] for length in range(1, len(order) + 1)]
    depth = DEPTH * np.log2(1 + np.arange(1, len(order) + 1) / len(effects))
    values = [float(value) for value in late + depth]
    trial.set_user_attr(STAGES, [[length, value] for length, value in enumerate(values, start=1)])
    study.tell(trial, values[-1])


if __name__ == "__main__":
    main()
