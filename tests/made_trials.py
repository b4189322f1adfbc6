"""Finished trials made of numbers, for tests of what is said about them."""

from munchray.training.trial_results import StageResult
from munchray.tuning.ranking import RankedTrial, Ranking

UPDATES = 100  # of a stage


def made_trial(number, order, score, stages=(), reused=0, **values):
    """A trial of `order`; `stages` are the dev F1 of its prefixes and of itself, the first `reused` are reused."""
    values = {"learning_rate": 0.1, **values}
    results = tuple(
        StageResult(tuple(order[:length]), f1, UPDATES * length, reused=length <= reused)
        for length, f1 in enumerate(stages, 1)
    )
    return RankedTrial(
        number=number,
        order=tuple(order),
        learning_rate=values["learning_rate"],
        batch_size=32,
        dev_precision=score,
        dev_recall=score,
        dev_f1=score,
        epochs=10,
        updates=UPDATES * max(len(order), 1),
        seconds=60.0,
        values=values,
        stages=results,
        ended=f"2026-01-01T00:{number // 60:02d}:{number % 60:02d}",
    )


def made_ranking(trials, folder):
    """As `results.ranking` gives it."""
    return Ranking(sorted(trials, key=lambda trial: (-trial.dev_f1, trial.number)), [], [], folder)
