"""``munchray search``, ``results`` and ``stages``: launch a search and look at it. (typer)"""

from __future__ import annotations

import dataclasses
import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from munchray.cli import progress, tables, terminal
from munchray.cli.cluster import is_dashboard, join, submitted
from munchray.cli.jobs import as_typed, load, prepare_features, read
from munchray.cli.models import register_winner
from munchray.cli.options import Address, AsJson, JobFile, Overrides, Quiet
from munchray.errors import InputError, Problem

if TYPE_CHECKING:
    from munchray.settings import Job
    from munchray.training.data import DataSpec
    from munchray.training.inputs import Inputs
    from munchray.tuning.ranking import Ranking
    from munchray.tuning.search import Search

REPORT = "report.html"


def search(
    job_file: JobFile,
    overrides: Overrides = None,
    address: Address = None,
    resume: Annotated[bool, typer.Option("--resume", help="Insist on going on with a search that exists.")] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Submit the search and do not follow it.")] = False,
    stop: Annotated[bool, typer.Option("--stop", help="Stop the search that was submitted.")] = False,
    quiet: Quiet = False,
) -> None:
    """Search orders, learning rate and batch size; the same command again goes on where it was.

    With http:// in --address the search runs on the cluster as a Ray Job: Ctrl-C then only stops following it, and the
    same command follows it again.

    Example: munchray search jobs/quickstart.yaml

    Example: munchray search jobs/quickstart.yaml --address auto --set trials=30

    Example: munchray search jobs/ncbi_disease_stack.yaml --address http://head:8265 --detach
    """
    from munchray.tuning.ranking import ranking
    from munchray.tuning.search import Search

    job = load(job_file, overrides)
    if is_dashboard(address):
        submitted(job, str(address), detach=detach, stop=stop)
        return
    if detach or stop:
        option = "--detach" if detach else "--stop"
        expected = "--address http://HOST:8265 of a cluster as well"
        raise InputError(Problem(option, "only a search that was submitted to a cluster can be left alone", expected))
    inputs = read(job, quiet)
    view = progress.SearchView(job.trials, quiet)
    work = Search(job, view, resume=resume, summary=lambda: _summary(job, inputs))
    if work.trials_left > 0:
        _run_search(work, inputs, view, address, quiet)
        if ranking(job).trials:
            register_winner(job, as_typed(job_file, overrides), final=False, quiet=quiet)
    else:
        terminal.note(f"All {job.trials} trials of {job.name} are done; --set trials=N adds more.", quiet=quiet)
    _report_search(work, as_typed(job_file, overrides))


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
    from munchray.report.effects import order_evidence
    from munchray.tuning.ranking import ranking

    job = load(job_file, overrides)
    ranked = ranking(job)
    evidence = order_evidence(ranked.trials) if job.search_space.order else None
    if plots:
        _draw(ranked, plots)
    if html:
        _write_report(job, html)
    if as_json:
        found = {"order_evidence": evidence and dataclasses.asdict(evidence)}
        print(json.dumps({**ranked.as_json(), **found}, indent=2))
        return
    tables.show_ranking(ranked, job.main)
    tables.show_reuse(ranked)
    if evidence:
        tables.show_evidence(evidence)


def sync(job_file: JobFile, overrides: Overrides = None, quiet: Quiet = False) -> None:
    """Tell MLflow what it lacks of a search and its finalize: after the server was away or they were killed.

    Example: munchray sync jobs/quickstart.yaml

    Example: munchray sync jobs/quickstart.yaml --set tracking_uri=http://127.0.0.1:5000
    """
    from munchray.finalization.account import sync as sync_final
    from munchray.tuning.search import Search

    job = load(job_file, overrides)
    view = progress.SearchView(job.trials, quiet)
    work = Search(job, view, resume=True, summary=lambda: _summary(job))
    with progress.working("telling MLflow", quiet):
        work.sync()
        sync_final(job, terminal.warn)
    terminal.out.print(f"MLflow has all of {job.name}. Look at it: {_how_to_look(job, work.folder)}")


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

    store = StageCache(load(job_file, overrides).stage_storage, most_bytes=0, warn=terminal.note)
    store.storage.check(writable=False)
    found = store.stages(verify=verify)
    for stage in found:
        if stage.damage:
            store.get(stage.key)
    deleted = {folder.name for folder in store.prune(prune * 1e9)} if prune is not None else set()
    tables.show_stages(store.folder, [(stage, stage.key in deleted) for stage in found])


def _write_report(job: Job, target: Path) -> None:
    from munchray.files import written_aside

    with progress.working("writing the report"):
        text = _summary(job)[REPORT]
    with written_aside(target) as aside:
        aside.write_text(text, encoding="utf-8")
    terminal.note(f"written: {target}")


def _summary(job: Job, inputs: Inputs | None = None) -> dict[str, str]:
    """What is kept with a search when it is done, by file name."""
    from munchray.report.html import html_report
    from munchray.training.inputs import prepare
    from munchray.tuning.search import check_same_data, search_folder

    def open_data() -> DataSpec:
        data = prepare(job, lambda line: None, inputs)
        check_same_data(search_folder(job), data.fingerprint())
        return data

    return {REPORT: html_report(job, open_data)}


def _draw(ranked: Ranking, folder: Path) -> None:
    from munchray.report import figures

    for path in figures.save(figures.drawn(ranked.trials), folder):
        terminal.note(f"drawn: {path}")


def _run_search(work: Search, inputs: Inputs, view: progress.SearchView, address: str | None, quiet: bool) -> None:
    from munchray.tuning import tuner

    work.get_ready()
    at_once = join(work.job, [inputs], address, quiet)
    work.connect()
    data = prepare_features(work.job, inputs, quiet)
    work.start(data.fingerprint(), data.fingerprints())
    view.already_finished(work.job.trials - work.trials_left)
    terminal.note(f"{work.trials_left} trials to run, {at_once} at a time; Ctrl-C stops cleanly", quiet=quiet)
    with view.shown():
        tuner.run(work, {work.job.name: data})


def _report_search(work: Search, typed: str) -> None:
    from munchray.tuning.ranking import ranking

    job = work.job
    ranked = ranking(job)
    tables.show_ranking(ranked, job.main)
    tables.show_reuse(ranked)
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
