"""The ``munchray`` command and its subcommands, in the order of its help. (typer)"""

from __future__ import annotations

from typing import Annotated

import typer

from munchray import __version__
from munchray.cli.corpora import corpora_app
from munchray.cli.exits import Commands
from munchray.cli.finalize import finalize, reproduce
from munchray.cli.init import init
from munchray.cli.models import evaluate, export, predict, register
from munchray.cli.search import results, search, stages, sync
from munchray.cli.train import embed, train
from munchray.interrupts import exit_on_sigint, install_sigint

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


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

    Begin with: munchray init quickstart && munchray search quickstart.yaml
    """


app.add_typer(corpora_app, name="corpora")
COMMANDS = (init, embed, train, search, results, sync, stages, finalize, export, register, predict, evaluate, reproduce)
for command in COMMANDS:
    app.command()(command)


def main() -> None:
    """Entry point."""
    install_sigint()
    try:
        app(prog_name="munchray")
    finally:
        exit_on_sigint()
