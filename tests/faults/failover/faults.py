"""What is done to the servers, to their network, and to the daemons."""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from tests.support.groups import ClusterGroup, Group, Machine, Node
from tests.support.machines import Network
from tests.support.processes import PATIENCE, Daemon, wait_for

AWAY = 5.0
"""Seconds after which a server that was killed comes back, and
DAEMON_AWAY: the same of a daemon,
CUT: for which links are cut or slow, and
LONG_CUT: where others are to have gone on meanwhile, and
PARTED: from when replicas lose the primary until it is killed."""
DAEMON_AWAY = 0.5
CUT = 4.0
LONG_CUT = 8.0
PARTED = 0.8
BETWEEN = 0.5
"""Seconds of load between faults that follow each other."""
SLOW = 0.1
"""Seconds that all takes on a slow link, each way."""
LOST_BYTES = 100_000
"""Of the end of a file."""
LONG = ("twice", "half", "blind")
NETWORKED = (
    "off", "alone", "half", "blind", "silent", "far", "replica", "parted", "slow", "laggard", "lone", "link", "turns",
)  # fmt: skip
DATA = 3
"""So many machines have the servers; those after them have those that vote, and the last one the second daemon."""


def word_of(part: str) -> str:
    """Of a part of a fault's name, what it is without its number."""
    return part.rstrip("0123456789.")


class Fault:
    """What is done at once on one group: names that are joined by `+`.  Raises ValueError for what is none."""

    def __init__(
        self, name: str, group: Group, net: Network | None, roots: Sequence[Daemon], edges: Sequence[Daemon]
    ) -> None:  # fmt: skip
        self._group, self._net, self._all_roots, self._all_edges = group, net, roots, edges
        self._first = group.nodes[0]
        self._do = [self._named(part) for part in name.split("+")]

    def _named(self, part: str) -> Callable[[], Awaitable[None]]:
        word = word_of(part)
        do: Callable[..., Awaitable[None]] | None = getattr(self, f"_{word}", None)
        if do is None or not word.isalpha():
            raise ValueError(f"unknown fault {part!r}")
        return do if word == part else partial(do, part.removeprefix(word))

    async def run(self) -> None:
        """Do it, and undo it."""
        await asyncio.gather(*(do() for do in self._do))

    # ---- servers

    async def _kill(self) -> None:
        self._first.kill()
        await self._come_back(self._first)

    async def _come_back(self, node: Node) -> None:
        await asyncio.sleep(AWAY)
        await asyncio.to_thread(node.start)

    async def _short(self) -> None:
        self._first.kill()
        await asyncio.sleep(AWAY)
        tails = sorted((self._first.directory / "appendonlydir").glob("*.incr.aof"))
        with tails[-1].open("r+b") as file:
            file.truncate(max(tails[-1].stat().st_size - LOST_BYTES, 0))
        await asyncio.to_thread(self._first.start)

    async def _twice(self) -> None:
        self._first.kill()
        await asyncio.to_thread(wait_for, "another primary", lambda: self._group.other(self._first))
        second = self._group.primary
        # In a cluster it finds out by itself.
        place = () if isinstance(self._group, ClusterGroup) else ("--replicaof", f"{second.host} {second.port}")
        await asyncio.to_thread(self._first.start, *place)
        await asyncio.sleep(2)
        second.kill()
        await self._come_back(second)

    async def _stop(self, seconds: str) -> None:
        self._first.signal(signal.SIGSTOP)
        await asyncio.sleep(float(seconds))
        self._first.signal(signal.SIGCONT)

    async def _cut(self) -> None:
        replicas = self._group.nodes[1:]
        for node in replicas:
            node.signal(signal.SIGSTOP)
        self._first.ask("CLIENT", "KILL", "TYPE", "replica")
        await asyncio.sleep(PARTED)
        self._first.kill()
        for node in replicas:
            node.signal(signal.SIGCONT)
        await self._come_back(self._first)

    # ---- daemons

    async def _roots(self) -> None:
        for daemon in self._all_roots:
            await self._restart(daemon)

    async def _frozen(self, seconds: str) -> None:
        # The edges follow this one.
        self._all_roots[-1].kill(signal.SIGSTOP)
        await asyncio.sleep(float(seconds))
        self._all_roots[-1].kill(signal.SIGCONT)

    async def _edges(self) -> None:
        for daemon in self._all_edges:
            await self._restart(daemon)

    @staticmethod
    async def _restart(daemon: Daemon) -> None:
        daemon.kill()
        await asyncio.to_thread(daemon.wait)
        give_up = asyncio.get_running_loop().time() + PATIENCE
        while True:
            await asyncio.sleep(DAEMON_AWAY)
            try:
                return await asyncio.to_thread(daemon.start)
            except AssertionError:
                # With too few replicas for what it is to promise it does not start.
                if asyncio.get_running_loop().time() > give_up:
                    raise

    # ---- the network

    async def _apart(
        self, left: Sequence[int], right: Sequence[int], others: Sequence[Machine] = (), cut: float = CUT
    ) -> None:
        """Cut some machines from others.  cut: seconds."""
        net = self._network
        rights = [*(net.machines[n] for n in right), *others]
        net.cut([(net.machines[n], other) for n in left for other in rights])
        await asyncio.sleep(cut)
        net.mend()

    @property
    def _network(self) -> Network:
        assert self._net
        return self._net

    @property
    def _voters(self) -> list[int]:
        return list(range(DATA, len(self._network.machines) - 1))

    @property
    def _of_daemons(self) -> tuple[Machine, Machine]:
        return self._network.here, self._network.machines[-1]

    async def _off(self, machine: str = "0") -> None:
        self._network.cut_off(self._network.machines[int(machine)])
        await asyncio.sleep(CUT)
        self._network.mend()

    async def _link(self, pair: str) -> None:
        everywhere = [*self._network.machines, self._network.here]
        left, right = map(int, pair.split("."))
        await self._apart([left], [], [everywhere[right]])

    async def _turns(self) -> None:
        """Without pauses in between: it goes on as soon as all replicas are there again."""
        self._group.hurry()
        turns: Sequence[tuple[Callable[[], None], Callable[[], None]]] = (
            (lambda: self._first.signal(signal.SIGSTOP), lambda: self._first.signal(signal.SIGCONT)),
            (self._isolate, self._network.mend),
            (lambda: self._first.kill(), lambda: self._first.start()),
        )
        for lose, give_back in turns:
            self._first = self._group.primary
            lose()
            await asyncio.to_thread(wait_for, "another primary", lambda: self._group.other(self._first))
            await asyncio.to_thread(give_back)
            await asyncio.to_thread(self._group.wait_for_replicas)
            await asyncio.sleep(BETWEEN)

    def _isolate(self) -> None:
        net, place = self._network, self._group.nodes.index(self._first)
        net.cut([(net.machines[place], net.machines[n]) for n in (*range(DATA), *self._voters) if n != place])

    async def _alone(self) -> None:
        await self._apart([0], [1, 2, *self._voters])

    async def _half(self) -> None:
        await self._apart([2, *self._voters], [0, 1], self._of_daemons)

    async def _blind(self) -> None:
        await self._apart([0, 1], [2, *self._voters])

    async def _silent(self) -> None:
        await self._apart([0], self._voters)

    async def _far(self) -> None:
        await self._apart([0], [], self._of_daemons)

    async def _lone(self) -> None:
        _, second = self._of_daemons
        self._network.cut([(second, self._network.machines[n]) for n in (1, 2, *self._voters)])
        await self._apart([0], [1, 2, *self._voters], [self._network.here], LONG_CUT)

    async def _replica(self) -> None:
        await self._off("1")

    async def _parted(self) -> None:
        net = self._network
        net.cut([(net.machines[0], net.machines[n]) for n in (1, 2)])
        await asyncio.sleep(PARTED)
        await self._die()

    async def _die(self) -> None:
        # Else its kernel would send to the replicas what it still has of it, which is nearly all.
        self._network.cut_off(self._network.machines[0])
        self._first.kill()
        await asyncio.sleep(AWAY)
        self._network.mend()
        await asyncio.to_thread(self._first.start)

    async def _slow(self, machine: str = "0") -> None:
        self._network.slow(self._network.machines[int(machine)], SLOW)
        await asyncio.sleep(CUT)
        await self._die()

    async def _laggard(self) -> None:
        await self._slow("1")
