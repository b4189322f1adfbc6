"""Results of a reproduction so far, by model, main corpus and seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from munchray.finalization.statistics import Spread
from munchray.finalization.trainings import ResultStore, Training
from munchray.reproduction.plan import PaperPlan
from munchray.reproduction.published import Cell
from munchray.tagging.scoring import macro_f1, total

MACRO, MICRO = "macro average", "micro average"


class PaperResults:
    """The finished results of a plan; scores in percent."""

    def __init__(self, plan: PaperPlan, store: ResultStore) -> None:
        self.plan = plan
        self._store = store

    def test(self, model: str, main: str) -> dict[int, float]:
        """Test F1 by seed."""
        return {seed: self._store.test_f1(t, main) for seed, t in self._finished(model, main)}

    def averages(self, model: str) -> dict[str, dict[int, float]]:
        """Macro and micro average over all main corpora, by seed, for the seeds that all of them have."""
        counts = {
            main: {seed: total(self._store.test_counts(t, main)) for seed, t in self._finished(model, main)}
            for main in self.plan.mains
        }
        complete = [seed for seed in self.plan.test_seeds if all(seed in by_seed for by_seed in counts.values())]
        macro = {seed: macro_f1([by_seed[seed] for by_seed in counts.values()]) for seed in complete}
        micro = {seed: total(by_seed[seed] for by_seed in counts.values()).f1 for seed in complete}
        return {MACRO: macro, MICRO: micro}

    def macro_over(self, model: str, mains: Sequence[str]) -> Spread | None:
        """Macro average over some corpora; None unless all of them share a seed."""
        scores = [self.test(model, main) for main in mains]
        complete = [seed for seed in self.plan.test_seeds if all(seed in each for each in scores)]
        return Spread.of([sum(each[seed] for each in scores) / len(scores) for seed in complete]) if complete else None

    def dev(self, training: Training) -> float | None:
        """Dev F1 of a training; None unless it has finished."""
        return self._store.dev_score(training) if self._store.finished(training) else None

    def order(self, main: str, cell: Cell) -> tuple[str, ...] | None:
        """The sorted order of a cell; None until it is known."""
        return self.plan.sorted_order(main, cell, self._store)

    def dev_trainings(self, model: str) -> dict[Cell, Training]:
        """The trainings of a sorted model in Table 3, by cell, where its order is known."""
        main, seed = self.plan.scale.dev_main, self.plan.job.seed
        choices = self.plan.choices(main, model, self.plan.grid, self._store)
        return {choice.cell: self.plan.training(main, model, choice, seed) for choice in choices}

    def missing(self, models: Sequence[str]) -> list[str]:
        """Missing results in words, with the reasons of failed trainings."""
        lines = []
        for model in models:
            for main in self.plan.mains:
                finished = len(dict(self._finished(model, main)))
                if finished < self.plan.seeds:
                    lines.append(f"{model} on {main}: {finished} of {self.plan.seeds} seeds")
        return lines + sorted({f"failed: {reason}" for reason in self._store.failures.values()})

    def _finished(self, model: str, main: str) -> Iterator[tuple[int, Training]]:
        for training in self.plan.test_trainings(main, model, self._store):
            if self._store.finished(training):
                yield training.settings.seed, training
