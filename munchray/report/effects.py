"""Effects of auxiliaries and their order on dev F1, estimated from finished trials, with 95 % intervals.

Each kind of effect is a linear regression of dev F1 on its own columns, adjusted for which auxiliaries an order has,
how many, and the other varied settings. Observations are whole orders and, for Stack, the prefixes trained on the way.
Errors may correlate within a group that shares its first stage (`regression.py`), since later stages inherit its luck.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from munchray.report.design import Design
from munchray.report.regression import TOLERANCE, Array, LeastSquares
from munchray.report.trained_orders import trained_orders
from munchray.tuning.ranking import RankedTrial

MIN_DEGREES_OF_FREEDOM = 3
"""Below this, intervals are too wide and too unreliable to be reported."""


@dataclass(frozen=True)
class Effect:
    """An effect in percentage points of dev F1, with the bounds of its 95 % interval."""

    of: str
    points: float
    low: float
    high: float


@dataclass(frozen=True)
class EffectEstimates:
    """The estimated effects of one kind.

    Args:
        meaning: what an effect compares.
        unknown: labels that the orders tried do not identify, or only those of a single group do.
        reason: why there are no effects; empty if there are some.
    """

    kind: str
    meaning: str
    effects: tuple[Effect, ...]
    unknown: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class OrderEffects:
    """The estimated effects of all kinds.

    Args:
        trials: number of finished trials.
        prefixes: number of scored prefixes that are not the whole order of any trial.
    """

    trials: int
    prefixes: int
    kinds: tuple[EffectEstimates, ...]


def order_effects(trials: Sequence[RankedTrial]) -> OrderEffects:
    """Estimate all effects from a search's finished trials."""
    observations = trained_orders(trials)
    design = Design(observations)
    kinds = tuple(_estimate(design, regression) for regression in _regressions(design))
    return OrderEffects(len(trials), sum(not each.whole for each in observations), kinds)


@dataclass(frozen=True)
class _Regression:
    """The columns of one regression.

    Args:
        columns: (N, F), one per effect; NaN in rows that do not bear on it.
        covariates: (N, C), to adjust for.
        unidentified: (F, D), directions in which the effects can shift without changing any fitted score.
        no_rows: the reason to give if all rows are NaN.
    """

    kind: str
    meaning: str
    labels: Sequence[str]
    columns: Array
    covariates: Array
    unidentified: Array
    no_rows: str = ""


def _regressions(design: Design) -> Iterator[_Regression]:
    names, common_shift = design.names, np.ones((len(design.names), 1))
    members = np.hstack([design.present, design.nuisance])
    rather = "is this one, rather than another"
    yield _Regression("presence", f"one of them {rather}", names, design.present, design.nuisance, common_shift)
    moved = "it is last, rather than first, the others keeping their order"
    yield _Regression("position", moved, names, design.position, members, common_shift)
    yield _Regression("first", f"the first {rather}", names, design.first, members, common_shift)
    yield _Regression("last", f"the last {rather}", names, design.last, members, common_shift)
    labels = [f"{a} before {b}" for a, b in design.pairs]
    yield _Regression("before", "rather than after it", labels, design.before, members, np.zeros((len(labels), 0)))
    labels = [f"{a} beside {b}" for a, b in design.pairs]
    ends = np.hstack([members, design.first, design.last])
    beyond = "rather than apart, beyond what each gains by its neighbours and at the ends"
    yield _Regression("beside", beyond, labels, design.beside, ends, design.members)
    late = "auxiliaries that score higher alone come later, rather than earlier"
    alone = "no order consists of auxiliaries that were each trained alone"
    ascent = design.ascent / 2  # 1 from descending to ascending
    yield _Regression("sorted", late, ["ascending order"], ascent, members, np.zeros((1, 0)), alone)


def _estimate(design: Design, regression: _Regression) -> EffectEstimates:
    rows = np.asarray(~np.isnan(regression.columns).any(axis=1))
    observations = [each for each, kept in zip(design.observations, rows, strict=True) if kept]
    x = np.hstack([regression.columns, regression.covariates])[rows]
    fit = LeastSquares(x, np.array([each.dev_f1 for each in observations]), [each.root for each in observations])
    effects, unknown = [], list(regression.labels)
    if not observations and regression.no_rows:
        reason = regression.no_rows
    elif fit.degrees_of_freedom < MIN_DEGREES_OF_FREEDOM:
        groups = len({each.root for each in observations})
        reason = f"too few trials: {len(observations)} trainings in {groups} groups for {fit.rank} unknowns"
    else:
        effects = list(_effects(fit, regression))
        unknown = [label for label in unknown if label not in {effect.of for effect in effects}]
        reason = "" if effects else "the orders tried vary too little"
    return EffectEstimates(regression.kind, regression.meaning, tuple(effects), tuple(unknown), reason)


def _effects(fit: LeastSquares, regression: _Regression) -> Iterator[Effect]:
    """The effect of each label that the data identify."""
    others = np.zeros(regression.covariates.shape[1])
    for label, contrast in zip(regression.labels, _contrasts(regression.unidentified), strict=True):
        estimate = fit.estimate(np.concatenate([contrast, others]))
        if estimate is not None:
            yield Effect(label, estimate.value, estimate.low, estimate.high)


def _contrasts(unidentified: Array) -> Array:
    """(F, F): each effect against the others, orthogonal to the unidentified directions; zeros where nothing is left.

    For a single direction that shifts all effects together: each effect minus the mean of the others.
    """
    projection = np.eye(len(unidentified)) - unidentified @ np.linalg.pinv(unidentified)
    diagonal = np.diag(projection)[:, None]
    return np.divide(projection, diagonal, out=np.zeros_like(projection), where=diagonal > TOLERANCE)
