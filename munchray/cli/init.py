"""``munchray init``: a commented job and its search space to start from. (typer)"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from munchray.errors import InputError, Problem, nearest
from munchray.progress import console

TEMPLATES = Path(__file__).parent / "templates"


def init(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            help="A job that comes with munchray: quickstart, ncbi_disease_cpu, ...",
            show_default="a template for your own corpora",
        ),
    ] = None,
    to: Annotated[
        Path, typer.Option(file_okay=False, help="The folder to write to.", show_default="the current folder")
    ] = Path(),
) -> None:
    """Write a commented job file and its search space to start from. Existing files are never overwritten.

    Example: munchray init quickstart

    Example: munchray init --to experiments
    """
    files = template() if name is None else packaged_job(name)
    for path in write_new(files, to):
        console.out.print(f"wrote {path}")
    job = to / next(iter(files))
    edit = "" if name else f"name your corpora in {job}, then "
    console.out.print(f"Next: {edit}munchray search {shlex.quote(str(job))}")


def template() -> dict[str, str]:
    """The texts of a job for the user's own corpora and of its search space, by file name."""
    return {name: (TEMPLATES / name).read_text(encoding="utf-8") for name in ("job.yaml", "space.yaml")}


def packaged_job(name: str) -> dict[str, str]:
    """The texts of a job that comes with munchray and of its search space, by path, for a folder without the others.

    Raises:
        InputError: no such job.
    """
    from munchray.settings.loading import packaged
    from munchray.settings.yaml_source import load_yaml

    jobs = packaged("jobs")
    path, known = jobs / f"{name}.yaml", {path.stem for path in jobs.glob("*.yaml")}
    if name not in known:
        raise InputError(Problem("munchray init", f"no job '{name}'", "a job that munchray has", nearest(name, known)))
    space = f"search_spaces/{load_yaml(path, 'job file').values['search_space']}.yaml"
    text = path.read_text(encoding="utf-8").replace(f"jobs/{path.name}", path.name)
    return {path.name: text, space: (jobs.parent / space).read_text(encoding="utf-8")}


def write_new(files: Mapping[str, str], folder: Path) -> list[Path]:
    """Write all files and return their paths; a packaged search space that is there already is kept.

    Raises:
        InputError: files exist; none is written.
    """
    new = {folder / name: text for name, text in files.items() if not _is_packaged_space(folder, name, text)}
    fix = "Choose another folder with --to, or rename it"
    problems = [Problem(str(path), "exists, and init overwrites nothing", fix=fix) for path in new if path.exists()]
    if problems:
        raise InputError(*problems)
    for path, text in new.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as stream:
            stream.write(text)
    return list(new)


def _is_packaged_space(folder: Path, name: str, text: str) -> bool:
    """Whether an earlier `init` wrote this search space for another job."""
    path = folder / name
    return path.parent.name == "search_spaces" and path.is_file() and path.read_bytes() == text.encode()
