"""``munchray export``, ``predict`` and ``evaluate``: take a model away and use it. (typer)"""

from __future__ import annotations

import json
import shlex
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated

import typer

from munchray.cli.jobs import load
from munchray.cli.options import AsJson, DataDir, JobFile, Overrides, Quiet
from munchray.console import progress, terminal
from munchray.errors import InputError, Problem

ModelFolder = Annotated[Path, typer.Argument(metavar="MODEL", help="A folder that `munchray export` wrote.")]

SENTENCES_BETWEEN_NEWS = 100


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

    job = load(job_file, overrides)
    number = export_trial(job, trial, to, lambda line: terminal.note(line, quiet=quiet))
    place = shlex.quote(str(to))
    terminal.out.print(f"trial {number:04d} is now in {to}. Try: echo 'Some text.' | munchray predict {place}")


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

    form = output or ("spans" if terminal.out.is_terminal else "conll")
    if form not in OUTPUTS:
        raise InputError(Problem("--output", f"'{form}'", f"one of {', '.join(OUTPUTS)}"))
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")  # as the input, whatever the locale
    out = sys.stdout  # a spinner puts itself in its place
    watched = terminal.err.is_terminal and not terminal.out.is_terminal  # else the text itself shows how far it is
    with progress.working("tagging", quiet=not watched) as say:
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
    """Score a model on a split by exact spans, with seqeval as the judge.

    Example: munchray evaluate models/ncbi ncbi-disease/test
    """
    from munchray.models.predict import evaluate as score

    with progress.working("evaluating", quiet) as say:
        scores = score(model, corpus, data_dir, say)
    if as_json:
        print(json.dumps(scores, indent=2))
        return
    rows = [
        (name, *(f"{s[key]:.2f}" for key in ("precision", "recall", "f1")), str(s["support"]))
        for name, s in scores.items()
    ]
    terminal.table(f"{corpus}, exact spans", ("entity type", "P", "R", "F1", "spans"), rows)
