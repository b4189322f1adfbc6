"""Arguments and options that several commands share. (typer)"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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
Address = Annotated[
    str | None,
    typer.Option(
        help="A Ray cluster: auto, HOST:PORT of its head, or http://HOST:8265 to submit a job.",
        show_default="this machine",
    ),
]
