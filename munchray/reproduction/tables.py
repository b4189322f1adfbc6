"""The paper's Tables 2, 3, 4 and 6, ours beside theirs; what is missing is said, not guessed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from munchray.finalization.statistics import AcrossSeeds, Spread, across_seeds, holm
from munchray.finalization.trainings import Training
from munchray.orders import order_text
from munchray.reproduction.paper_results import MACRO, MICRO, PaperResults
from munchray.reproduction.plan import MODELS, SORTED, TABLES, PaperPlan
from munchray.reproduction.published import Cell, published


@dataclass(frozen=True)
class Table:
    """A table to print, and the same for programs.

    Args:
        columns: heads; numbers from the third on.
        notes: what there is to say about it.
        missing: trainings without a result.
    """

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]
    notes: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Ready for JSON."""
        rows = [dict(zip(self.columns, row, strict=True)) for row in self.rows]
        return {"title": self.title, "rows": rows, "notes": self.notes, "missing": self.missing}


def make_table(number: int, reading: PaperResults) -> Table:
    """Table 2, 3, 4 or 6."""
    return {2: table_2, 3: table_3, 4: table_4, 6: table_6}[number](reading)


def table_2(reading: PaperResults) -> Table:
    """Six models on every main corpus, and what each gains over single_task."""
    plan = reading.plan
    places = [*plan.mains, MACRO, MICRO]
    scores = {(model, place): each for model in MODELS for place, each in _by_place(reading, model).items()}
    rows: list[tuple[str, ...]] = []
    for place in places:
        gains = {m: _gain(scores[m, place], scores["single_task", place]) for m in MODELS[1:]}
        for model in MODELS:
            corrected = _holm_over_corpora(scores, model, "single_task", plan.mains)
            rows.append(
                (
                    place,
                    model,
                    _spread(scores[model, place]),
                    *_beside_paper(model, place, plan.mains, scores[model, place]),
                    _interval(gains.get(model)),
                    corrected.get(place, "") if model in gains else "",
                    _paper_gain(model, "single_task", place, plan.mains),
                )
            )
    columns = ("corpus", "model", "ours", "paper", "ours - paper", "gain over single_task", "p (Holm)", "paper's gain")
    return Table(_title(reading, "Table 2, test F1"), columns, rows, _notes(reading), reading.missing(TABLES[2]))


def table_3(reading: PaperResults) -> Table:
    """Dev F1 of single_aux by auxiliary and cell, and of the orders that this implies."""
    plan, printed = reading.plan, published().dev
    main, is_theirs = plan.scale.dev_main, plan.scale.dev_main == printed.main
    singles = {(t.settings.auxiliaries[0], _cell(t)): t for t in plan.singles(main, plan.grid)}
    rows: list[tuple[str, ...]] = []
    missing: list[str] = []
    for name in (name for name in plan.corpora if name != main):
        scores = {cell: reading.dev(singles[name, cell]) for cell in plan.grid}
        rows.append((f"single_aux {name}", *_dev_cells(plan, scores, printed.single_aux.get(name, {}), is_theirs)))
        missing += [f"single_aux {name} at {_cell_text(cell)}" for cell, score in scores.items() if score is None]
    for model in SORTED:
        known = reading.dev_choice(model)
        scores = {cell: reading.dev(known[cell]) if cell in known else None for cell in plan.grid}
        rows.append((model, *_dev_cells(plan, scores, printed.sorted_models[model], is_theirs)))
        missing += [f"{model} at {_cell_text(cell)}" for cell, score in scores.items() if score is None]
    notes = ["One training a cell, as in the paper: no spread to tell these apart by; --set seed=2 makes another."]
    for cell in plan.grid:
        if order := reading.order(main, cell):
            notes.append(f"sorted order at {_cell_text(cell)}: {order_text(order)}")
    columns = (main, *(f"{_cell_text(cell)}{which}" for cell in plan.grid for which in ("", " paper")))
    return Table(f"Table 3, dev F1 on {main}", columns, rows, notes, missing)


def table_4(reading: PaperResults) -> Table:
    """Iteration and Stack in random order and sorted."""
    plan = reading.plan
    rows: list[tuple[str, ...]] = []
    places = [*plan.mains, MACRO, MICRO]
    for regime, model in zip(("iteration", "stack"), SORTED, strict=True):
        scores = {(m, place): each for m in (regime, model) for place, each in _by_place(reading, m).items()}
        corrected = _holm_over_corpora(scores, model, regime, plan.mains)
        for place in places:
            rows.append(
                (
                    place,
                    regime,
                    _spread(scores[regime, place]),
                    _spread(scores[model, place]),
                    _interval(_gain(scores[model, place], scores[regime, place])),
                    corrected.get(place, ""),
                    _number(_paper(regime, place, plan.mains)),
                    _number(_paper(model, place, plan.mains)),
                    _paper_gain(model, regime, place, plan.mains),
                )
            )
    columns = (
        *("corpus", "regime", "random order", "sorted", "sorted - random", "p (Holm)"),
        *("paper random", "paper sorted", "paper's difference"),
    )
    title = _title(reading, "Table 4, test F1 without and with sorted auxiliaries")
    return Table(title, columns, rows, _notes(reading), reading.missing(TABLES[4]))


def table_6(reading: PaperResults) -> Table:
    """Macro averages against earlier systems, as published, over the tasks that each has."""
    plan = reading.plan
    rows: list[tuple[str, ...]] = []
    notes: list[str] = []
    for name, system in published().earlier.items():
        absent = [corpus for corpus in system.f1 if corpus not in plan.mains]
        ours = [None if absent else reading.macro_over(model, list(system.f1)) for model in TABLES[6]]
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
            notes.append(f"{name}: no average of ours, {', '.join(absent)} not being main here")
    columns = (
        *("system", "tasks", "theirs", "paper's Iteration", "paper's Stack"),
        *("our Iteration", "our Stack", "Iteration - theirs", "Stack - theirs"),
    )
    title = _title(reading, "Table 6, macro averages of test F1 over common tasks")
    return Table(title, columns, rows, notes, reading.missing(TABLES[6]))


def _title(reading: PaperResults, what: str) -> str:
    return f"{what}: mean ± standard deviation over {reading.plan.seeds} seeds"


def _notes(reading: PaperResults) -> list[str]:
    plan = reading.plan
    notes = [
        "Gains and differences: paired by seed, with 95 % t intervals; p over seeds, Holm's correction over corpora."
    ]
    if plan.seeds == 1:
        notes = ["One seed shows no spread; --seeds 3 would."]
    theirs = published().corpora
    if set(plan.mains) != set(theirs):
        paper = "the paper's macro average is that of its own figures for the same corpora"
        notes.append(f"Averages are over {', '.join(plan.mains)}; {paper}; its micro average cannot be rebuilt.")
    return notes


def _by_place(reading: PaperResults, model: str) -> dict[str, dict[int, float]]:
    """Scores by seed, for every corpus and both averages."""
    return {**{main: reading.test(model, main) for main in reading.plan.mains}, **reading.averages(model)}


def _gain(ours: dict[int, float], base: dict[int, float]) -> AcrossSeeds | None:
    """Over the seeds that both have."""
    both = [seed for seed in ours if seed in base]
    return across_seeds([ours[seed] for seed in both], [base[seed] for seed in both]) if both else None


def _holm_over_corpora(
    scores: dict[tuple[str, str], dict[int, float]], model: str, base: str, mains: Sequence[str]
) -> dict[str, str]:
    gains = {main: _gain(scores[model, main], scores[base, main]) for main in mains}
    return {n: f"{p:.3f}" for n, p in holm({n: g.p for n, g in gains.items() if g and g.p is not None}).items()}


def _paper(model: str, place: str, mains: Sequence[str]) -> float | None:
    row = published().models[model]
    if place == MACRO:
        return row.macro_over(mains)
    if place == MICRO:
        return row.micro if set(mains) == set(published().corpora) else None
    return row.f1.get(place)


def _beside_paper(model: str, place: str, mains: Sequence[str], scores: dict[int, float]) -> tuple[str, str]:
    paper = _paper(model, place, mains)
    difference = f"{Spread.of(list(scores.values())).mean - paper:+.2f}" if scores and paper is not None else "-"
    return _number(paper), difference


def _paper_gain(model: str, base: str, place: str, mains: Sequence[str]) -> str:
    ours, theirs = _paper(model, place, mains), _paper(base, place, mains)
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


def _interval(gain: AcrossSeeds | None) -> str:
    if gain is None:
        return ""
    value = gain.difference
    return f"{value.value:+.2f}" if value.low is None else f"{value.value:+.2f} ({value.low:+.2f} to {value.high:+.2f})"
