"""``munchray export``, ``register``, ``predict`` and ``evaluate``: take a model away and tag with it. (typer)"""

# Every parameter of a command is an option that users type, so there are as many as there are options.

from __future__ import annotations

import json
import re
import shlex
import sys
from dataclasses import replace
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from munchray.cli import terminal
from munchray.cli.jobs import load, shown
from munchray.cli.options import AsJson, DataDir, JobFile, Overrides, Quiet
from munchray.errors import InputError, Problem, nearest
from munchray.progress import Progress, console
from munchray.progress.terminal import TerminalProgress

if TYPE_CHECKING:
    from munchray.models.export import TrainedModel
    from munchray.settings import Job
    from munchray.tracking.registry import Origin

ModelFolder = Annotated[Path, typer.Argument(metavar="MODEL", help="A folder that `munchray export` wrote.")]

Trial = Annotated[int | None, typer.Option("--trial", help="Number of the trial.", show_default="the best")]
Final = Annotated[bool, typer.Option("--final", help="The model that `munchray finalize` chose.")]

RUN_ID = re.compile(r"[0-9a-f]{32}")
SENTENCES_BETWEEN_NEWS = 100


def export(
    source: Annotated[
        str, typer.Argument(metavar="JOB|RUN", help="A job file, or the id of any MLflow run of a search.")
    ],
    to: Annotated[
        Path, typer.Option("--to", help="Folder to write, for flair a file; an older export there is replaced.")
    ],
    form: Annotated[
        str,
        typer.Option("--format", metavar="FORM", help="munchray, a folder without pickle, or flair, a file for Flair."),
    ] = "munchray",
    trial: Trial = None,
    final: Final = False,
    tracking_uri: Annotated[
        str | None, typer.Option(help="The MLflow store that has the run.", envvar="MLFLOW_TRACKING_URI")
    ] = None,
    overrides: Overrides = None,
    quiet: Quiet = False,
) -> None:
    """Write the best model of a search, its embeddings included, to tag new text anywhere.

    Example: munchray export jobs/quickstart.yaml --to models/quickstart

    Example: munchray export jobs/quickstart.yaml --trial 3 --format flair --to models/quickstart.pt
    """
    from munchray.models.export import FORMATS
    from munchray.models.export import export as write

    if form not in FORMATS:
        raise InputError(Problem("--format", f"'{form}'", f"one of {', '.join(FORMATS)}", nearest(form, FORMATS)))
    if RUN_ID.fullmatch(source):
        origin = _origin(source, tracking_uri, trial, final)
        trained = _trained(origin.job, origin.trial, final, quiet, origin.training)
    else:
        trained = _trained(load(Path(source), overrides), trial, final, quiet)
    write(trained, to, form)
    use = f"echo 'Some text.' | munchray predict {shlex.quote(str(to))}"
    hint = use if form == "munchray" else f"flair.models.SequenceTagger.load({str(to)!r})"
    console.out.print(f"{trained.name} is now in {to}. Try: {hint}")


def register(
    job_file: JobFile,
    trial: Trial = None,
    final: Final = False,
    overrides: Overrides = None,
    quiet: Quiet = False,
) -> None:
    """Make the best model of a search the champion of its name in MLflow's registry; `search` does it when it ends.

    Example: munchray register jobs/quickstart.yaml

    Example: munchray register jobs/quickstart.yaml --final
    """
    from munchray.tuning.register import register as enter

    job = load(job_file, overrides)
    trained = _trained(job, trial, final, quiet)
    with shown(quiet).task("registering"):
        entry = enter(job, trained)
    what = "now" if entry.new else "already"
    console.out.print(f"{trained.name} is {what} version {entry.version} and champion of models:/{entry.name}")


def _origin(run_id: str, uri: str | None, trial: int | None, final: bool) -> Origin:
    """The search, and the trial or training, that an MLflow run logs."""
    from munchray.tracking.registry import Registry

    if uri is None:
        fix = "It is tracking_uri of the job; if that is unset, sqlite:////path/to/runs/NAME/mlflow.db"
        raise InputError(Problem("--tracking-uri", "not given", "the MLflow store that has the run", fix))
    origin = Registry(uri, "--tracking-uri").origin_of(run_id)
    if origin.name and (final or trial is not None):
        asked = "--final" if final else "--trial"
        raise InputError(Problem(asked, f"given, but {run_id} is the run of {origin.name}", "one of them"))
    return origin if origin.name else replace(origin, trial=trial)


def _trained(job: Job, trial: int | None, final: bool, quiet: bool, training: str | None = None) -> TrainedModel:
    """Open the model that the options name.

    Args:
        training: one of a finalize, by its folder's name.
    """
    from munchray.finalization import finalize
    from munchray.tuning.export import trained_by

    if final and trial is not None:
        raise InputError(Problem("--final", f"trial {trial} as well", "one of them"))

    note = shown(quiet).note
    if training:
        return finalize.trained_in(job, training, note)
    return finalize.final(job, note) if final else trained_by(job, trial, note)


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
    """Tag raw text or a file of columns; json and spans say how sure the model is of each span.

    Example: echo "She has cystic fibrosis." | munchray predict models/ncbi

    Example: munchray predict models/ncbi test.tsv.gz > tagged.tsv
    """
    from munchray.models.predict import OUTPUTS, tag_file

    form = output or ("spans" if console.out.is_terminal else "conll")
    if form not in OUTPUTS:
        raise InputError(Problem("--output", f"'{form}'", f"one of {', '.join(OUTPUTS)}"))
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")  # as the input, in any locale
    out = sys.stdout  # a spinner replaces sys.stdout
    watched = console.err.is_terminal and not console.out.is_terminal  # else the text itself shows how far it is
    with (TerminalProgress() if watched else Progress()).task("tagging") as say:
        for done, piece in enumerate(tag_file(model, file, columns, form), 1):
            if isinstance(piece, str):
                out.write(piece)
            else:
                terminal.coloured(piece)
            if done % SENTENCES_BETWEEN_NEWS == 0:
                say(f"{done:,} sentences")
    out.flush()


def evaluate(
    model: ModelFolder,
    corpus: Annotated[
        str, typer.Argument(metavar="CORPUS[/SPLIT]", help="A known corpus, such as ncbi-disease/test, or a folder.")
    ],
    data_dir: DataDir = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Score a model on a split by exact spans, computed by seqeval.

    Example: munchray evaluate models/ncbi ncbi-disease/test
    """
    from munchray.corpora.catalogue import parse_split
    from munchray.models.model import Model

    name, split = parse_split(corpus)
    with shown(quiet).task("evaluating") as say:
        scores = Model.load(model).score(name, split, data_dir, say)
    if as_json:
        print(json.dumps(scores, indent=2))
        return
    rows = [
        (name, *(f"{s[key]:.2f}" for key in ("precision", "recall", "f1")), str(s["support"]))
        for name, s in scores.items()
    ]
    terminal.table(f"{corpus}, exact spans", ("entity type", "P", "R", "F1", "spans"), rows)
