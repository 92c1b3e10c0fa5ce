"""A machine that can vanish: a network namespace, joined to this one by a cable; it takes root, and iproute2."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import pytest


class FarMachine(NamedTuple):
    """name: of the namespace.  address: of the machine.  here, other: two addresses of this side of the cable."""

    name: str
    address: str
    here: str
    other: str

    @property
    def prefix(self) -> list[str]:
        """Before a command that is to run there."""
        return ["ip", "netns", "exec", self.name]

    def lose(self, address: str) -> None:
        """From now on nobody has an address: what is sent to it gets no answer, and what has it sends nothing."""
        side = ["-n", self.name] if address == self.address else []
        _ip(*side, "address", "del", f"{address}/29", "dev", self.name)


@contextmanager
def far_machine() -> Iterator[FarMachine]:
    """A far machine, until the end of the block; the test is skipped where there can be none."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("only root can make network namespaces, with iproute2's ip")
    net = f"198.18.{os.getpid() % 256}"
    machine = FarMachine(f"kvd{os.getpid()}", f"{net}.1", f"{net}.2", f"{net}.3")
    try:
        _ip("netns", "add", machine.name)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no network namespace can be made: {error.stderr.strip()}")
    try:
        _ip("link", "add", machine.name, "type", "veth", "peer", "name", machine.name, "netns", machine.name)
        # The first is the primary one, with which the others go.
        for address in (machine.other, machine.here):
            _ip("address", "add", f"{address}/29", "dev", machine.name)
        _ip("link", "set", machine.name, "up")
        _ip("-n", machine.name, "address", "add", f"{machine.address}/29", "dev", machine.name)
        for link in ("lo", machine.name):
            _ip("-n", machine.name, "link", "set", link, "up")
        yield machine
    finally:
        # The namespace alone would take the cable with it a moment later.
        subprocess.run(["ip", "link", "del", machine.name], capture_output=True, check=False)
        _ip("netns", "del", machine.name)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], capture_output=True, text=True, check=True)
