"""The paper's tables as campaigns of trainings: their plan, their folder, what is finished of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from munchray.errors import InputError, Problem
from munchray.finalization.run import Campaign
from munchray.finalization.trainings import ResultStore, recorded_data
from munchray.reproduction.plan import TABLES, PaperPlan
from munchray.reproduction.plan import make_plan as plan_of
from munchray.reproduction.scales import SCALES, scale_file
from munchray.settings import Job
from munchray.tuning.folder import search_folder, search_storage
from munchray.tuning.lock import sync_for_reading


def make_plan(table: int, load: Callable[[Path], Job], scale: str, mains: Sequence[str], seeds: int) -> PaperPlan:
    """The plan of a table of the paper.

    Args:
        load: gives the job of a scale's job file, or another one in its stead.
        scale: ``full`` or ``reduced``.
        mains: main corpora; none means those of the scale.
        seeds: fresh seeds of every test score.

    Raises:
        InputError: no such table or scale; every mistake in the job; the job does not fit the table.
    """
    if table not in TABLES:
        raise InputError(Problem("TABLE", f"{table}", "1, 2, 3, 4 or 6"))
    job = load(scale_file(scale))
    sync_for_reading(search_storage(job))
    return plan_of(job, SCALES[scale], mains, [table], seeds)


def campaign(plan: PaperPlan) -> Campaign:
    """The plan with its folder and the data it needs."""
    return Campaign(plan.job, plan, plan.jobs(), search_folder(plan.job) / "reproduce")


def known_results(plan: PaperPlan) -> ResultStore:
    """What is finished, by the data that was recorded; of other data there is nothing."""
    folder = campaign(plan).folder
    return ResultStore(folder, {**dict.fromkeys(plan.jobs(), ""), **recorded_data(folder)})
