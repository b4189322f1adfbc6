"""Connect to a Ray cluster, or start one on this machine, and compute its capacity for trials. (ray)"""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import ray

from munchray.errors import InputError, Problem, WorkError
from munchray.settings import Job

# Ray reads these at startup: no telemetry, none of its tables and traces between ours, no second logger of results (the
# one for TensorBoard imports torch, which takes seconds), no prestarted workers (trials need an environment of their
# own and cannot use them), and tasks without a GPU leave CUDA_VISIBLE_DEVICES alone.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("TUNE_PRINT_ALL_TRIAL_ERRORS", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("RAY_enable_worker_prestart", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

CLIENT = "ray://"
CONNECT_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Node:
    """An alive node.

    Args:
        resources: total resources, used or not, such as ``{"CPU": 8, "GPU": 1}``.
    """

    id: str
    address: str
    resources: Mapping[str, float]

    def capacity(self, job: Job) -> int:
        """Number of concurrent trials of a job that fit on this node."""
        wanted = job.resources_per_trial
        needs = {"CPU": wanted.cpu, "GPU": wanted.gpu}
        return min(int(self.resources.get(kind, 0) / need + 1e-9) for kind, need in needs.items() if need)


def connect(address: str | None) -> None:
    """Start Ray on this machine, or join the cluster at ``address``; SIGTERM is then handled like Ctrl-C.

    Raises:
        InputError: no cluster at the address, access denied, or other versions of Python or Ray.
        WorkError: Ray does not start on this machine.
    """
    if address and address.startswith(CLIENT):
        host = address.removeprefix(CLIENT).split(":")[0]
        found = f"'{address}' is a Ray Client address; the driver of a search must run inside the cluster"
        fix = f"Submit it: --address http://{host}:8265; or on a node of the cluster: --address auto"
        raise InputError(Problem("--address", found, fix=fix))
    try:
        _check_reachable(address)
        ray.init(address=address or "local", include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    except Exception as error:  # Ray raises many types, plain `Exception` among them
        if address is None:
            line = str(error).strip().splitlines()[0]
            raise WorkError(f"Ray does not start on this machine ({line}); is it very busy? Try again") from error
        raise InputError(_no_cluster(address, str(error))) from error
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))


def _check_reachable(address: str | None) -> None:
    """Fail fast if nothing listens at the address: Ray itself would retry for minutes.

    Raises:
        OSError: connection refused or timed out.
        ValueError: not of the form HOST:PORT.
    """
    if address in (None, "auto", "local"):
        return
    host, _, port = str(address).rpartition(":")
    socket.create_connection((host, int(port)), CONNECT_TIMEOUT_S).close()


def _no_cluster(address: str | None, error: str) -> Problem:
    line = next((line for line in error.splitlines() if line.strip()), "no reason given")
    if "token" in error.lower():
        fix = "Set the cluster's token on this machine: RAY_AUTH_MODE=token and RAY_AUTH_TOKEN, or ~/.ray/auth_token"
    elif "version" in error.lower():
        fix = "Install the same versions of Python and Ray here as on the cluster"
    else:
        fix = "Start one with `ray start --head`, or leave --address out to use this machine"
    return Problem("--address", f"cannot join a Ray cluster at '{address}' ({line})", fix=fix)


def alive() -> list[Node]:
    """The alive nodes of the connected cluster, the one of this process first."""
    own = ray.get_runtime_context().get_node_id()
    nodes = [_node(found) for found in ray.nodes() if found["Alive"]]
    return sorted(nodes, key=lambda node: (node.id != own, node.address))


def _node(found: Mapping[str, Any]) -> Node:
    return Node(found["NodeID"], found["NodeManagerAddress"], found["Resources"])


def trial_slots(job: Job) -> int:
    """Number of concurrent trials of a job on the current nodes, at most ``concurrent_trials``."""
    capacity = sum(node.capacity(job) for node in alive())
    return min(capacity, job.concurrent_trials or capacity)


def check_capacity(job: Job) -> None:
    """Check that at least one trial fits on some node, and ``concurrent_trials`` on all of them together.

    Raises:
        InputError: they do not.
    """
    nodes, request = alive(), job.resources_per_trial
    capacity = sum(node.capacity(job) for node in nodes)
    available = _summary(nodes)
    if not capacity:
        requested = f"{request.cpu:g} CPUs" + (f" and {request.gpu:g} GPUs" if request.gpu else "")
        found = f"resources_per_trial asks for {requested}, which no node has ({available})"
        raise InputError(Problem(f"job {job.name}", found, fix="Lower resources_per_trial or add a larger node"))
    if job.concurrent_trials and job.concurrent_trials > capacity:
        found = (
            f"concurrent_trials is {job.concurrent_trials}, but the nodes have capacity for {capacity} ({available})"
        )
        fix = "Lower it, or leave it out to use the whole cluster"
        raise InputError(Problem(f"job {job.name}", found, f"at most {capacity}", fix))


def _summary(nodes: list[Node]) -> str:
    each = [f"{node.resources.get('CPU', 0):g} CPUs, {node.resources.get('GPU', 0):g} GPUs" for node in nodes]
    counted = {text: each.count(text) for text in each}
    return "; ".join(f"{count} x {text}" if count > 1 else text for text, count in counted.items())
