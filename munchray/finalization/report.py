"""The report of a finalization: scores of each setting, significance of each pairwise difference, verdicts in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from statistics import fmean
from typing import Any

from munchray.errors import WorkError
from munchray.finalization.finalize import RULE, Contender, FinalPlan
from munchray.finalization.statistics import (
    ALPHA,
    IntervalEstimate,
    PairedDifference,
    Spread,
    bootstrap_difference,
    holm,
    paired_t_test,
    probability_of_superiority,
    randomization_p,
)
from munchray.finalization.trainings import ResultStore
from munchray.settings import TrialSettings

UNEQUAL = 1.1
"""Ratio of updates from which a comparison of two models carries a warning."""


@dataclass(frozen=True)
class Finalist:
    """Scores of one setting, in percent.

    Args:
        searched: dev F1 in the search.
        rerun: dev F1 of the re-runs on train with fresh seeds.
        gap: ``searched`` minus the mean of ``rerun``: the optimism of selecting the best of many.
        test_f1: one score per seed.
        updates: mean number of updates of the models scored on test.
    """

    name: str
    settings: TrialSettings
    searched: float | None
    rerun: Spread
    gap: float | None
    test: Spread
    test_f1: tuple[float, ...]
    updates: float


@dataclass(frozen=True)
class Comparison:
    """Two settings compared on test.

    Args:
        across: paired difference over seeds.
        p_holm: p of `across`, adjusted for all pairs of the report.
        a_above_b: P(A > B).
        within: p of the randomization test over sentences, one per seed.
        sentences: difference for the first seed, with its interval over sentences.
        updates: mean number of updates of each.
    """

    a: str
    b: str
    across: PairedDifference
    p_holm: float | None
    a_above_b: IntervalEstimate
    within: tuple[float, ...]
    sentences: IntervalEstimate
    updates: tuple[float, float]

    @property
    def is_significant(self) -> bool:
        """Whether the difference over seeds is significant after Holm's correction."""
        return self.p_holm is not None and self.p_holm < ALPHA

    def verdict(self) -> str:
        """The result in words."""
        difference, seeds = self.across.difference, len(self.within)
        if seeds < 2:
            return (
                f"{self.a} and {self.b}: {difference.value:+.2f} F1 with one seed, which shows no spread; whether they "
                f"can be told apart needs more (over test sentences alone p = {self.within[0]:.3f})"
            )
        better = self.a if difference.value > 0 else self.b
        can = f"can be told apart, {better} is better" if self.is_significant else "cannot be told apart"
        return (
            f"{self.a} and {self.b} {can}: {interval_text(difference, '+.2f')} F1 over {seeds} seeds, "
            f"p = {self.p_holm:.3f} after Holm's correction; "
            f"P({self.a} > {self.b}) = {interval_text(self.a_above_b, '.2f')}{self._budget_warning()}"
        )

    def _budget_warning(self) -> str:
        ours, theirs = self.updates
        if max(ours, theirs) < UNEQUAL * min(ours, theirs):
            return ""
        return (
            f". Note: {self.a} made {ours:,.0f} updates and {self.b} {theirs:,.0f}; the difference may be due "
            "to longer training"
        )


@dataclass(frozen=True)
class FinalReport:
    """The complete report of a finalization.

    Args:
        finalists: the search's settings by mean re-run score, then the baselines.
        verdicts: comparisons with the winner, in words.
        ahead: baselines that score higher than the winner on dev, in words.
    """

    main: str
    seeds: tuple[int, ...]
    finalists: tuple[Finalist, ...]
    pairs: tuple[Comparison, ...]
    verdicts: tuple[str, ...]
    ahead: tuple[str, ...]
    winner: str
    rule: str
    final_model: str

    def as_json(self) -> dict[str, Any]:
        """The report as JSON-serializable values."""
        values = asdict(self)
        for line, finalist in zip(values["finalists"], self.finalists, strict=True):
            line["settings"] = finalist.settings.model_dump(mode="json")
        for line, pair in zip(values["pairs"], self.pairs, strict=True):
            line["significant"] = pair.is_significant
        return values


def make_report(plan: FinalPlan, store: ResultStore) -> FinalReport:
    """Build the report from finished trainings.

    Raises:
        WorkError: some trainings have no result.
    """
    missing = [training for training in plan(store) if not store.finished(training)]
    if missing:
        reasons = "; ".join(sorted(set(store.failures.values()))) or "not trained yet"
        raise WorkError(f"{len(missing)} trainings have no result: {reasons}")
    ordered = [*plan.by_rerun(store), *plan.baselines]
    finalists = tuple(_finalist(contender, plan, store) for contender in ordered)
    pairs = _pairs(ordered, plan, store)
    winner, main = ordered[0], finalists[0].settings.main
    model = store.folder_of(plan.retrained(winner, winner.candidates[0])[0]) / "model"
    verdicts = tuple(pair.verdict() for pair in pairs if pair.a == winner.name)
    baselines = finalists[len(plan.contenders) :]
    ahead = tuple(_ahead(each, finalists[0]) for each in baselines if each.rerun.mean > finalists[0].rerun.mean)
    return FinalReport(main, plan.seeds, finalists, tuple(pairs), verdicts, ahead, winner.name, RULE, str(model))


def interval_text(estimate: IntervalEstimate, form: str) -> str:
    """``+0.31 (95 % interval -0.80 to +1.42)``."""
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:{form}}"
    return f"{estimate.value:{form}} (95 % interval {estimate.low:{form}} to {estimate.high:{form}})"


def _finalist(contender: Contender, plan: FinalPlan, store: ResultStore) -> Finalist:
    settings = _chosen(contender, plan, store)
    rerun = Spread.of([store.dev_score(training) or 0.0 for training in plan.reruns(contender, settings)])
    retrained = plan.retrained(contender, settings)
    scores = tuple(store.test_f1(training, settings.main) for training in retrained)
    updates = fmean(store.updates(training) for training in retrained)
    gap = None if contender.searched is None else contender.searched - rerun.mean
    return Finalist(contender.name, settings, contender.searched, rerun, gap, Spread.of(scores), scores, updates)


def _ahead(baseline: Finalist, winner: Finalist) -> str:
    return (
        f"On dev {baseline.name} scores higher than the final model's setting: {baseline.rerun} against {winner.rerun}."
        " Its models are runs of this search in MLflow; munchray export RUN takes one"
    )


def _pairs(contenders: Sequence[Contender], plan: FinalPlan, store: ResultStore) -> list[Comparison]:
    pairs = [_pair(a, b, plan, store) for a, b in combinations(contenders, 2)]
    adjusted = holm({index: pair.across.p for index, pair in enumerate(pairs) if pair.across.p is not None})
    return [replace(pair, p_holm=adjusted.get(index)) for index, pair in enumerate(pairs)]


def _pair(a: Contender, b: Contender, plan: FinalPlan, store: ResultStore) -> Comparison:
    main = a.candidates[0].main
    models = [plan.retrained(contender, _chosen(contender, plan, store)) for contender in (a, b)]
    counts = [[store.test_counts(training, main) for training in trainings] for trainings in models]
    f1_a, f1_b = ([store.test_f1(training, main) for training in trainings] for trainings in models)
    updates = [fmean(store.updates(training) for training in trainings) for trainings in models]
    within = tuple(randomization_p(ours, theirs) for ours, theirs in zip(*counts, strict=True))
    sentences = bootstrap_difference(counts[0][0], counts[1][0])
    across, above = paired_t_test(f1_a, f1_b), probability_of_superiority(f1_a, f1_b)
    return Comparison(a.name, b.name, across, None, above, within, sentences, (updates[0], updates[1]))


def _chosen(contender: Contender, plan: FinalPlan, store: ResultStore) -> TrialSettings:
    chosen = plan.chosen(contender, store)
    assert chosen is not None  # `make_report` checked that all re-runs have finished
    return chosen
