"""Joining a Ray cluster, or starting one on this machine, and how many trials fit on its nodes. (ray)"""

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

# Ray reads these when it starts: no telemetry, no tables and traces of its own between ours, no second record of each
# report (its TensorBoard one imports torch, which takes seconds), no process a core ahead of the trials (Tune's need an
# environment of their own and would not take them), and a trial without a GPU hides none from others.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("TUNE_PRINT_ALL_TRIAL_ERRORS", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("RAY_enable_worker_prestart", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

CLIENT = "ray://"
SECONDS_TO_ANSWER = 10.0


@dataclass(frozen=True)
class Node:
    """A node that is alive.

    Args:
        resources: all it has, used or not, such as ``{"CPU": 8, "GPU": 1}``.
    """

    id: str
    address: str
    resources: Mapping[str, float]

    def room(self, job: Job) -> int:
        """How many trials of a job fit at once."""
        wanted = job.resources_per_trial
        needs = {"CPU": wanted.cpu, "GPU": wanted.gpu}
        return min(int(self.resources.get(kind, 0) / need + 1e-9) for kind, need in needs.items() if need)


def connect(address: str | None) -> None:
    """Start Ray on this machine, or join the cluster at ``address``. SIGTERM then stops a search as Ctrl-C does.

    Raises:
        InputError: there is no cluster at the address, it does not let us in, or it runs other versions.
        WorkError: Ray does not start on this machine.
    """
    if address and address.startswith(CLIENT):
        host = address.removeprefix(CLIENT).split(":")[0]
        found = f"'{address}' is a Ray Client address; a search leads its trials from inside the cluster"
        fix = f"Submit it: --address http://{host}:8265; or on a node of the cluster: --address auto"
        raise InputError(Problem("--address", found, fix=fix))
    try:
        _knock(address)
        ray.init(address=address or "local", include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    except Exception as error:  # Ray raises all kinds, plain `Exception` among them
        if address is None:
            line = str(error).strip().splitlines()[0]
            raise WorkError(f"Ray does not start on this machine ({line}); is it very busy? Try again") from error
        raise InputError(_no_cluster(address, str(error))) from error
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))


def _knock(address: str | None) -> None:
    """Ray itself would wait for minutes where nobody listens.

    Raises:
        OSError: nobody does.
        ValueError: no HOST:PORT.
    """
    if address in (None, "auto", "local"):
        return
    host, _, port = str(address).rpartition(":")
    socket.create_connection((host, int(port)), SECONDS_TO_ANSWER).close()


def _no_cluster(address: str | None, error: str) -> Problem:
    line = next((line for line in error.splitlines() if line.strip()), "no reason given")
    if "token" in error.lower():
        fix = "Give this machine the cluster's token: RAY_AUTH_MODE=token and RAY_AUTH_TOKEN, or ~/.ray/auth_token"
    elif "version" in error.lower():
        fix = "Install the same versions of Python and Ray here as on the cluster"
    else:
        fix = "Start one with `ray start --head`, or leave --address out to use this machine"
    return Problem("--address", f"no Ray cluster lets us in at '{address}' ({line})", fix=fix)


def alive() -> list[Node]:
    """The nodes of the connected cluster, the one of this process first."""
    own = ray.get_runtime_context().get_node_id()
    nodes = [_node(found) for found in ray.nodes() if found["Alive"]]
    return sorted(nodes, key=lambda node: (node.id != own, node.address))


def _node(found: Mapping[str, Any]) -> Node:
    return Node(found["NodeID"], found["NodeManagerAddress"], found["Resources"])


def room(job: Job) -> int:
    """How many trials of a job the cluster runs at once, as it is now; at most ``concurrent_trials``."""
    fits = sum(node.room(job) for node in alive())
    return min(fits, job.concurrent_trials or fits)


def check_room(job: Job) -> None:
    """See that at least one trial fits on one node, and ``concurrent_trials`` on all of them.

    Raises:
        InputError: they do not.
    """
    nodes, wanted = alive(), job.resources_per_trial
    fits = sum(node.room(job) for node in nodes)
    has = _shown(nodes)
    if not fits:
        needs = f"{wanted.cpu:g} CPUs" + (f" and {wanted.gpu:g} GPUs" if wanted.gpu else "")
        found = f"resources_per_trial asks for {needs}, which no node has ({has})"
        raise InputError(Problem(f"job {job.name}", found, fix="Lower resources_per_trial or add a larger node"))
    if job.concurrent_trials and job.concurrent_trials > fits:
        found = f"concurrent_trials is {job.concurrent_trials}, but the nodes have room for {fits} ({has})"
        fix = "Lower it, or leave it out to use all there is"
        raise InputError(Problem(f"job {job.name}", found, f"at most {fits}", fix))


def _shown(nodes: list[Node]) -> str:
    each = [f"{node.resources.get('CPU', 0):g} CPUs, {node.resources.get('GPU', 0):g} GPUs" for node in nodes]
    counted = {text: each.count(text) for text in each}
    return "; ".join(f"{count} x {text}" if count > 1 else text for text, count in counted.items())
