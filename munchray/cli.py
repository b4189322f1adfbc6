"""The ``munchray`` command: parse, call, explain. (typer)"""

from __future__ import annotations

import json
import shlex
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from munchray import __version__, console
from munchray.errors import InputError, Problem
from munchray.exits import Commands

if TYPE_CHECKING:
    from munchray.search.search import Search
    from munchray.settings import Job
    from munchray.training.data import DataSpec
    from munchray.training.inputs import Inputs

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
corpora_app = typer.Typer()
app.add_typer(corpora_app, name="corpora")

JobFile = Annotated[Path, typer.Argument(metavar="JOB", help="A job file, such as jobs/quickstart.yaml.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a value of the job file; may be given many times."),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only results and errors.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", help="Folder of the real corpora.", show_default="$MUNCHRAY_DATA, else ./data"),
]
ModelFolder = Annotated[Path, typer.Argument(metavar="MODEL", help="A folder that `munchray export` wrote.")]


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"munchray {__version__}")
        raise typer.Exit


@app.callback()
def munchray(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Search how a named entity tagger should be trained when many corpora are at hand.

    Begin with: munchray search jobs/quickstart.yaml
    """


@corpora_app.callback(invoke_without_command=True)
def corpora(
    ctx: typer.Context,
    check: Annotated[bool, typer.Option("--check", help="Count every split and compare with Table 1.")] = False,
    data_dir: DataDir = None,
) -> None:
    """List the corpora that a job can name, check them against the paper's Table 1, or fetch them.

    Example: MUNCHRAY_DATA=~/corpora munchray corpora --check
    """
    if ctx.invoked_subcommand:
        return
    if check:
        console.show_counts(data_dir)
    else:
        console.show_corpora(data_dir)


@corpora_app.command("fetch")
def fetch(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="Which ones.", show_default="all eight")
    ] = None,
    to: Annotated[
        Path | None, typer.Option("--to", help="Folder to write.", show_default="$MUNCHRAY_DATA, else ./data")
    ] = None,
    base_url: Annotated[str | None, typer.Option(help="A mirror with the same paths as GitHub's raw files.")] = None,
    quiet: Quiet = False,
) -> None:
    """Download corpora from their public sources, check them and put them in one form.

    Example: munchray corpora fetch ncbi-disease bc5cdr-disease --to data
    """
    from munchray.corpora.catalogue import data_folder
    from munchray.corpora.fetch import GITHUB
    from munchray.corpora.fetch import fetch as bring

    target = data_folder(to)
    bars, progress = console.download_progress(quiet)
    with bars:
        written = bring(names or [], target, base_url=base_url or GITHUB, progress=progress)
    console.out.print(f"{len(written)} files written to {target}; the others were there and whole.")


@app.command()
def embed(job_file: JobFile, overrides: Overrides = None, quiet: Quiet = False) -> None:
    """Train or load a job's embeddings and embed its corpora, once for all trials (search does it if missing).

    Example: munchray embed jobs/quickstart.yaml
    """
    job = _load(job_file, overrides)
    data = _prepare(job, _read_inputs(job, quiet), quiet)
    console.out.print(f"Features are in {data.store}")


@app.command()
def train(job_file: JobFile, overrides: Overrides = None, quiet: Quiet = False) -> None:
    """Train one setting in this process, without Ray: the job's own values, the auxiliaries as listed.

    Example: munchray train jobs/quickstart.yaml --set learning_rate=0.05
    """
    from munchray.search.search import search_folder
    from munchray.training import memory
    from munchray.training.machine import check_precision, check_threads, device_for, use_threads
    from munchray.training.stages import open_store
    from munchray.training.trial import run_trial

    job = _load(job_file, overrides)
    device = device_for(job.device)
    check_precision(job.precision, device)
    check_threads(job.resources_per_trial.cpu)
    data = _prepare(job, _read_inputs(job, quiet), quiet)
    settings = job.first_trial()
    use_threads(job.resources_per_trial.cpu)
    folder = search_folder(job) / "single" / settings.signature(data.fingerprint())
    if (folder / "result.json").exists():
        console.note("This setting has been trained before; its result:", quiet=quiet)
    store = open_store(job.stage_folder, job.stages_gb, console.note)
    with console.EpochLines(quiet) as lines, memory.advice(settings.batch_size, device):
        opened = data.open(settings)
        result = run_trial(
            settings, opened, folder, device=device, stage_store=store, report=lines.show, tick=lines.tick
        )
    for corpus, counts in result.dev.items():
        scores = f"dev P {counts.precision:.2f}  R {counts.recall:.2f}  F1 {counts.f1:.2f}"
        console.out.print(f"{corpus}: {scores}")
    console.out.print(f"weights {result.weights_digest}  {result.updates} updates  {result.seconds:.0f} s of training")
    console.out.print(f"everything is in {folder}")


@app.command()
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
    from munchray.search.search import Search

    job = _load(job_file, overrides)
    inputs = _read_inputs(job, quiet)
    view = console.SearchView(job.trials, quiet)
    work = Search(job, view, resume=resume)
    if work.trials_left > 0:
        _run_search(work, inputs, view, address, quiet)
    else:
        console.note(f"All {job.trials} trials of {job.name} are done; --set trials=N adds more.", quiet=quiet)
    _report_search(job_file, work, overrides or [])


@app.command()
def results(job_file: JobFile, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Show the ranking of a search, also while it runs.

    Example: munchray results jobs/quickstart.yaml --json
    """
    from munchray.search.results import ranking

    job = _load(job_file, overrides)
    ranked = ranking(job)
    if as_json:
        print(json.dumps(ranked.as_json(), indent=2))
    else:
        console.show_ranking(ranked, job.main)


@app.command()
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

    store = StageStore(Path(_load(job_file, overrides).stage_folder), most_bytes=0, warn=console.note)
    found = store.listed(verify=verify)
    for stage in found:
        if stage.damage:
            store.find(stage.key)
    deleted = {folder.name for folder in store.prune(prune * 1e9)} if prune is not None else set()
    console.show_stages(store.folder, [(stage, stage.key in deleted) for stage in found])


@app.command()
def export(
    job_file: JobFile,
    to: Annotated[Path, typer.Option("--to", help="Folder to write; an older export there is replaced.")],
    trial: Annotated[int | None, typer.Option(help="Number of the trial.", show_default="the best")] = None,
    overrides: Overrides = None,
    quiet: Quiet = False,
) -> None:
    """Write the best model of a search as one folder without pickle that tags new text anywhere.

    Example: munchray export jobs/quickstart.yaml --to models/quickstart
    """
    from munchray.search.export import export_trial

    job = _load(job_file, overrides)
    number = export_trial(job, trial, to, lambda line: console.note(line, quiet=quiet))
    place = shlex.quote(str(to))
    console.out.print(f"trial {number:04d} is now in {to}. Try: echo 'Some text.' | munchray predict {place}")


@app.command()
def predict(
    model: ModelFolder,
    file: Annotated[
        str,
        typer.Argument(metavar="FILE", help="Text, or one token a line; may be .gz.", show_default="standard input"),
    ] = "-",
    columns: Annotated[
        bool | None,
        typer.Option("--columns/--text", help="One token a line, or text.", show_default="by the file's name"),
    ] = None,
    output: Annotated[
        str,
        typer.Option(metavar="FORM", help="conll, json or spans.", show_default="spans on a terminal, else conll"),
    ] = "",
) -> None:
    """Tag raw text or a file of columns.

    Example: echo "She has cystic fibrosis." | munchray predict models/ncbi

    Example: munchray predict models/ncbi test.tsv.gz > tagged.tsv
    """
    from munchray.tagging.predict import OUTPUTS, tag_file

    form = output or ("spans" if console.out.is_terminal else "conll")
    if form not in OUTPUTS:
        raise InputError(Problem("--output", f"'{form}'", f"one of {', '.join(OUTPUTS)}"))
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")  # as the input, whatever the locale
    for piece in tag_file(model, file, columns, form):
        if isinstance(piece, str):
            sys.stdout.write(piece)
        else:
            console.coloured(piece)
    sys.stdout.flush()


@app.command()
def evaluate(
    model: ModelFolder,
    corpus: Annotated[
        str, typer.Argument(metavar="CORPUS[/SPLIT]", help="A known corpus, such as ncbi-disease/test, or a folder.")
    ],
    data_dir: DataDir = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Score a model on a split by exact spans, with seqeval as the judge.

    Example: munchray evaluate models/ncbi ncbi-disease/test
    """
    from munchray.tagging.predict import evaluate as score

    with console.working("evaluating", quiet) as say:
        scores = score(model, corpus, data_dir, say)
    if as_json:
        print(json.dumps(scores, indent=2))
        return
    rows = [
        (name, *(f"{s[key]:.2f}" for key in ("precision", "recall", "f1")), str(s["support"]))
        for name, s in scores.items()
    ]
    console.table(f"{corpus}, exact spans", ("entity type", "P", "R", "F1", "spans"), rows)


def main() -> None:
    """Entry point."""
    app(prog_name="munchray")


def _load(job_file: Path, overrides: list[str] | None) -> Job:
    from munchray.settings import load_job

    return load_job(job_file, overrides or [])


def _read_inputs(job: Job, quiet: bool) -> Inputs:
    from munchray.training.inputs import read_inputs

    with console.working("reading corpora", quiet):
        return read_inputs(job)


def _prepare(job: Job, inputs: Inputs, quiet: bool) -> DataSpec:
    from munchray.training.inputs import prepare

    with console.working("preparing features", quiet) as say:
        return prepare(job, say, inputs)


def _run_search(work: Search, inputs: Inputs, view: console.SearchView, address: str | None, quiet: bool) -> None:
    from munchray.search import tuner
    from munchray.training.machine import check_precision, device_for
    from munchray.training.stages import open_store

    if address is None:
        check_precision(work.job.precision, device_for(work.job.device if work.job.resources_per_trial.gpu else "cpu"))
    open_store(work.job.stage_folder, work.job.stages_gb, console.note)  # raises if it is not ours
    work.get_ready()
    tuner.connect(address)
    concurrent = tuner.slots(work.job)
    data = _prepare(work.job, inputs, quiet)
    work.start(data.fingerprint())
    view.already_finished(work.job.trials - work.trials_left)
    console.note(f"{work.trials_left} trials to run, {concurrent} at a time; Ctrl-C stops cleanly", quiet=quiet)
    with view.shown():
        tuner.run(work, data, concurrent)


def _report_search(job_file: Path, work: Search, overrides: list[str]) -> None:
    from munchray.search.results import ranking

    job = work.job
    ranked = ranking(job)
    console.show_ranking(ranked, job.main)
    best, folder = ranked.best, work.trial_folder(ranked.best.number) / "model"
    again = shlex.join([str(job_file), *(word for text in overrides for word in ("--set", text))])
    console.out.print(f"\nBest model: trial {best.number:04d}, dev F1 {best.dev_f1:.2f}, in {folder}")
    console.out.print(f"Take it away:  munchray export {again} --to models/{job.name}")
    console.out.print(f"Tag with it:   echo 'Your text.' | munchray predict models/{job.name}")
    console.out.print(f"Look at it:    {_how_to_look(job, work.folder)}")


def _how_to_look(job: Job, folder: Path) -> str:
    from munchray.search.tracking import default_uri

    uri = job.tracking_uri or default_uri(folder)
    is_server = uri.startswith(("http://", "https://"))
    return uri if is_server else f"mlflow ui --backend-store-uri {shlex.quote(uri)}"
