"""What finished trials say about auxiliaries and their order: estimated effects on dev F1, with 95 % intervals.

Each question is a linear regression of dev F1 on what it asks about, beside which auxiliaries there are, how many, and
the values of whatever else varies. Observations are whole orders and, for Stack, the beginnings that were trained on
the way. What began with the same stage may err together (`regression.py`): luck in it is handed on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from munchray.report.design import Design
from munchray.report.observations import observations
from munchray.report.regression import NOTHING, Array, LeastSquares
from munchray.tuning.ranking import RankedTrial

LEAST_FREEDOM = 3
"""Degrees of freedom below which an interval is too wide, and too unsure, to be worth a line."""


@dataclass(frozen=True)
class Effect:
    """Percent points of dev F1, and the ends of the 95 % interval."""

    of: str
    points: float
    low: float
    high: float


@dataclass(frozen=True)
class Answer:
    """What the trials say to one question.

    Args:
        meaning: what an effect compares.
        unknown: those of which the orders tried say nothing, or only those that began with the same stage do.
        reason: why there are no effects; empty if there are some.
    """

    question: str
    meaning: str
    effects: tuple[Effect, ...]
    unknown: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class OrderEvidence:
    """The answers to all questions.

    Args:
        trials: finished ones.
        beginnings: scored beginnings that no trial had as its whole order.
    """

    trials: int
    beginnings: int
    answers: tuple[Answer, ...]


def order_evidence(trials: Sequence[RankedTrial]) -> OrderEvidence:
    """The evidence of a search's finished trials."""
    seen = observations(trials)
    design = Design(seen)
    answers = tuple(_answer(design, question) for question in _questions(design))
    return OrderEvidence(len(trials), sum(not each.whole for each in seen), answers)


@dataclass(frozen=True)
class _Question:
    """What to regress on.

    Args:
        columns: (N, F), what is asked about; nan in rows that say nothing about it.
        beside: (N, C), what else may matter.
        alike: (F, D), directions in which the effects could shift without any order scoring differently.
        without: why no row says anything, if none does.
    """

    name: str
    meaning: str
    labels: Sequence[str]
    columns: Array
    beside: Array
    alike: Array
    without: str = ""


def _questions(design: Design) -> Iterator[_Question]:
    names, all_alike = design.names, np.ones((len(design.names), 1))
    which = np.hstack([design.present, design.surroundings])
    rather = "is this one, rather than another"
    yield _Question("presence", f"one of them {rather}", names, design.present, design.surroundings, all_alike)
    moved = "it stands at the end, rather than at the beginning, the others staying in order"
    yield _Question("position", moved, names, design.position, which, all_alike)
    yield _Question("first", f"the first {rather}", names, design.first, which, all_alike)
    yield _Question("last", f"the last {rather}", names, design.last, which, all_alike)
    labels = [f"{a} before {b}" for a, b in design.pairs]
    yield _Question("before", "rather than after it", labels, design.before, which, np.zeros((len(labels), 0)))
    labels = [f"{a} beside {b}" for a, b in design.pairs]
    ends = np.hstack([which, design.first, design.last])
    beyond = "beyond what each gains by its neighbours and at the ends"
    yield _Question("beside", beyond, labels, design.beside, ends, design.members)
    late = "those that come to more alone come later, rather than earlier"
    alone = "no order is of auxiliaries that were each trained alone"
    ascent = design.ascent / 2  # 1 from descending to ascending
    yield _Question("sorted", late, ["ascending order"], ascent, which, np.zeros((1, 0)), alone)


def _answer(design: Design, question: _Question) -> Answer:
    rows = np.asarray(~np.isnan(question.columns).any(axis=1))
    seen = [each for each, kept in zip(design.seen, rows, strict=True) if kept]
    x = np.hstack([question.columns, question.beside])[rows]
    fit = LeastSquares(x, np.array([each.dev_f1 for each in seen]), [each.root for each in seen])
    effects, unknown = [], list(question.labels)
    if not seen and question.without:
        reason = question.without
    elif fit.freedom < LEAST_FREEDOM:
        roots = len({each.root for each in seen})
        reason = f"too few trials: {len(seen)} trainings from {roots} beginnings for {fit.rank} unknowns"
    else:
        effects = list(_effects(fit, question))
        unknown = [label for label in unknown if label not in {effect.of for effect in effects}]
        reason = "" if effects else "the orders tried differ too little to tell"
    return Answer(question.name, question.meaning, tuple(effects), tuple(unknown), reason)


def _effects(fit: LeastSquares, question: _Question) -> Iterator[Effect]:
    """Of each label that the data can tell about."""
    others = np.zeros(question.beside.shape[1])
    for label, contrast in zip(question.labels, _contrasts(question.alike), strict=True):
        found = fit.estimate(np.concatenate([contrast, others]))
        if found is not None:
            yield Effect(label, found.value, found.low, found.high)


def _contrasts(alike: Array) -> Array:
    """(F, F): each effect against the others, so that no direction that is alike moves it; zeros where that is all.

    With a single direction that shifts all effects: each less the mean of the others.
    """
    free = np.eye(len(alike)) - alike @ np.linalg.pinv(alike)
    own = np.diag(free)[:, None]
    return np.divide(free, own, out=np.zeros_like(free), where=own > NOTHING)
