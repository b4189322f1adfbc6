"""The paper's Tables 2, 3, 4 and 6 with our results beside the published ones; missing results are listed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from munchray.finalization.statistics import PairedDifference, Spread, holm, paired_t_test
from munchray.finalization.trainings import Training
from munchray.orders import order_text
from munchray.reproduction.paper_results import MACRO, MICRO, PaperResults
from munchray.reproduction.plan import MODELS, SORTED, TABLES, PaperPlan
from munchray.reproduction.published import Cell, published


@dataclass(frozen=True)
class Table:
    """A table for display and JSON.

    Args:
        columns: headers; numeric from the third on.
        notes: remarks to print below.
        missing: trainings without a result, in words.
    """

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]
    notes: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """The table as JSON-serializable values."""
        rows = [dict(zip(self.columns, row, strict=True)) for row in self.rows]
        return {"title": self.title, "rows": rows, "notes": self.notes, "missing": self.missing}


def make_table(number: int, results: PaperResults) -> Table:
    """Build Table 2, 3, 4 or 6."""
    return {2: table_2, 3: table_3, 4: table_4, 6: table_6}[number](results)


def table_2(results: PaperResults) -> Table:
    """Test F1 of six models on every main corpus, and their gains over single_task."""
    plan = results.plan
    corpora = [*plan.mains, MACRO, MICRO]
    scores = {(model, corpus): each for model in MODELS for corpus, each in _by_corpus(results, model).items()}
    rows: list[tuple[str, ...]] = []
    for corpus in corpora:
        gains = {m: _gain(scores[m, corpus], scores["single_task", corpus]) for m in MODELS[1:]}
        for model in MODELS:
            corrected = _holm_over_corpora(scores, model, "single_task", plan.mains)
            rows.append(
                (
                    corpus,
                    model,
                    _spread(scores[model, corpus]),
                    *_beside_paper(model, corpus, plan.mains, scores[model, corpus]),
                    _interval(gains.get(model)),
                    corrected.get(corpus, "") if model in gains else "",
                    _paper_gain(model, "single_task", corpus, plan.mains),
                )
            )
    columns = ("corpus", "model", "ours", "paper", "ours - paper", "gain over single_task", "p (Holm)", "paper's gain")
    return Table(_title(results, "Table 2, test F1"), columns, rows, _notes(results), results.missing(TABLES[2]))


def table_3(results: PaperResults) -> Table:
    """Dev F1 of single_aux by auxiliary and cell, and of the sorted orders that these scores imply."""
    plan, printed = results.plan, published().dev
    main, is_theirs = plan.scale.dev_main, plan.scale.dev_main == printed.main
    singles = {(t.settings.auxiliaries[0], _cell(t)): t for t in plan.single_aux_trainings(main, plan.grid)}
    rows: list[tuple[str, ...]] = []
    missing: list[str] = []
    for name in (name for name in plan.corpora if name != main):
        scores = {cell: results.dev(singles[name, cell]) for cell in plan.grid}
        rows.append((f"single_aux {name}", *_dev_cells(plan, scores, printed.single_aux.get(name, {}), is_theirs)))
        missing += [f"single_aux {name} at {_cell_text(cell)}" for cell, score in scores.items() if score is None]
    for model in SORTED:
        known = results.dev_trainings(model)
        scores = {cell: results.dev(known[cell]) if cell in known else None for cell in plan.grid}
        rows.append((model, *_dev_cells(plan, scores, printed.sorted_models[model], is_theirs)))
        missing += [f"{model} at {_cell_text(cell)}" for cell, score in scores.items() if score is None]
    notes = ["One training per cell, as in the paper, so there is no spread; --set seed=2 gives another table."]
    for cell in plan.grid:
        if order := results.order(main, cell):
            notes.append(f"sorted order at {_cell_text(cell)}: {order_text(order)}")
    columns = (main, *(f"{_cell_text(cell)}{which}" for cell in plan.grid for which in ("", " paper")))
    return Table(f"Table 3, dev F1 on {main}", columns, rows, notes, missing)


def table_4(results: PaperResults) -> Table:
    """Test F1 of Iteration and Stack with random and with sorted orders."""
    plan = results.plan
    rows: list[tuple[str, ...]] = []
    corpora = [*plan.mains, MACRO, MICRO]
    for regime, model in zip(("iteration", "stack"), SORTED, strict=True):
        scores = {(m, corpus): each for m in (regime, model) for corpus, each in _by_corpus(results, m).items()}
        corrected = _holm_over_corpora(scores, model, regime, plan.mains)
        for corpus in corpora:
            rows.append(
                (
                    corpus,
                    regime,
                    _spread(scores[regime, corpus]),
                    _spread(scores[model, corpus]),
                    _interval(_gain(scores[model, corpus], scores[regime, corpus])),
                    corrected.get(corpus, ""),
                    _number(_paper(regime, corpus, plan.mains)),
                    _number(_paper(model, corpus, plan.mains)),
                    _paper_gain(model, regime, corpus, plan.mains),
                )
            )
    columns = (
        *("corpus", "regime", "random order", "sorted", "sorted - random", "p (Holm)"),
        *("paper random", "paper sorted", "paper's difference"),
    )
    title = _title(results, "Table 4, test F1 without and with sorted auxiliaries")
    return Table(title, columns, rows, _notes(results), results.missing(TABLES[4]))


def table_6(results: PaperResults) -> Table:
    """Macro averages against prior systems, as published, over the tasks that each reports."""
    plan = results.plan
    rows: list[tuple[str, ...]] = []
    notes: list[str] = []
    for name, system in published().prior_systems.items():
        absent = [corpus for corpus in system.f1 if corpus not in plan.mains]
        ours = [None if absent else results.macro_over(model, list(system.f1)) for model in TABLES[6]]
        shown = [str(each) if each else "-" for each in ours]
        rows.append(
            (
                f"{name} ({system.source})",
                str(len(system.f1)),
                f"{system.macro:.2f}",
                f"{system.iteration:.2f}",
                f"{system.stack:.2f}",
                *shown,
                *(f"{each.mean - system.macro:+.2f}" if each else "-" for each in ours),
            )
        )
        if absent:
            notes.append(f"{name}: no average of ours; not a main corpus here: {', '.join(absent)}")
    columns = (
        *("system", "tasks", "theirs", "paper's Iteration", "paper's Stack"),
        *("our Iteration", "our Stack", "Iteration - theirs", "Stack - theirs"),
    )
    title = _title(results, "Table 6, macro averages of test F1 over common tasks")
    return Table(title, columns, rows, notes, results.missing(TABLES[6]))


def _title(results: PaperResults, what: str) -> str:
    return f"{what}: mean ± standard deviation over {results.plan.seeds} seeds"


def _notes(results: PaperResults) -> list[str]:
    plan = results.plan
    notes = [
        "Gains and differences: paired by seed, with 95 % t intervals; p over seeds, Holm's correction over corpora."
    ]
    if plan.seeds == 1:
        notes = ["One seed has no spread; use --seeds 3."]
    theirs = published().corpora
    if set(plan.mains) != set(theirs):
        paper = "the paper's macro average is that of its own figures for the same corpora"
        notes.append(f"Averages are over {', '.join(plan.mains)}; {paper}; its micro average cannot be recomputed.")
    return notes


def _by_corpus(results: PaperResults, model: str) -> dict[str, dict[int, float]]:
    """Scores by seed, for every main corpus and both averages."""
    return {**{main: results.test(model, main) for main in results.plan.mains}, **results.averages(model)}


def _gain(ours: dict[int, float], base: dict[int, float]) -> PairedDifference | None:
    """Paired difference over the seeds that both have."""
    both = [seed for seed in ours if seed in base]
    return paired_t_test([ours[seed] for seed in both], [base[seed] for seed in both]) if both else None


def _holm_over_corpora(
    scores: dict[tuple[str, str], dict[int, float]], model: str, base: str, mains: Sequence[str]
) -> dict[str, str]:
    gains = {main: _gain(scores[model, main], scores[base, main]) for main in mains}
    return {n: f"{p:.3f}" for n, p in holm({n: g.p for n, g in gains.items() if g and g.p is not None}).items()}


def _paper(model: str, corpus: str, mains: Sequence[str]) -> float | None:
    row = published().models[model]
    if corpus == MACRO:
        return row.macro_over(mains)
    if corpus == MICRO:
        return row.micro if set(mains) == set(published().corpora) else None
    return row.f1.get(corpus)


def _beside_paper(model: str, corpus: str, mains: Sequence[str], scores: dict[int, float]) -> tuple[str, str]:
    paper = _paper(model, corpus, mains)
    difference = f"{Spread.of(list(scores.values())).mean - paper:+.2f}" if scores and paper is not None else "-"
    return _number(paper), difference


def _paper_gain(model: str, base: str, corpus: str, mains: Sequence[str]) -> str:
    ours, theirs = _paper(model, corpus, mains), _paper(base, corpus, mains)
    return "" if model == base or ours is None or theirs is None else f"{ours - theirs:+.2f}"


def _dev_cells(plan: PaperPlan, ours: dict[Cell, float | None], printed: Any, is_theirs: bool) -> Iterator[str]:
    for cell in plan.grid:
        yield _number(ours[cell])
        yield _number(printed.get(cell) if is_theirs else None)


def _cell(training: Training) -> Cell:
    return training.settings.batch_size, training.settings.learning_rate


def _cell_text(cell: Cell) -> str:
    return f"batch {cell[0]} lr {cell[1]:g}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _spread(scores: dict[int, float]) -> str:
    return str(Spread.of(list(scores.values()))) if scores else "-"


def _interval(gain: PairedDifference | None) -> str:
    if gain is None:
        return ""
    value = gain.difference
    return f"{value.value:+.2f}" if value.low is None else f"{value.value:+.2f} ({value.low:+.2f} to {value.high:+.2f})"
