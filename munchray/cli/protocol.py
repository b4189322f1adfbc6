"""``munchray finalize`` and ``reproduce``: retrain with fresh seeds, score test once, compare. (typer)"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from munchray.cli import final_tables as shown
from munchray.cli import tables, terminal
from munchray.cli.cluster import join
from munchray.cli.jobs import as_typed, load, prepare_features, read
from munchray.cli.models import register_winner
from munchray.cli.options import Address, AsJson, JobFile, Overrides, Quiet
from munchray.errors import InputError, Problem

if TYPE_CHECKING:
    from munchray.finalization.account import FinalAccount
    from munchray.finalization.trainings import Plan, ResultStore
    from munchray.reproduction.cost import Listing
    from munchray.reproduction.plan import PaperPlan
    from munchray.settings import Job
    from munchray.training.inputs import Texts


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
    from munchray.finalization.account import REPORT, FinalAccount
    from munchray.finalization.finalize import final_folder, jobs_of, make_plan, note_choice
    from munchray.finalization.report import make_report
    from munchray.tuning.lock import sync_for_reading
    from munchray.tuning.search import check_same_job, search_folder, search_storage

    job = load(job_file, overrides)
    sync_for_reading(search_storage(job))
    check_same_job(job, search_folder(job), resume=False)
    plan = make_plan(job, top, seeds, _default_baselines(job) if baseline is None else baseline)
    account = FinalAccount(job, terminal.warn)
    try:
        store = carry_out(plan, job, jobs_of(job, plan), final_folder(job), address, quiet, account)
        report = make_report(plan, store)
        note_choice(job, plan, store)
        write_json(store.folder / REPORT, report.as_json())
        job.storage_path.within(store.folder).upload(REPORT)
    finally:
        account.close()
    register_winner(job, as_typed(job_file, overrides), final=True, quiet=quiet)
    if as_json:
        print(json.dumps(report.as_json(), indent=2))
    else:
        shown.show_report(report)


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

    The same command again goes on where it was; tables share their trainings.

    Example: munchray reproduce 1

    Example: munchray reproduce 2 --dry-run

    Example: munchray reproduce 4 --scale reduced --seeds 3
    """
    from munchray.reproduction.plan import TABLES, make_plan
    from munchray.reproduction.scales import SCALES, scale_file
    from munchray.tuning.lock import sync_for_reading
    from munchray.tuning.search import search_storage

    if table == 1:
        tables.show_counts(None)
        return
    if table not in TABLES:
        raise InputError(Problem("TABLE", f"{table}", "1, 2, 3, 4 or 6"))
    of_scale = scale_file(scale)
    job = load(job_file or of_scale, overrides)
    sync_for_reading(search_storage(job))
    plan = make_plan(job, SCALES[scale], main or [], [table], seeds)
    if dry_run:
        shown.show_plan(_listing(plan, speed))
        return
    try:
        if not show:
            terminal.note(shown.cost_text(_listing(plan, speed)), quiet=quiet)
            carry_out(plan, job, plan.jobs(), _reproduction(job), address, quiet)
    finally:
        _show_table(table, plan, as_json)


def carry_out(
    plan: Plan,
    job: Job,
    jobs: Mapping[str, tuple[Job, Sequence[str]]],
    folder: Path,
    address: str | None,
    quiet: bool,
    account: FinalAccount | None = None,
) -> ResultStore:
    """Train on Ray what a plan lacks; the finished trainings.

    Args:
        job: for its resources and stages.
        jobs: those whose data is needed, by name, with the corpora that are scored on test.
        account: told of all, where the trainings follow a search of ``job``, whose data must be what it was.
    """
    from munchray.finalization.trainings import ResultStore, Trainings, all_trained
    from munchray.tuning import tuner
    from munchray.tuning.search import check_same_data, search_folder

    texts: Texts = {}  # jobs share corpora
    inputs = {name: read(each, quiet, tests=tests, texts=texts) for name, (each, tests) in jobs.items()}
    idle = all_trained(plan, folder, jobs)
    if account and not idle:
        account.connect()
    concurrent = 0 if idle else join(job, list(inputs.values()), address, quiet)
    data = {name: prepare_features(each, inputs[name], quiet) for name, (each, _) in jobs.items()}
    if account:
        check_same_data(search_folder(job), data[job.name].fingerprint())
    store = ResultStore(folder, {name: spec.fingerprint() for name, spec in data.items()})
    view = shown.TrainingsView(0, quiet)
    work = Trainings(job, plan, store, view, account.tell if account else lambda: None)
    work.start(data)
    if not idle:
        if account:
            account.open(store)
        view.expect(work.trials_left)
        terminal.note(f"{work.trials_left} trainings, {concurrent} at a time; Ctrl-C stops cleanly", quiet=quiet)
        with view.shown():
            tuner.run(work, data)
    return store


def _reproduction(job: Job) -> Path:
    from munchray.tuning.search import search_folder

    return search_folder(job) / "reproduce"


def _show_table(number: int, plan: PaperPlan, as_json: bool) -> None:
    """As far as there is anything."""
    from munchray.finalization.trainings import known_data
    from munchray.reproduction.paper_results import PaperResults
    from munchray.reproduction.tables import make_table

    folder = _reproduction(plan.job)
    if not known_data(folder):
        terminal.note(f"Nothing has been trained in {folder} yet.")
        return
    table = make_table(number, PaperResults(plan, _known_shelf(plan)))
    if as_json:
        print(json.dumps(table.as_json(), indent=2))
    else:
        shown.show_table(table)


def _listing(plan: PaperPlan, speed: float | None) -> Listing:
    from munchray.reproduction.cost import listing

    return listing(plan, _known_shelf(plan), speed)


def _known_shelf(plan: PaperPlan) -> ResultStore:
    """What is finished, going by the data that was noted; of other data there is nothing."""
    from munchray.finalization.trainings import ResultStore, known_data

    folder = _reproduction(plan.job)
    return ResultStore(folder, {**dict.fromkeys(plan.jobs(), ""), **known_data(folder)})


def _default_baselines(job: Job) -> list[str]:
    return [] if job.regime == "single_task" else ["single_task"]
