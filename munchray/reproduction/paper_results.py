"""The results of a reproduction as far as there are any: by model, main corpus and seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from munchray.finalization.statistics import Spread
from munchray.finalization.trainings import ResultStore, Training
from munchray.reproduction.plan import PaperPlan
from munchray.reproduction.published import Cell
from munchray.tagging.scoring import macro_f1, total

MACRO, MICRO = "macro average", "micro average"


class PaperResults:
    """The results of a plan as far as there are any; scores in percent."""

    def __init__(self, plan: PaperPlan, store: ResultStore) -> None:
        self.plan = plan
        self._shelf = store

    def test(self, model: str, main: str) -> dict[int, float]:
        """Test F1 by seed."""
        return {seed: self._shelf.test_f1(t, main) for seed, t in self._finished(model, main)}

    def averages(self, model: str) -> dict[str, dict[int, float]]:
        """Macro and micro average over all main corpora by seed, for the seeds that all of them have."""
        counts = {
            main: {seed: total(self._shelf.test_counts(t, main)) for seed, t in self._finished(model, main)}
            for main in self.plan.mains
        }
        whole = [seed for seed in self.plan.test_seeds if all(seed in by_seed for by_seed in counts.values())]
        macro = {seed: macro_f1([by_seed[seed] for by_seed in counts.values()]) for seed in whole}
        micro = {seed: total(by_seed[seed] for by_seed in counts.values()).f1 for seed in whole}
        return {MACRO: macro, MICRO: micro}

    def macro_over(self, model: str, mains: Sequence[str]) -> Spread | None:
        """Macro average over some corpora."""
        scores = [self.test(model, main) for main in mains]
        whole = [seed for seed in self.plan.test_seeds if all(seed in each for each in scores)]
        return Spread.of([sum(each[seed] for each in scores) / len(scores) for seed in whole]) if whole else None

    def dev(self, training: Training) -> float | None:
        """Dev F1, if it is there."""
        return self._shelf.dev_score(training) if self._shelf.finished(training) else None

    def order(self, main: str, cell: Cell) -> tuple[str, ...] | None:
        """The sorted order of a cell."""
        return self.plan.sorted_order(main, cell, self._shelf)

    def dev_choice(self, model: str) -> dict[Cell, Training]:
        """The trainings of a sorted model in Table 3 by cell, where its order is known."""
        main, seed = self.plan.scale.dev_main, self.plan.job.seed
        choices = self.plan.choices(main, model, self.plan.grid, self._shelf)
        return {choice.cell: self.plan.training(main, model, choice, seed) for choice in choices}

    def missing(self, models: Sequence[str]) -> list[str]:
        """What has no result, in words, with the reason where a training failed."""
        lines = []
        for model in models:
            for main in self.plan.mains:
                there, wanted = len(dict(self._finished(model, main))), self.plan.seeds
                if there < wanted:
                    lines.append(f"{model} on {main}: {there} of {wanted} seeds")
        return lines + sorted({f"failed: {reason}" for reason in self._shelf.failures.values()})

    def _finished(self, model: str, main: str) -> Iterator[tuple[int, Training]]:
        for training in self.plan.tests(main, model, self._shelf):
            if self._shelf.finished(training):
                yield training.settings.seed, training
