"""Machines in a network of their own: namespaces on a bridge, whose links are cut, each from all or from one other, or
slow.

What is cut is silent: nothing is refused, it just never arrives.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tests.support.groups import Machine

NOWHERE = "02:00:00:00:00:99"
"""An address on the bridge that nobody has."""


class Network:
    """Machines and this one, which has the address `here` there."""

    def __init__(self, count: int) -> None:
        self._name = f"kvd{os.getpid() % 10000}"
        # A net of its own for each run.
        self._net = f"10.{100 + os.getpid() % 100}.{os.getpid() // 100 % 250}"
        self.here = Machine(f"{self._net}.1", "")
        self.machines = [Machine(f"{self._net}.{n + 10}", f"{self._name}n{n}") for n in range(count)]
        self._cut: list[tuple[Machine, Machine]] = []
        self._slow: subprocess.Popen[str] | None = None

    def open(self) -> None:
        _run("ip", "link", "add", self._name, "type", "bridge")
        _run("ip", "addr", "add", f"{self.here.host}/24", "dev", self._name)
        _run("ip", "link", "set", self._name, "up")
        for one in self.machines:
            _run("ip", "netns", "add", one.space)
            _run("ip", "link", "add", f"{one.space}h", "type", "veth", "peer", "name", "eth0", "netns", one.space)
            _run("ip", "link", "set", f"{one.space}h", "master", self._name, "up")
            self._within(one, "addr", "add", f"{one.host}/24", "dev", "eth0")
            self._within(one, "link", "set", "eth0", "up")
            self._within(one, "link", "set", "lo", "up")

    def close(self) -> None:
        self._stop_slow()
        for one in self.machines:
            # A connection that was not closed in order keeps the namespace for a while, and with it the link.
            subprocess.run(["ip", "link", "del", f"{one.space}h"], check=False, capture_output=True)
            subprocess.run(["ip", "netns", "del", one.space], check=False, capture_output=True)
        subprocess.run(["ip", "link", "del", self._name], check=False, capture_output=True)

    def cut(self, pairs: Sequence[tuple[Machine, Machine]]) -> None:
        """Let nothing through between the two of each pair, in either direction."""
        for pair in pairs:
            for one, other in (pair, pair[::-1]):
                self._within(
                    one, "neigh", "replace", other.host, "lladdr", NOWHERE, "nud", "permanent", "dev", self._device(one)
                )
            self._cut.append(pair)

    def cut_off(self, one: Machine) -> None:
        """Take a machine off the network."""
        _run("ip", "link", "set", f"{one.space}h", "down")

    def slow(self, one: Machine, seconds: float) -> None:
        """Let all that goes to a machine, or comes from it, take so long.  One machine at a time."""
        bridge, near, far = (f"{self._name}{end}" for end in "snf")
        _run("ip", "link", "add", bridge, "type", "bridge")
        command = [sys.executable, "-m", "tests.support.slow_link", near, far, str(seconds)]
        self._slow = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._slow.stdout
        assert self._slow.stdout.readline() == "ready\n"
        for device, master in ((near, self._name), (far, bridge), (f"{one.space}h", bridge)):
            _run("ip", "link", "set", device, "master", master, "up")
        _run("ip", "link", "set", bridge, "up")

    def _stop_slow(self) -> None:
        if self._slow:
            self._slow.kill()
            self._slow.communicate()
            self._slow = None
            subprocess.run(["ip", "link", "del", f"{self._name}s"], check=False, capture_output=True)

    def mend(self) -> None:
        """Let all through again, and as fast as ever."""
        self._stop_slow()
        for pair in self._cut:
            for one, other in (pair, pair[::-1]):
                self._within(one, "neigh", "del", other.host, "dev", self._device(one))
        self._cut.clear()
        for one in self.machines:
            _run("ip", "link", "set", f"{one.space}h", "master", self._name, "up")

    def _device(self, one: Machine) -> str:
        return "eth0" if one.space else self._name

    @staticmethod
    def _within(one: Machine, *words: str) -> None:
        _run("ip", *(["-n", one.space] if one.space else []), *words)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)


def why_none() -> str:
    """Why there can be no such network here; "" if there can."""
    if shutil.which("ip") is None:
        return "ip (iproute2) is not installed"
    try:
        with network(1):
            return ""
    except (subprocess.CalledProcessError, OSError) as error:
        return f"no network namespaces here: {getattr(error, 'stderr', '') or error}".strip()


@contextmanager
def network(count: int) -> Iterator[Network]:
    """A network, taken down whatever happens."""
    opened = Network(count)
    try:
        opened.open()
        yield opened
    finally:
        opened.close()
