"""Preflight check: every node can access storage and files, and runs the same versions. (ray)"""

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
from munchray.cluster.probe import NodeView, Requirements
from munchray.errors import InputError, Problem
from munchray.storage.path import StoragePath

TIMEOUT_S = 120.0
"""Nodes that have not answered by then fail; the first answer includes the time of imports."""
NOT_SHARED = "no file of this node arrives here"


@dataclass(frozen=True)
class ProbeResult:
    """The view of a node, or the reason why there is none."""

    node: Node
    view: NodeView | None
    failure: str = ""


def probe_all(storages: Sequence[StoragePath], files: Sequence[Path]) -> list[ProbeResult]:
    """Probe every node for the storages that all must share and the files that all must have."""
    marker = f".preflight-{uuid.uuid4().hex[:8]}"
    all_nodes = nodes.alive()
    with _markers(storages, marker, all_nodes):
        required = Requirements(marker, tuple(storages), {str(path): path.stat().st_size for path in files})
        tasks = {node.id: _submit(node, required) for node in all_nodes}
        ray.wait(list(tasks.values()), num_returns=len(tasks), timeout=TIMEOUT_S)
        return [_result(node, tasks[node.id], required) for node in all_nodes]


def check(results: Sequence[ProbeResult]) -> None:
    """Check that every node fulfils the requirements and runs the versions of this process.

    Raises:
        InputError: all problems of all nodes.
    """
    problems = [problem for result in results for problem in _problems(result)]
    if problems:
        raise InputError(*problems)


def _submit(node: Node, required: Requirements) -> ray.ObjectRef:
    on_node = NodeAffinitySchedulingStrategy(node.id, soft=False)
    task = ray.remote(num_cpus=0, max_retries=0)(probe.inspect_node)
    return task.options(scheduling_strategy=on_node).remote(required, node.id)


def _result(node: Node, task: ray.ObjectRef, required: Requirements) -> ProbeResult:
    try:
        view = ray.get(task, timeout=0)
    except ray.exceptions.GetTimeoutError:
        return ProbeResult(node, None, f"no answer within {TIMEOUT_S:.0f} s")
    except Exception as error:  # any error that stops a task there would stop a trial
        return ProbeResult(node, None, str(error).strip().splitlines()[-1])
    unseen = {str(s): NOT_SHARED for s in required.storages if not s.has(f"{required.marker}.{node.id}")}
    return ProbeResult(node, NodeView(view.host, view.versions, {**unseen, **view.problems}))


def _problems(result: ProbeResult) -> Iterator[Problem]:
    where = f"node {result.node.address}"
    if result.view is None:
        fix = "Install the same munchray there, or remove the node from the cluster"
        yield Problem(where, result.failure, fix=fix)
        return
    for name, here in probe.versions().items():
        there = result.view.versions.get(name, "none")
        if there != here:
            yield Problem(where, f"{name} {there}", f"{here}, as here", "Install the same everywhere")
    for what, found in result.view.problems.items():
        yield Problem(where, f"{what} {found}", fix=_fix(found))


def _fix(found: str) -> str:
    if "out of reach" in found:
        return "Give `ray start` on that node network access to the server, and the keys in its environment"
    if "bytes" in found or "read" in found:
        return "Put the corpora on the shared disk and set data_dir, or copy them to the same path on every node"
    return "Set storage (and features) to a folder on a disk that all nodes mount at the same path"


@contextlib.contextmanager
def _markers(storages: Sequence[StoragePath], marker: str, all_nodes: Sequence[Node]) -> Iterator[None]:
    """Keep a marker file in every storage during the probe; delete it and those of the nodes afterwards."""
    try:
        for storage in storages:
            storage.folder.mkdir(parents=True, exist_ok=True)
            storage.mark(marker)
        yield
    finally:
        for storage in storages:
            for name in (marker, *(f"{marker}.{node.id}" for node in all_nodes)):
                storage.delete_remote(name)
                (storage.folder / name).unlink(missing_ok=True)


def rows(results: Sequence[ProbeResult]) -> list[Mapping[str, str]]:
    """One table row per node."""
    return [
        {
            "node": result.node.address,
            "host": result.view.host if result.view else "",
            "CPUs": f"{result.node.resources.get('CPU', 0):g}",
            "GPUs": f"{result.node.resources.get('GPU', 0):g}",
            "munchray": result.view.versions.get("munchray", "") if result.view else "",
            "torch": result.view.versions.get("torch", "") if result.view else "",
            "": "; ".join(f"{what} {found}" for what, found in result.view.problems.items())
            if result.view
            else result.failure,
        }
        for result in results
    ]
