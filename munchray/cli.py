"""The ``munchray`` command: parse, call, explain. Exit codes: 0 done, 1 the work failed, 2 the input was wrong,
130 interrupted. (typer)
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from munchray import console
from munchray.errors import InputError, Interrupted, Problem, WorkError

if TYPE_CHECKING:
    from munchray.settings import Job
    from munchray.training.data import DataSpec


class Commands(TyperGroup):
    """Turns what commands raise into a message and an exit code; no traceback for what a user can cause."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except InputError as error:
            console.problems_found(error.problems)
            raise typer.Exit(2) from None
        except WorkError as error:
            console.err.print(f"failed: {error}", style="bold red")
            raise typer.Exit(1) from None
        except Interrupted as stop:
            console.err.print(f"stopped: {stop}")
            raise typer.Exit(130) from None
        except KeyboardInterrupt:
            console.err.print("stopped. The same command goes on where it was.")
            raise typer.Exit(130) from None
        except BrokenPipeError:  # a reader such as `head` has had enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Search how a named entity tagger should be trained when many corpora are at hand.",
)
corpora_app = typer.Typer(help="List the corpora, check them against the paper's Table 1, or fetch them.")
app.add_typer(corpora_app, name="corpora")

JobFile = Annotated[Path, typer.Argument(metavar="JOB", help="A job file, such as jobs/quickstart.yaml.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a value of the job file; may be given many times."),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only results and errors.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="Folder of the real corpora [default: $MUNCHRAY_DATA, else ./data].")
]


@corpora_app.callback(invoke_without_command=True)
def corpora(
    ctx: typer.Context,
    check: Annotated[bool, typer.Option("--check", help="Count every split and compare with Table 1.")] = False,
    data_dir: DataDir = None,
) -> None:
    """List the corpora that can be named in a job.

    Example: MUNCHRAY_DATA=~/corpora munchray corpora --check
    """
    if ctx.invoked_subcommand:
        return
    if check:
        _check_corpora(data_dir)
    else:
        _list_corpora(data_dir)


@corpora_app.command("fetch")
def fetch(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Which [default: all eight].")] = None,
    to: Annotated[Path | None, typer.Option("--to", help="Folder [default: $MUNCHRAY_DATA, else ./data].")] = None,
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
    data = _prepare(_load(job_file, overrides), quiet)
    console.out.print(f"Features are in {data.store}")


@app.command()
def train(job_file: JobFile, overrides: Overrides = None, quiet: Quiet = False) -> None:
    """Train one setting in this process, without Ray: the job's own values, the auxiliaries as listed.

    Example: munchray train jobs/quickstart.yaml --set learning_rate=0.05 --set max_epochs=3
    """
    job = _load(job_file, overrides)
    data = _prepare(job, quiet)
    from munchray.search.search import search_folder
    from munchray.training.trial import device_for, run_trial, use_threads

    settings = job.first_trial()
    use_threads(job.resources_per_trial.cpu)
    folder = search_folder(job) / "single" / settings.signature(data.fingerprint())
    with console.EpochLines(quiet) as lines:
        opened = data.open(settings)
        result = run_trial(settings, opened, folder, device=device_for(job.device), report=lines.show, tick=lines.tick)
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
        str | None, typer.Option(help="A Ray cluster: auto or HOST:PORT [default: this machine].")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Insist on going on with a search that exists.")] = False,
    quiet: Quiet = False,
) -> None:
    """Search orders, learning rate and batch size; the same command again goes on where it was.

    Examples:

        munchray search jobs/quickstart.yaml

        munchray search jobs/ncbi_disease_stack.yaml --address auto --set trials=100
    """
    job = _load(job_file, overrides)
    from munchray.search.search import Search
    from munchray.training.data import check_inputs

    check_inputs(job)
    view = console.SearchView(job.trials, quiet)
    work = Search(job, view, resume=resume)
    _run_search(work, view, address, quiet)
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
def export(
    job_file: JobFile,
    to: Annotated[Path, typer.Option("--to", help="Folder to write; an older export there is replaced.")],
    trial: Annotated[int | None, typer.Option(help="Number of the trial [default: the best].")] = None,
    overrides: Overrides = None,
    quiet: Quiet = False,
) -> None:
    """Write the best model of a search as one folder without pickle that tags new text anywhere.

    Example: munchray export jobs/quickstart.yaml --to models/quickstart
    """
    from munchray.search.export import export_trial

    job = _load(job_file, overrides)
    number = export_trial(job, trial, to, lambda line: console.note(line, quiet=quiet))
    console.out.print(f"trial {number:04d} is now in {to}. Try: echo 'Some text.' | munchray predict {to}")


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(help="A folder that `munchray export` wrote.")],
    file: Annotated[str, typer.Argument(help="A file of text or of one token a line; - reads standard input.")] = "-",
    columns: Annotated[bool | None, typer.Option("--columns/--text", help="[default: by the file's name]")] = None,
    output: Annotated[str, typer.Option(help="conll, json or spans [default: spans on a terminal]")] = "",
) -> None:
    """Tag raw text or a file of columns.

    Examples:

        echo "Mutations cause cystic fibrosis." | munchray predict models/quickstart

        munchray predict models/quickstart data/ncbi-disease/test.tsv.gz > tagged.tsv
    """
    from munchray.tagging.predict import OUTPUTS, tag_file

    form = output or ("spans" if console.out.is_terminal else "conll")
    if form not in OUTPUTS:
        raise InputError(Problem("--output", f"'{form}'", f"one of {', '.join(OUTPUTS)}"))
    for piece in tag_file(model, file, columns, form):
        if isinstance(piece, str):
            sys.stdout.write(piece)
        else:
            console.coloured(piece)


@app.command()
def evaluate(
    model: Annotated[Path, typer.Argument(help="A folder that `munchray export` wrote.")],
    corpus: Annotated[str, typer.Argument(metavar="CORPUS[/SPLIT]", help="Such as ncbi-disease/test.")],
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Score a model on a split by exact spans, with seqeval as the judge.

    Example: munchray evaluate models/ncbi ncbi-disease/test
    """
    from munchray.tagging.predict import evaluate as score

    scores = score(model, corpus, data_dir)
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
    app()


def _list_corpora(data_dir: Path | None) -> None:
    from munchray.corpora.catalogue import data_folder, find_corpus, known_corpora

    rows = []
    for name, entity_type in known_corpora().items():
        try:
            place = str(find_corpus(name, data_dir).folder or "generated")
        except InputError:
            place = "not here; munchray corpora fetch brings it"
        rows.append((name, entity_type, place))
    console.table(f"Corpora (real ones in {data_folder(data_dir)})", ("name", "type", "where"), rows, numeric_from=3)


def _check_corpora(data_dir: Path | None) -> None:
    from munchray.corpora.catalogue import SPLITS, TABLE_1, check_split

    measured = []
    with console.working("counting") as say:
        for name in TABLE_1:
            say(name)
            measured += [check_split(name, split, data_dir) for split in SPLITS]
    rows = [
        (f"{row.corpus}/{row.split}", *(f"{n:,}" for n in row.measured or ()), row.verdict)
        if row.measured
        else (f"{row.corpus}/{row.split}", "-", "-", "-", row.verdict)
        for row in measured
    ]
    console.table("Counts against Table 1", ("split", "sentences", "words", "annotations", "Table 1"), rows)
    missing = [row for row in measured if row.measured is None]
    if missing:
        raise InputError(*(Problem(f"{row.corpus}/{row.split}", row.verdict) for row in missing))


def _load(job_file: Path, overrides: list[str] | None) -> Job:
    from munchray.settings import load_job

    return load_job(job_file, overrides or [])


def _prepare(job: Job, quiet: bool) -> DataSpec:
    from munchray.training.data import prepare

    with console.working("preparing features", quiet) as say:
        return prepare(job, say)


def _run_search(work: Any, view: console.SearchView, address: str | None, quiet: bool) -> None:
    if work.trials_left <= 0:
        console.note(
            f"All {work.job.trials} trials of {work.job.name} are done; --set trials=N adds more.", quiet=quiet
        )
        return
    from munchray.search import tuner

    tuner.connect(address)
    concurrent = tuner.slots(work.job)
    data = _prepare(work.job, quiet)
    work.start(data.fingerprint())
    console.note(f"{work.trials_left} trials to run, {concurrent} at a time; Ctrl-C stops cleanly", quiet=quiet)
    with view.shown():
        tuner.run(work, data, concurrent)


def _report_search(job_file: Path, work: Any, overrides: list[str]) -> None:
    from munchray.search.results import ranking
    from munchray.search.tracking import default_uri

    job = work.job
    ranked = ranking(job)
    console.show_ranking(ranked, job.main)
    best = ranked.best
    again = " ".join([str(job_file), *(f"--set '{text}'" for text in overrides)])
    console.out.print(
        f"\nBest model: trial {best.number:04d}, dev F1 {best.dev_f1:.2f}, in {work.trial_folder(best.number) / 'model'}"
    )
    console.out.print(f"Take it away:  munchray export {again} --to models/{job.name}")
    console.out.print(f"Tag with it:   echo 'Your text.' | munchray predict models/{job.name}")
    console.out.print(f"Look at it:    mlflow ui --backend-store-uri {job.tracking_uri or default_uri(work.folder)}")
