"""One run, on servers of its own."""

import asyncio
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.faults.failover.faults import LONG, NETWORKED, Fault, word_of
from tests.faults.failover.judging import Result, judge
from tests.faults.failover.load import Load
from tests.faults.failover.watching import MORTAL
from tests.support.group_access import Access
from tests.support.groups import ClusterGroup, Group, Machine, Node, SentinelGroup
from tests.support.machines import Network, network
from tests.support.processes import Daemon

BEFORE, AFTER = 2.5, 11.0
"""Seconds of load before a fault begins, and from then on, and
LONG_AFTER: where servers have to be found again, which takes Sentinels more than ten."""
LONG_AFTER = 24.0
AT_ONCE = ("turns",)
"""Faults that end when all is well again."""
UNCERTAIN = 13.0
"""Seconds in which every request is answered, whatever happens."""
PLACES = {"sentinel": 6, "cluster": 5}
"""Machines of each form's servers; one more has the second daemon."""
USER, SENTINEL_USER = "secret:of/data", "secret@of?sentinels"
"""Passwords, with characters that a URL must escape."""


@dataclass(frozen=True)
class Setup:
    """What a run is made on.

    form: sentinel or cluster.  edges: how many, each of which follows the one before, and else a root.
    tls, auth: whether servers and Sentinels want that.  workers: processes of each daemon.
    log_from: whom the root that is watched asks for changes.
    """

    form: str = "sentinel"
    durability: str = "replica=1"
    edges: int = 1
    tls: bool = False
    auth: bool = False
    workers: int = 1
    log_from: str = "primary"


def needs_network(fault: str) -> bool:
    """Whether a fault is one of the network's."""
    return any(word_of(part) in NETWORKED for part in fault.split("+"))


def run(fault: str, setup: Setup) -> Result:
    """Lose something under load; what became of it."""
    with ExitStack() as stack:
        place = tempfile.TemporaryDirectory(prefix="kvd-failover-", ignore_cleanup_errors=True)
        directory = Path(stack.enter_context(place))
        net = stack.enter_context(network(PLACES[setup.form] + 1)) if needs_network(fault) else None
        group = _group(setup, directory, net.machines[:-1] if net else ())
        stack.callback(group.close)
        group.start()
        roots, edges = _daemons(stack, setup, group, directory, net)
        # With all, it is written on when the one that is gone has been found again.
        long = setup.durability == "replica=all" or any(part in LONG for part in fault.split("+"))
        doing = Fault(fault, group, net, roots, edges)
        seconds = 0.0 if fault in AT_ONCE else LONG_AFTER if long else AFTER
        running = asyncio.run(load(doing, roots, edges, seconds))
        node = group.primary
        result = judge(running.seen, final(node))
        result.moved = node is not group.nodes[0]
        if result.errors or result.violations(setup.durability):
            logs = "".join(f"{name}:\n{text}" for name, text in told(group, [*roots, *edges]))
            Path(tempfile.gettempdir(), f"kvd-failover-{os.getpid()}.log").write_text(logs)
        return result


def _group(setup: Setup, directory: Path, machines: Sequence[Machine]) -> SentinelGroup | ClusterGroup:
    access = Access(directory / "certificates" if setup.tls else None, *((USER, SENTINEL_USER) if setup.auth else ()))
    kind = ClusterGroup if setup.form == "cluster" else SentinelGroup
    return kind(directory / "group", "--protected-mode", "no", machines=machines, access=access)


class RemoteDaemon(Daemon):
    """One on a machine of its own, which is asked by a unix socket from here."""

    def __init__(self, data: Path, options: Sequence[str], space: str) -> None:
        self._socket = f"unix:{data}.sock"
        super().__init__(data, [*options, "--listen", self._socket])
        self._prefix = ["ip", "netns", "exec", space]

    @property
    def addr(self) -> str:
        """See `Daemon`."""
        return self._socket


def _daemons(
    stack: ExitStack, setup: Setup, group: Group, directory: Path, net: Network | None
) -> tuple[list[Daemon], list[Daemon]]:
    """Roots and edges, started."""
    options = ["--store", group.url, "--durability", setup.durability]
    options += ["--workers", str(setup.workers)] if setup.workers > 1 else []
    watched = [*options, "--log-from", setup.log_from]
    second = RemoteDaemon(directory / "data1", watched, net.machines[-1].space) if net else None
    roots = [Daemon(directory / "data0", options), second or Daemon(directory / "data1", watched)]
    edges: list[Daemon] = []
    for one in roots:
        one.start()
        stack.callback(one.stop)
    for n in range(setup.edges):
        upstreams = ",".join(one.addr for one in (*edges[-1:], *reversed(roots)))
        edges.append(Daemon(directory / f"edge{n}", ["--follow", upstreams]))
        edges[-1].start()
        stack.callback(edges[-1].stop)
    return roots, edges


async def load(fault: Fault, roots: Sequence[Daemon], edges: Sequence[Daemon], seconds: float) -> Load:
    """The load, with the fault in it.  seconds: from its beginning on."""
    running = Load(roots[0].addr, roots[1].addr, [one.addr for one in edges])
    running.start()
    await asyncio.sleep(BEFORE)
    doing = asyncio.create_task(fault.run())
    await asyncio.sleep(seconds)
    await doing
    await running.stop(UNCERTAIN)
    return running


def final(node: Node) -> dict[str, int]:
    """The revision of each key of a server, but for those with a time to live."""
    client = node.client(timeout=20)
    try:
        found: dict[bytes, bytes] = client.hgetall("{kvd}:data")  # type: ignore[assignment]
        records = ((key.decode(), int(raw.split(b" ")[0])) for key, raw in found.items())
        return {key: revision for key, revision in records if not key.startswith(MORTAL)}
    finally:
        client.close()


def told(group: Group, daemons: Sequence[Daemon]) -> Iterator[tuple[str, str]]:
    """What all that ran has written to its log."""
    for daemon in daemons:
        yield daemon.addr, daemon.log
    for node in group.all:
        yield node.directory.name, (node.directory / "log").read_text()
