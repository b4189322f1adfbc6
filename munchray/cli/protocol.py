"""``munchray finalize``: retrain what a search found and score it on test. (typer)"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from munchray.cli.jobs import as_typed, load, prepare_features, read
from munchray.cli.models import register_winner
from munchray.cli.options import AsJson, JobFile, Overrides, Quiet
from munchray.console import protocol as shown
from munchray.console import terminal

if TYPE_CHECKING:
    from munchray.protocol.trainings import Plan, Shelf
    from munchray.settings import Job

Address = Annotated[str | None, typer.Option(help="A Ray cluster: auto or HOST:PORT.", show_default="this machine")]


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
    same command again goes on where it was. Test decides nothing.

    Example: munchray finalize jobs/quickstart.yaml --top 2 --seeds 3
    """
    from munchray.files import write_json
    from munchray.protocol.finalize import final_folder, jobs_of, make_plan, note_choice
    from munchray.protocol.report import make_report
    from munchray.search.search import check_same_job, search_folder

    job = load(job_file, overrides)
    check_same_job(job, search_folder(job), resume=False)
    plan = make_plan(job, top, seeds, _default_baselines(job) if baseline is None else baseline)
    shelf = carry_out(plan, job, jobs_of(job, plan), final_folder(job), address, quiet, searched=search_folder(job))
    report = make_report(plan, shelf)
    note_choice(job, plan, shelf)
    write_json(shelf.folder / "report.json", report.as_json())
    register_winner(job, as_typed(job_file, overrides), final=True, quiet=quiet)
    if as_json:
        print(json.dumps(report.as_json(), indent=2))
    else:
        shown.show_report(report)


def carry_out(
    plan: Plan,
    job: Job,
    jobs: Mapping[str, Job],
    folder: Path,
    address: str | None,
    quiet: bool,
    *,
    searched: Path | None = None,
) -> Shelf:
    """Train on Ray what a plan lacks; the finished trainings.

    Args:
        job: for its resources and stages.
        jobs: those whose data is needed, by name.
        searched: the folder of a search on the data of ``job``, which must be what it was.
    """
    from munchray.protocol.trainings import Shelf, Trainings, all_trained
    from munchray.search import tuner
    from munchray.search.search import check_same_data

    inputs = {name: read(each, quiet, with_test=True) for name, each in jobs.items()}
    idle = all_trained(plan, folder, jobs)
    concurrent = 0 if idle else _connected(job, address)
    data = {name: prepare_features(each, inputs[name], quiet) for name, each in jobs.items()}
    if searched:
        check_same_data(searched, data[job.name].fingerprint())
    shelf = Shelf(folder, {name: spec.fingerprint() for name, spec in data.items()})
    view = shown.TrainingsView(0, quiet)
    work = Trainings(job, plan, shelf, view)
    work.start(data)
    view.expect(work.trials_left)
    if not idle:
        terminal.note(f"{work.trials_left} trainings, {concurrent} at a time; Ctrl-C stops cleanly", quiet=quiet)
        with view.shown():
            tuner.run(work, data, concurrent)
    return shelf


def _connected(job: Job, address: str | None) -> int:
    """Join Ray; how many trainings it runs at once."""
    from munchray.search import tuner
    from munchray.training.machine import check_precision, device_for
    from munchray.training.stages import open_store

    if address is None:
        check_precision(job.precision, device_for(job.device if job.resources_per_trial.gpu else "cpu"))
    open_store(job.stage_folder, job.stages_gb, terminal.note)  # raises if it is not ours
    tuner.connect(address)
    return tuner.slots(job)


def _default_baselines(job: Job) -> list[str]:
    return [] if job.regime == "single_task" else ["single_task"]
