"""``munchray corpora``: list, check and fetch corpora. (typer)"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from munchray.cli import tables, terminal
from munchray.cli.options import DataDir, Quiet
from munchray.progress import console

corpora_app = typer.Typer()


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
        tables.show_counts(data_dir)
    else:
        tables.show_corpora(data_dir)


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
    """Download corpora from their public sources, verify their checksums and write them in one format.

    Example: munchray corpora fetch ncbi-disease bc5cdr-disease --to data
    """
    from munchray.corpora.catalogue import data_folder
    from munchray.corpora.fetch import GITHUB
    from munchray.corpora.fetch import fetch as bring

    target = data_folder(to)
    bars, show = terminal.download_bars(quiet)
    with bars:
        written = bring(names or [], target, base_url=base_url or GITHUB, progress=show)
    console.out.print(f"{len(written)} files written to {target}; the others were there and whole.")
