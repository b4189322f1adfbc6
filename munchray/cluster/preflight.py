"""Before any trial: every node of a cluster sees what trials need, and runs the same code. (ray)"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from munchray.cluster import nodes, probe
from munchray.cluster.nodes import Node
from munchray.cluster.probe import View, Wanted
from munchray.errors import InputError, Problem
from munchray.storage.path import StoragePath

SECONDS = 120.0
"""A node that has not answered by then is no use; the first answer waits for imports."""
SEEN = "no file of this node arrives here"


@dataclass(frozen=True)
class Answer:
    """What came back from a node: its view, or why there is none."""

    node: Node
    view: View | None
    silence: str = ""


def ask_all(storages: Sequence[StoragePath], files: Sequence[Path]) -> list[Answer]:
    """Every node's view of the storages that all must share and the files that all must have."""
    mark = f".preflight-{uuid.uuid4().hex[:8]}"
    everyone = nodes.alive()
    with _marked(storages, mark, everyone):
        wanted = Wanted(mark, tuple(storages), {str(path): path.stat().st_size for path in files})
        asked = {node.id: _ask(node, wanted) for node in everyone}
        ray.wait(list(asked.values()), num_returns=len(asked), timeout=SECONDS)
        return [_answer(node, asked[node.id], wanted) for node in everyone]


def check(answers: Sequence[Answer]) -> None:
    """See that no node differs from this process or lacks anything.

    Raises:
        InputError: every problem of every node.
    """
    problems = [problem for answer in answers for problem in _problems(answer)]
    if problems:
        raise InputError(*problems)


def _ask(node: Node, wanted: Wanted) -> ray.ObjectRef:
    on_it = NodeAffinitySchedulingStrategy(node.id, soft=False)
    task = ray.remote(num_cpus=0, max_retries=0)(probe.look)
    return task.options(scheduling_strategy=on_it).remote(wanted, node.id)


def _answer(node: Node, asked: ray.ObjectRef, wanted: Wanted) -> Answer:
    try:
        view = ray.get(asked, timeout=0)
    except ray.exceptions.GetTimeoutError:
        return Answer(node, None, f"no answer within {SECONDS:.0f} s")
    except Exception as error:  # whatever stops a task there would stop a trial
        return Answer(node, None, str(error).strip().splitlines()[-1])
    unseen = {str(storage): SEEN for storage in wanted.storages if not storage.has(f"{wanted.mark}.{node.id}")}
    return Answer(node, View(view.host, view.versions, {**unseen, **view.problems}))


def _problems(answer: Answer) -> Iterator[Problem]:
    where = f"node {answer.node.address}"
    if answer.view is None:
        yield Problem(where, answer.silence, fix="Install munchray there as here, or take the node out of the cluster")
        return
    for name, here in probe.versions().items():
        there = answer.view.versions.get(name, "none")
        if there != here:
            yield Problem(where, f"{name} {there}", f"{here}, as here", "Install the same everywhere")
    for what, found in answer.view.problems.items():
        yield Problem(where, f"{what} {found}", fix=_fix(found))


def _fix(found: str) -> str:
    if "out of reach" in found:
        return "Give `ray start` there a way to the server, and the keys in its environment"
    if "bytes" in found or "read" in found:
        return "Put the corpora on the shared disk and set data_dir, or copy them to the same storage on every node"
    return "Set storage (and features) to a folder on a disk that all nodes mount at the same storage"


@contextlib.contextmanager
def _marked(storages: Sequence[StoragePath], mark: str, everyone: Sequence[Node]) -> Iterator[None]:
    """A file in every storage while the nodes look; theirs are taken away as well."""
    try:
        for storage in storages:
            storage.folder.mkdir(parents=True, exist_ok=True)
            storage.mark(mark)
        yield
    finally:
        for storage in storages:
            for name in (mark, *(f"{mark}.{node.id}" for node in everyone)):
                storage.delete_remote(name)
                (storage.folder / name).unlink(missing_ok=True)


def rows(answers: Sequence[Answer]) -> list[Mapping[str, str]]:
    """A row a node, as people read it."""
    return [
        {
            "node": answer.node.address,
            "host": answer.view.host if answer.view else "",
            "CPUs": f"{answer.node.resources.get('CPU', 0):g}",
            "GPUs": f"{answer.node.resources.get('GPU', 0):g}",
            "munchray": answer.view.versions.get("munchray", "") if answer.view else "",
            "torch": answer.view.versions.get("torch", "") if answer.view else "",
            "": "; ".join(f"{what} {found}" for what, found in answer.view.problems.items())
            if answer.view
            else answer.silence,
        }
        for answer in answers
    ]
