"""``munchray search``, ``results``, ``sync`` and ``stages``: run a search and look at it. (typer)"""

# Every parameter of a command is an option that users type, so there are as many as there are options.

from __future__ import annotations

import dataclasses
import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from munchray import api
from munchray.cli import tables
from munchray.cli.jobs import as_typed, load, shown
from munchray.cli.options import Address, AsJson, JobFile, Overrides, Quiet
from munchray.cli.submission import is_dashboard, submitted
from munchray.errors import InputError, Problem
from munchray.progress import console

if TYPE_CHECKING:
    from munchray.api import SearchResult
    from munchray.settings import Job


def search(
    job_file: JobFile,
    overrides: Overrides = None,
    address: Address = None,
    resume: Annotated[bool, typer.Option("--resume", help="Insist on resuming a search that exists.")] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Submit the search and do not follow it.")] = False,
    stop: Annotated[bool, typer.Option("--stop", help="Stop the search that was submitted.")] = False,
    quiet: Quiet = False,
) -> None:
    """Search orders, learning rate and batch size; the same command again resumes where it was stopped.

    With http:// in --address the search runs on the cluster as a Ray Job: Ctrl-C then only stops following it, and the
    same command follows it again.

    Example: munchray search jobs/quickstart.yaml

    Example: munchray search jobs/quickstart.yaml --address auto --set trials=30

    Example: munchray search jobs/ncbi_disease_stack.yaml --address http://head:8265 --detach
    """
    job = load(job_file, overrides)
    if is_dashboard(address):
        submitted(job, str(address), detach=detach, stop=stop)
        return
    if detach or stop:
        option = "--detach" if detach else "--stop"
        expected = "--address http://HOST:8265 of a cluster as well"
        raise InputError(Problem(option, "only a search that was submitted to a cluster can be left alone", expected))
    result = api.search(job, address=address, resume=resume, progress=shown(quiet))
    _show_search(result, as_typed(job_file, overrides))


def results(
    job_file: JobFile,
    overrides: Overrides = None,
    plots: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Draw figures into this folder, as PNG and SVG.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a page with charts and the best model's errors.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show the ranking of a search and what its trials say about orders, also while it runs.

    Example: munchray results jobs/quickstart.yaml --json

    Example: munchray results jobs/quickstart.yaml --plots figures

    Example: munchray results jobs/quickstart.yaml --html report.html
    """
    from munchray.report.effects import order_effects

    job = load(job_file, overrides)
    result = api.results(job)
    effects = order_effects(result.trials) if job.search_space.order else None
    if plots:
        _save_figures(result, plots)
    if html:
        _write_report(job, html)
    if as_json:
        found = {"order_effects": effects and dataclasses.asdict(effects)}
        print(json.dumps({**result.found.as_json(), **found}, indent=2))
        return
    tables.show_ranking(result.found, job.main)
    tables.show_reuse(result.found)
    if effects:
        tables.show_effects(effects)


def sync(job_file: JobFile, overrides: Overrides = None, quiet: Quiet = False) -> None:
    """Log to MLflow what it lacks of a search and its finalize: after the server was away or they were killed.

    Example: munchray sync jobs/quickstart.yaml

    Example: munchray sync jobs/quickstart.yaml --set tracking_uri=http://127.0.0.1:5000
    """
    from munchray.finalization.run import sync_final
    from munchray.tuning.run import sync as sync_search

    job, progress = load(job_file, overrides), shown(quiet)
    with progress.task("logging to MLflow"):
        sync_search(job, progress, lambda: {api.REPORT: api.html_report(job)})
        sync_final(job, progress)
    console.out.print(f"MLflow has all of {job.name}. Look at it: {_how_to_look(job)}")


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
    from munchray.training.stage_cache import StageCache

    cache = StageCache(load(job_file, overrides).stage_storage, most_bytes=0, warn=console.note)
    cache.storage.check(writable=False)
    found = cache.stages(verify=verify)
    for stage in found:
        if stage.damage:
            cache.get(stage.key)
    deleted = {folder.name for folder in cache.prune(prune * 1e9)} if prune is not None else set()
    tables.show_stages(cache.folder, [(stage, stage.key in deleted) for stage in found])


def _write_report(job: Job, target: Path) -> None:
    from munchray.files import written_aside

    with shown(False).task("writing the report"):
        text = api.html_report(job)
    with written_aside(target) as aside:
        aside.write_text(text, encoding="utf-8")
    console.note(f"written: {target}")


def _save_figures(result: SearchResult, folder: Path) -> None:
    from munchray.report import figures

    for path in figures.save(figures.draw_all(result.trials), folder):
        console.note(f"drawn: {path}")


def _show_search(result: SearchResult, typed: str) -> None:
    from munchray.tuning.folder import trial_folder

    job, best = result.job, result.best
    tables.show_ranking(result.found, job.main)
    tables.show_reuse(result.found)
    folder = trial_folder(result.found.folder, best.number) / "model"
    console.out.print(f"\nBest model: trial {best.number:04d}, dev F1 {best.dev_f1:.2f}, in {folder}")
    console.out.print(f"Take it away:  munchray export {typed} --to models/{job.name}")
    console.out.print(f"Tag with it:   echo 'Your text.' | munchray predict models/{job.name}")
    console.out.print(f"Look at it:    {_how_to_look(job)}")


def _how_to_look(job: Job) -> str:
    from munchray.tracking.run_writer import default_uri
    from munchray.tuning.folder import search_folder

    uri = job.tracking_uri or default_uri(search_folder(job))
    is_server = uri.startswith(("http://", "https://"))
    return uri if is_server else f"mlflow ui --backend-store-uri {shlex.quote(uri)}"
