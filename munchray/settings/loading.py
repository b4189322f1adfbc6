"""Load a ``Job`` from a job file, its search space and ``--set key=value``; all problems are raised at once."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from munchray.errors import InputError, Problem, nearest
from munchray.settings.job import Job
from munchray.settings.space import SearchSpace
from munchray.settings.validation_errors import validate
from munchray.settings.yaml_source import KeyPath, YamlDocument, load_yaml, read_value, shown_path

FOLDERS = ("storage", "data_dir", "features")
PACKAGE = Path(__file__).parents[1]
JOB_KEY = re.compile(rb"^(main|regime|search_space) *:", re.MULTILINE)
VARIABLE = re.compile(r"\$(?:\w+|\{[^}]*\})")


OF_A_SEARCH = ("search_space", "first_orders", "warm_start")


def load_job(path: Path, overrides: Sequence[str] = (), *, search: bool = True) -> Job:
    """Read, complete and validate a job.

    Args:
        path: the job file.
        overrides: ``key=value`` each, the value in YAML, nested keys with dots.
        search: False leaves out what only a search reads, for a single training: a space of orders then does not keep
            a regime without orders from being trained.

    Raises:
        InputError: all problems in the job file, the search-space file and the overrides.
    """
    document = load_yaml(path, "job file")
    if not search:
        overrides = [text for text in overrides if text.split("=")[0].split(".")[0] not in OF_A_SEARCH]
        for key in OF_A_SEARCH:
            document.values.pop(key, None)
    inside_space = [text for text in overrides if text.startswith("search_space.")]
    problems = _apply(document, [text for text in overrides if text not in inside_space])
    try:
        _include_space(document, path)
        problems += _apply(document, inside_space)
    except InputError as error:
        problems += error.problems
        document.values["search_space"] = SearchSpace()  # so that the rest is validated as well
    document.values.setdefault("name", path.stem)
    document.values.setdefault("storage", Job.model_fields["storage"].default)
    problems += _resolve_paths(document)
    return validate(Job, document, problems)


def _apply(document: YamlDocument, overrides: Iterable[str]) -> list[Problem]:
    problems: list[Problem] = []
    for text in overrides:
        try:
            _override(document, text)
        except InputError as error:
            problems += error.problems
    return problems


def _override(document: YamlDocument, text: str) -> None:
    where = f"--set {text}"
    key, equals, value = text.partition("=")
    if not equals or not all(key.split(".")):
        raise InputError(Problem(where, "this sets nothing", "key=value"))
    document.set_value(tuple(key.split(".")), read_value(value, where), where)


def _include_space(document: YamlDocument, job_path: Path) -> None:
    """Replace the name or path of a search-space file by its contents."""
    name = document.values.get("search_space")
    if isinstance(name, str):
        path = _find_space(name, job_path, document.location_of(("search_space",)))
        document.include("search_space", load_yaml(path, "search space"))


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


def _resolve_paths(document: YamlDocument) -> Iterator[Problem]:
    """Expand ``~`` and ``$NAME`` in every path; folders become absolute, since workers start in another one."""
    for keys, container in _path_fields(document.values):
        key = keys[-1]
        container[key] = os.path.expanduser(os.path.expandvars(container[key]))  # noqa: PTH111 - may be a URI
        unset = VARIABLE.findall(container[key])
        for name in unset:
            found = f"{document.name_of(keys)} uses {name}, which is not set"
            yield Problem(document.location_of(keys), found, "an environment variable that is set")
        if not unset and container[key] and _is_folder(keys) and "://" not in container[key]:
            container[key] = str(Path(container[key]).absolute())


def _path_fields(values: dict[str, Any]) -> Iterator[tuple[KeyPath, Any]]:
    """The key path of each string that may be a file path, and the mapping or list that contains it."""
    yield from (((key,), values) for key in (*FOLDERS, "tracking_uri") if isinstance(values.get(key), str))
    corpora = values.get("corpora")
    for name, corpus in corpora.items() if isinstance(corpora, dict) else ():
        if isinstance(corpus, dict) and isinstance(corpus.get("folder"), str):
            yield ("corpora", name, "folder"), corpus
    if "embeddings" in values:
        yield from _texts_in(values["embeddings"], ("embeddings",))
    for keys, container in _texts_in(values.get("warm_start"), ("warm_start",)):
        if "/" in container[keys[-1]]:  # else it names a search of the storage
            yield keys, container


def _texts_in(container: Any, keys: KeyPath) -> Iterator[tuple[KeyPath, Any]]:
    items = dict(enumerate(container)) if isinstance(container, list) else container
    for key, value in list(items.items()) if isinstance(items, dict) else ():
        if isinstance(value, str):
            yield (*keys, key), container
        else:
            yield from _texts_in(value, (*keys, key))


def _is_folder(keys: KeyPath) -> bool:
    return keys[0] in (*FOLDERS, "corpora", "warm_start")
