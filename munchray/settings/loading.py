"""From a job file, its search space and ``--set key=value`` to a ``Job``, with all mistakes at once."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from munchray.errors import InputError, Problem, nearest
from munchray.settings.job import Job
from munchray.settings.space import SearchSpace
from munchray.settings.validation_errors import validated
from munchray.settings.yaml_source import Document, KeyPath, read_document, read_value, shown_path

FOLDERS = ("storage", "data_dir", "features")
PACKAGE = Path(__file__).parents[1]
JOB_KEY = re.compile(rb"^(main|regime|search_space) *:", re.MULTILINE)
VARIABLE = re.compile(r"\$(?:\w+|\{[^}]*\})")


def load_job(path: Path, overrides: Sequence[str] = ()) -> Job:
    """Read, complete and check a job.

    Args:
        path: the job file.
        overrides: ``key=value`` each, the value in YAML, nested keys with dots.

    Raises:
        InputError: every mistake in the job file, the search-space file and the overrides.
    """
    document = read_document(path, "job file")
    inside_space = [text for text in overrides if text.startswith("search_space.")]
    problems = _apply(document, [text for text in overrides if text not in inside_space])
    try:
        _graft_space(document, path)
        problems += _apply(document, inside_space)
    except InputError as error:
        problems += error.problems
        document.values["search_space"] = SearchSpace()  # so that everything else is checked as well
    document.values.setdefault("name", path.stem)
    document.values.setdefault("storage", Job.model_fields["storage"].default)
    problems += _resolve_paths(document)
    return validated(Job, document, problems)


def _apply(document: Document, overrides: Iterable[str]) -> list[Problem]:
    problems: list[Problem] = []
    for text in overrides:
        try:
            _override(document, text)
        except InputError as error:
            problems += error.problems
    return problems


def _override(document: Document, text: str) -> None:
    where = f"--set {text}"
    key, equals, value = text.partition("=")
    if not equals or not all(key.split(".")):
        raise InputError(Problem(where, "this sets nothing", "key=value"))
    document.replace(tuple(key.split(".")), read_value(value, where), where)


def _graft_space(document: Document, job_path: Path) -> None:
    """Replace the name or path of a search-space file by what is in it."""
    name = document.values.get("search_space")
    if isinstance(name, str):
        path = _find_space(name, job_path, document.where(("search_space",)))
        document.graft("search_space", read_document(path, "search space"))


def _find_space(name: str, job_path: Path, where: str) -> Path:
    if name.endswith((".yaml", ".yml")) or "/" in name:
        return Path(name).expanduser()
    folders = _space_folders(job_path)
    for folder in folders:
        if _is_space(found := folder / f"{name}.yaml"):
            return found
    known = {path.stem for folder in folders for path in folder.glob("*.yaml") if _is_space(path)}
    *most, last = dict.fromkeys(f"{shown_path(folder.absolute())}/" for folder in folders)
    expected = f"a file {name}.yaml in {', '.join(most)} or {last}"
    raise InputError(Problem(where, f"no search space '{name}'", expected, nearest(name, known)))


def _space_folders(job_path: Path) -> list[Path]:
    """Where a named search space may be, first match first: beside the job file, in the current folder, packaged."""
    beside, here = job_path.resolve().parent, Path()
    near = [beside / "search_spaces", beside.parent / "search_spaces", beside, here / "search_spaces", here]
    return [*near, packaged("search_spaces")]


def _is_space(path: Path) -> bool:
    """A YAML file that is no job: beside a job, another may have the name of a packaged search space."""
    return path.is_file() and not JOB_KEY.search(path.read_bytes())


def packaged(folder: str) -> Path:
    """The ``jobs`` or ``search_spaces`` that come with munchray."""
    inside = PACKAGE / folder
    return inside if inside.is_dir() else PACKAGE.parent / folder  # a checkout has them beside the package


def _resolve_paths(document: Document) -> Iterator[Problem]:
    """Expand ``~`` and ``$NAME`` in every path; folders become absolute: workers start elsewhere."""
    for keys, holder in _path_places(document.values):
        key = keys[-1]
        holder[key] = os.path.expanduser(os.path.expandvars(holder[key]))  # noqa: PTH111 - may be a URI
        unset = VARIABLE.findall(holder[key])
        for name in unset:
            found = f"{document.name_of(keys)} uses {name}, which is not set"
            yield Problem(document.where(keys), found, "an environment variable that is set")
        if not unset and holder[key] and _is_folder(keys) and "://" not in holder[key]:
            holder[key] = str(Path(holder[key]).absolute())


def _path_places(values: dict[str, Any]) -> Iterator[tuple[KeyPath, Any]]:
    """The way to each text that may be a path, and the mapping or list that holds it."""
    yield from (((key,), values) for key in (*FOLDERS, "tracking_uri") if isinstance(values.get(key), str))
    corpora = values.get("corpora")
    for name, corpus in corpora.items() if isinstance(corpora, dict) else ():
        if isinstance(corpus, dict) and isinstance(corpus.get("folder"), str):
            yield ("corpora", name, "folder"), corpus
    if "embeddings" in values:
        yield from _texts_in(values["embeddings"], ("embeddings",))
    for keys, holder in _texts_in(values.get("warm_start"), ("warm_start",)):
        if "/" in holder[keys[-1]]:  # else it names a search of the storage
            yield keys, holder


def _texts_in(holder: Any, keys: KeyPath) -> Iterator[tuple[KeyPath, Any]]:
    places = holder.items() if isinstance(holder, dict) else enumerate(holder) if isinstance(holder, list) else ()
    for key, value in list(places):
        if isinstance(value, str):
            yield (*keys, key), holder
        else:
            yield from _texts_in(value, (*keys, key))


def _is_folder(keys: KeyPath) -> bool:
    return keys[0] in (*FOLDERS, "corpora", "warm_start")
