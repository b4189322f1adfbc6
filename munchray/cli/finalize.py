"""``munchray finalize`` and ``reproduce``: retrain with fresh seeds, score test once, compare. (typer)"""

# Every parameter of a command is an option that users type, so there are as many as there are options.

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from munchray import api
from munchray.cli import final_tables as shown
from munchray.cli import tables
from munchray.cli.final_tables import TrainingsProgress
from munchray.cli.jobs import load
from munchray.cli.options import Address, AsJson, JobFile, Overrides, Quiet
from munchray.progress import console
from munchray.progress.terminal import Warnings

if TYPE_CHECKING:
    from munchray.reproduction.plan import PaperPlan


def finalize(
    job_file: JobFile,
    overrides: Overrides = None,
    top: Annotated[int, typer.Option(help="How many of the search's best settings.")] = 3,
    seeds: Annotated[int, typer.Option(help="Fresh seeds each; one shows no spread.")] = 5,
    baseline: Annotated[
        list[str] | None,
        typer.Option(help="Regime to compare with; may be given many times.", show_default="single_task"),
    ] = None,
    address: Address = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Retrain the best settings of a search on train and dev with fresh seeds; score test once for each model.

    Each setting is also trained on train alone, so that its dev score in the search can be seen beside fresh ones. The
    same command again resumes where it was stopped. Test decides nothing.

    Example: munchray finalize jobs/quickstart.yaml --top 2 --seeds 3
    """
    progress = Warnings() if quiet else TrainingsProgress()
    result = api.finalize(
        load(job_file, overrides), top=top, seeds=seeds, baselines=baseline, address=address, progress=progress
    )
    if as_json:
        print(json.dumps(result.report.as_json(), indent=2))
    else:
        shown.show_report(result.report)


def reproduce(
    table: Annotated[int, typer.Argument(metavar="TABLE", help="1, 2, 3, 4 or 6.")],
    job_file: Annotated[
        Path | None,
        typer.Argument(metavar="JOB", help="Corpora, embeddings and settings.", show_default="those of --scale"),
    ] = None,
    overrides: Overrides = None,
    scale: Annotated[str, typer.Option(help="full: the paper's settings, on GPUs; reduced: hours on two cores.")] = (
        "full"
    ),
    seeds: Annotated[int, typer.Option(help="Fresh seeds of every test score.")] = 3,
    main: Annotated[
        list[str] | None, typer.Option(help="Main corpus; may be given many times.", show_default="those of --scale")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List every training and what all would cost.")] = False,
    show: Annotated[bool, typer.Option("--show", help="Print what there is; train nothing.")] = False,
    speed: Annotated[float | None, typer.Option(help="Tokens a second of one training, for estimates.", min=1)] = None,
    address: Address = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Train what a table of the paper needs and print it beside the paper's figures.

    The same command again resumes where it was stopped; tables share their trainings.

    Example: munchray reproduce 1

    Example: munchray reproduce 2 --dry-run

    Example: munchray reproduce 4 --scale reduced --seeds 3
    """
    from munchray.finalization.run import train_all
    from munchray.reproduction.cost import listing
    from munchray.reproduction.run import campaign, known_results, make_plan

    if table == 1:
        tables.show_counts(None)
        return
    plan = make_plan(table, lambda file: load(job_file or file, overrides), scale, main or [], seeds)
    progress = Warnings() if quiet else TrainingsProgress()
    if dry_run:
        shown.show_plan(listing(plan, known_results(plan), speed))
        return
    try:
        if not show:
            progress.note(shown.cost_text(listing(plan, known_results(plan), speed)))
            train_all(campaign(plan), address=address, progress=progress)
    finally:
        _show_table(table, plan, as_json)


def _show_table(number: int, plan: PaperPlan, as_json: bool) -> None:
    """Print the table as far as its trainings have finished."""
    from munchray.finalization.trainings import recorded_data
    from munchray.reproduction.paper_results import PaperResults
    from munchray.reproduction.run import campaign, known_results
    from munchray.reproduction.tables import make_table

    folder = campaign(plan).folder
    if not recorded_data(folder):
        console.note(f"Nothing has been trained in {folder} yet.")
        return
    table = make_table(number, PaperResults(plan, known_results(plan)))
    if as_json:
        print(json.dumps(table.as_json(), indent=2))
    else:
        shown.show_table(table)
