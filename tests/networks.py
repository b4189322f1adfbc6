"""Hosts on this machine with a network of their own each: namespaces that are plugged into a bridge. (ip, as root)"""

from __future__ import annotations

import contextlib
import random
import secrets
import shutil
import socket
import subprocess
from dataclasses import dataclass


@dataclass(frozen=True)
class Host:
    """Where processes can be started.

    Args:
        address: by which other hosts reach it.
        enter: the words before a command that is to run there.
    """

    address: str
    enter: tuple[str, ...] = ()


def this_machine():
    """By the address that it has towards others, which Ray puts in the place of 127.0.0.1. Nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as found:
        found.connect(("192.0.2.1", 1))
        return Host(found.getsockname()[0])


class Network:
    """A bridge between hosts; this machine is plugged in as well.

    Attributes:
        address: of this machine in it.
    """

    def __init__(self):
        self._tag = secrets.token_hex(3)
        self._bridge = f"mr{self._tag}"
        self._subnet = f"10.77.{random.randrange(256)}"
        self.address = f"{self._subnet}.1"
        self._names = []
        _ip("link", "add", self._bridge, "type", "bridge")
        _ip("address", "add", f"{self.address}/24", "dev", self._bridge)
        _ip("link", "set", self._bridge, "up")

    def add(self):
        """Plug in another host."""
        number = len(self._names) + 2
        name, plug = f"munchray-{self._tag}-{number}", f"mr{self._tag}p{number}"
        address = f"{self._subnet}.{number}"
        _ip("netns", "add", name)
        self._names.append(name)
        _ip("link", "add", plug, "type", "veth", "peer", "name", "eth0", "netns", name)
        _ip("link", "set", plug, "master", self._bridge, "up")
        inside = ("-n", name)
        _ip(*inside, "link", "set", "lo", "up")
        _ip(*inside, "address", "add", f"{address}/24", "dev", "eth0")
        _ip(*inside, "link", "set", "eth0", "up")
        _ip(*inside, "route", "add", "default", "via", self.address)  # by it, programs find their own address
        return Host(address, ("ip", "netns", "exec", name))

    def close(self):
        """Pull all plugs; what runs there goes on alone."""
        for name in self._names:
            _ip("netns", "delete", name)
        _ip("link", "delete", self._bridge)


def network_if_allowed():
    """A network where the right to make one is given, else None."""
    if shutil.which("ip"):
        with contextlib.suppress(subprocess.CalledProcessError):
            return Network()
    return None


def _ip(*words):
    subprocess.run(["ip", *words], check=True, capture_output=True)
