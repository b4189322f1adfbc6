"""Real Ray clusters of several nodes on this machine; a node is a process group that can be killed."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
from networks import this_machine

RAY = str(Path(sys.executable).with_name("ray"))
FAST_DETECTION = {  # of nodes that died: a second instead of some ten
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "5",  # instead of 60
}


JOB = """
main: sample-disease-1
auxiliaries: [sample-disease-2, sample-gene-1, sample-species-1]
regime: stack
search_space: {order: {of: auxiliaries, length: 2}}
sampler: grid
embeddings: [{train: {characters: forward, hidden_size: 16, epochs: 1}}]
trials: 4
hidden_size: 16
batch_size: 8
max_epochs: 2
max_sentences: {train: 80, dev: 40}
"""


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class Cluster:
    """A head and some workers, ended with all their processes.

    All share a folder, which real nodes do not: a job that brings code along must run on a head alone, or one node
    unpacks it where another one runs it.

    Args:
        folder: short, for the names of Ray's sockets are limited.
        cpus: of the head.
        dashboard: whether jobs can be submitted.
        network: where every node is a host of its own; without, all have this machine's address.

    Attributes:
        head: the host from which searches are led.
    """

    def __init__(self, folder, cpus=0, dashboard=False, network=None):
        self.folder, self._served, self._cpus = folder, dashboard, cpus
        self.port, self.dashboard_port = free_port(), free_port()
        self._host = network.add if network else this_machine
        self.head = self._host()
        self.address = f"{self.head.address}:{self.port}"
        self.dashboard = f"http://127.0.0.1:{self.dashboard_port}"
        self.token = secrets.token_hex(32)
        self.env = {**os.environ, **FAST_DETECTION, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self.token}
        self.env |= {"RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}
        self.env["PATH"] = os.pathsep.join([str(Path(RAY).parent), os.environ["PATH"]])  # `python` of a job
        self.nodes = []
        self._start_head()

    def _start_head(self):
        served = f"--include-dashboard={str(self._served).lower()}"
        ports = [f"--port={self.port}", f"--dashboard-port={self.dashboard_port}"]
        self._start(self.head, ["--head", *ports, served, f"--num-cpus={self._cpus}", f"--temp-dir={self.folder}"])

    def add(self, cpus=1, hide=None):
        """Start a worker node; ``hide`` is a folder that it sees empty, as one that is not mounted there."""
        hidden = [
            "unshare",
            "--map-root-user",
            "--mount",
            "sh",
            "-c",
            f'mount -t tmpfs none "{hide}" && exec "$@"',
            "sh",
        ]
        host = self._host()
        self._start(host, [f"--address={self.address}", f"--num-cpus={cpus}"], hidden if hide else [])
        return len(self.nodes) - 1

    def _start(self, host, words, before=()):
        log = (Path(self.folder) / f"node{len(self.nodes)}.log").open("w")
        command = [*host.enter, *before, RAY, "start", "--block", "--disable-usage-stats", *words]
        command += [
            "--object-store-memory=80000000",
            f"--node-ip-address={host.address}",
            f"--dashboard-agent-listen-port={free_port()}",
        ]
        node = subprocess.Popen(command, env=self.env, stdout=log, stderr=log, start_new_session=True)
        self.nodes.append(node)
        end = time.monotonic() + 90
        while "Ray runtime started" not in Path(log.name).read_text():  # then the head knows of it
            if node.poll() is not None or time.monotonic() > end:
                self.close()
                raise AssertionError(Path(log.name).read_text())
            time.sleep(0.3)

    @property
    def workers(self):
        """How many worker nodes are alive."""
        return sum(node.poll() is None for node in self.nodes[1:])

    def kill(self, number):
        """A node is gone, as if its power had failed."""
        node = psutil.Process(self.nodes[number].pid)
        for process in [node, *node.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):  # it went with another one
                process.kill()
        self.nodes[number].wait()

    def start_anew(self):
        """The head was lost, and with it the cluster: another head at the same address, alone."""
        self.close()
        self.nodes.clear()
        self._start_head()

    def processes(self, number=None):
        """Of a node, or of all that live."""
        nodes = self.nodes if number is None else [self.nodes[number]]
        return [p for node in nodes if node.poll() is None for p in psutil.Process(node.pid).children(recursive=True)]

    def node_of(self, process):
        """The number of the node that a process runs on."""
        return next(number for number in range(len(self.nodes)) if process in self.processes(number))

    def close(self):
        for number, node in enumerate(self.nodes):
            if node.poll() is None:
                self.kill(number)
        for process in psutil.process_iter(["cmdline"]):  # agents outlive their raylet
            if any(str(self.folder) in word for word in process.info["cmdline"] or []):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()


def tiny_job(folder):
    """A job file of seconds: four orders of two auxiliaries."""
    path = folder / "tiny.yaml"
    path.write_text(JOB + f"storage: {folder / 'runs'}\n")
    return path


def searched(job_file, env, address, *more, host=None):
    """The command, to its end."""
    before = host.enter if host else ()
    command = [*before, sys.executable, "-m", "munchray", "search", str(job_file), "--address", address, *more]
    return subprocess.run(command, capture_output=True, text=True, cwd=job_file.parent, timeout=400, env=env)
