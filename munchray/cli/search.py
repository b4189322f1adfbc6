"""``munchray search``, ``results`` and ``stages``: launch a search and look at it. (typer)"""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from munchray.cli.jobs import as_typed, load, prepare_features, read
from munchray.cli.models import register_winner
from munchray.cli.options import AsJson, JobFile, Overrides, Quiet
from munchray.console import progress, tables, terminal

if TYPE_CHECKING:
    from munchray.search.search import Search
    from munchray.settings import Job
    from munchray.training.inputs import Inputs


def search(
    job_file: JobFile,
    overrides: Overrides = None,
    address: Annotated[
        str | None, typer.Option(help="A Ray cluster: auto or HOST:PORT.", show_default="this machine")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Insist on going on with a search that exists.")] = False,
    quiet: Quiet = False,
) -> None:
    """Search orders, learning rate and batch size; the same command again goes on where it was.

    Example: munchray search jobs/quickstart.yaml

    Example: munchray search jobs/quickstart.yaml --address auto --set trials=30
    """
    from munchray.search.results import ranking
    from munchray.search.search import Search

    job = load(job_file, overrides)
    inputs = read(job, quiet)
    view = progress.SearchView(job.trials, quiet)
    work = Search(job, view, resume=resume)
    if work.trials_left > 0:
        _run_search(work, inputs, view, address, quiet)
        if ranking(job).trials:
            register_winner(job, as_typed(job_file, overrides), final=False, quiet=quiet)
    else:
        terminal.note(f"All {job.trials} trials of {job.name} are done; --set trials=N adds more.", quiet=quiet)
    _report_search(work, as_typed(job_file, overrides))


def results(job_file: JobFile, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Show the ranking of a search, also while it runs.

    Example: munchray results jobs/quickstart.yaml --json
    """
    from munchray.search.results import ranking

    job = load(job_file, overrides)
    ranked = ranking(job)
    if as_json:
        print(json.dumps(ranked.as_json(), indent=2))
    else:
        tables.show_ranking(ranked, job.main)


def stages(
    job_file: JobFile,
    overrides: Overrides = None,
    verify: Annotated[bool, typer.Option("--verify", help="Read every byte and delete what is damaged.")] = False,
    prune: Annotated[
        float | None, typer.Option(metavar="GB", help="Delete what was not used for longest, down to this.", min=0)
    ] = None,
) -> None:
    """List the trained stages that all searches in a job's storage share; check or prune them.

    Example: munchray stages jobs/quickstart.yaml --prune 5
    """
    from munchray.training.stages import StageStore

    store = StageStore(Path(load(job_file, overrides).stage_folder), most_bytes=0, warn=terminal.note)
    found = store.listed(verify=verify)
    for stage in found:
        if stage.damage:
            store.find(stage.key)
    deleted = {folder.name for folder in store.prune(prune * 1e9)} if prune is not None else set()
    tables.show_stages(store.folder, [(stage, stage.key in deleted) for stage in found])


def _run_search(work: Search, inputs: Inputs, view: progress.SearchView, address: str | None, quiet: bool) -> None:
    from munchray.search import tuner
    from munchray.training.machine import check_precision, device_for
    from munchray.training.stages import open_store

    if address is None:
        check_precision(work.job.precision, device_for(work.job.device if work.job.resources_per_trial.gpu else "cpu"))
    open_store(work.job.stage_folder, work.job.stages_gb, terminal.note)  # raises if it is not ours
    work.get_ready()
    tuner.connect(address)
    concurrent = tuner.slots(work.job)
    data = prepare_features(work.job, inputs, quiet)
    work.start(data.fingerprint())
    view.already_finished(work.job.trials - work.trials_left)
    terminal.note(f"{work.trials_left} trials to run, {concurrent} at a time; Ctrl-C stops cleanly", quiet=quiet)
    with view.shown():
        tuner.run(work, {work.job.name: data}, concurrent)


def _report_search(work: Search, typed: str) -> None:
    from munchray.search.results import ranking

    job = work.job
    ranked = ranking(job)
    tables.show_ranking(ranked, job.main)
    best, folder = ranked.best, work.trial_folder(ranked.best.number) / "model"
    terminal.out.print(f"\nBest model: trial {best.number:04d}, dev F1 {best.dev_f1:.2f}, in {folder}")
    terminal.out.print(f"Take it away:  munchray export {typed} --to models/{job.name}")
    terminal.out.print(f"Tag with it:   echo 'Your text.' | munchray predict models/{job.name}")
    terminal.out.print(f"Look at it:    {_how_to_look(job, work.folder)}")


def _how_to_look(job: Job, folder: Path) -> str:
    from munchray.tracking.tracker import default_uri

    uri = job.tracking_uri or default_uri(folder)
    is_server = uri.startswith(("http://", "https://"))
    return uri if is_server else f"mlflow ui --backend-store-uri {shlex.quote(uri)}"
