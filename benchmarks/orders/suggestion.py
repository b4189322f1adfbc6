"""What one suggestion of order_gp costs, by how many settings there are to choose from.

    python -m benchmarks.orders.suggestion [--trials 100] [--rounds 20]

Processor seconds of `study.ask`, in a study of so many finished trials that report their stages; every suggestion is
told before the next. The highest is one after which hyperparameters were fitted anew, which happens every tenth time.
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
from munchray.samplers.search_space import Encoding
from munchray.settings.dimensions import OrderSpace
from munchray.settings.space import SearchSpace


@dataclass(frozen=True)
class Case:
    """A space to choose from; ``types`` of the auxiliaries where neighbours must differ in them."""

    auxiliaries: int
    shortest: int | None = None
    types: Sequence[str] = ()

    def encoding(self) -> Encoding:
        """Orders of numbers, four learning rates."""
        names = [str(item) for item in range(self.auxiliaries)]
        rule = OrderRule(dict(zip(names, self.types, strict=False)), adjacent_differ=bool(self.types))
        return Encoding(
            SearchSpace(learning_rate=[0.4, 0.2, 0.1, 0.05], order=OrderSpace(min_length=self.shortest)), rule, names
        )


CASES: Mapping[str, Case] = {
    "7, neighbours of different types": Case(7, types=("d", "d", "c", "c", "g", "g", "s")),
    "7": Case(7),
    "1 to 7": Case(7, shortest=1),
    "8": Case(8),
    "10": Case(10),
    "20": Case(20),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    parser = bench.parser("orders.suggestion", __doc__)
    parser.set_defaults(rounds=20, json=bench.FOLDER / "results" / "orders_suggestion.json")
    parser.add_argument("--trials", type=bench.positive, default=100, help="finished before (default: 100)")
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES), help="default: all")
    options = parser.parse_args(arguments)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    report = bench.Results("orders.suggestion", "processor seconds a suggestion", options.json, arguments)
    for name in options.cases:
        encoding = CASES[name].encoding()
        seconds = bench.Measured(tuple(suggestions(encoding, options.trials, options.rounds)))
        report.add(auxiliaries=name, orders=encoding.orders, settings=encoding.size, s=seconds)
    report.publish()


def suggestions(encoding: Encoding, trials: int, rounds: int) -> list[float]:
    """Processor seconds of ``rounds`` suggestions after so many random trials."""
    worth = np.random.default_rng(1).normal(size=len(encoding.names))
    study = optuna.create_study(direction="maximize", sampler=make_sampler("random", encoding, 1))
    for _ in range(trials):
        _tell(study, study.ask(encoding.distributions), encoding, worth)
    study.sampler = make_sampler("order_gp", encoding, 1)
    seconds = []
    for _ in range(rounds):
        began = time.process_time()
        trial = study.ask(encoding.distributions)
        seconds.append(time.process_time() - began)
        _tell(study, trial, encoding, worth)
    return seconds


def _tell(study: optuna.Study, trial: optuna.Trial, encoding: Encoding, worth: NDArray[np.float64]) -> None:
    """Whatever is trained later counts more, and a further auxiliary helps."""
    order = [int(name) for name in encoding.decode(trial.params)["order"]]
    late = [DECAY ** np.arange(length)[::-1] @ worth[order[:length]] for length in range(1, len(order) + 1)]
    depth = DEPTH * np.log2(1 + np.arange(1, len(order) + 1) / len(worth))
    values = [float(value) for value in late + depth]
    trial.set_user_attr(STAGES, [[length, value] for length, value in enumerate(values, start=1)])
    study.tell(trial, values[-1])


if __name__ == "__main__":
    main()
