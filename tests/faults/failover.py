"""python -m tests.faults.failover: lose primaries under load, and count what was promised and is not so.

Usage:
  tests.faults.failover [--runs N] [--durability MODE] [--store FORM] [--json] FAULT...

Options:
  --runs N           How often each fault (default 1).
  --durability MODE  async, replica=N or replica=all (default replica=1).
  --store FORM       sentinel or cluster (default sentinel).
  --json             Print each run as JSON.

A FAULT is one of
  kill       kill -9 of the primary, which comes back later, taking itself for one
  short      the same, and the end of its file is gone then
  twice      kill it, and the next one as soon as there is one
  stopS      SIGSTOP of the primary for S seconds, such as stop2.1
  cut        the replicas lose the primary 0.8 s before it is killed, its clients do not
and, in network namespaces, where this may make some,
  off        the primary's machine is off the network for 4 seconds
  alone      the primary is cut from all but the daemons
  half       the primary and one replica are cut from the other and the Sentinels; the daemons reach the first two
  blind      as half, but the daemons reach all
  silent     the Sentinels alone lose the primary
  far        the daemons alone lose the primary
  replica    one replica is off the network

Status 1 if what must never be has been.
"""

import asyncio
import dataclasses
import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import redis
from docopt import docopt

from tests.faults.failover_load import Load, Result, judge
from tests.support.groups import ClusterGroup, Group, Node, SentinelGroup
from tests.support.machines import Network, network, why_none
from tests.support.processes import Daemon, wait_for

BEFORE, AFTER = 2.5, 11.0
"""Seconds of load before a fault begins, and from then on, and
LONG_AFTER: where servers have to be found again, which takes Sentinels more than ten."""
LONG_AFTER = 24.0
AWAY = 5.0
"""Seconds after which a server that was killed comes back."""
UNCERTAIN = 13.0
"""Seconds in which every request is answered, whatever happens."""
PLACES = 6
LONG = ("twice", "half", "blind")
NETWORKED = ("off", "alone", "half", "blind", "silent", "far", "replica")


class Fault:
    """One fault on one group."""

    def __init__(self, name: str, group: Group, net: Network | None) -> None:
        self._group, self._net = group, net
        self._first = group.nodes[0]
        self._do: Callable[[], object] = getattr(self, f"_{name.rstrip('0123456789.')}")
        self._seconds = float(name.removeprefix("stop")) if name.startswith("stop") else 0.0

    async def run(self) -> None:
        """Do it, and undo it."""
        done = self._do()
        if asyncio.iscoroutine(done):
            await done

    async def _kill(self) -> None:
        self._first.kill()
        await asyncio.sleep(AWAY)
        await asyncio.to_thread(self._first.start)

    async def _short(self) -> None:
        self._first.kill()
        await asyncio.sleep(AWAY)
        tails = sorted((self._first.directory / "appendonlydir").glob("*.incr.aof"))
        with tails[-1].open("r+b") as file:
            file.truncate(max(tails[-1].stat().st_size - 100_000, 0))
        await asyncio.to_thread(self._first.start)

    async def _twice(self) -> None:
        self._first.kill()
        await asyncio.to_thread(wait_for, "another primary", lambda: self._group.other(self._first))
        self._first.start("--replicaof", f"{self._group.primary.host} {self._group.primary.port}")
        await asyncio.sleep(2)
        second = self._group.primary
        second.kill()
        await asyncio.sleep(AWAY)
        await asyncio.to_thread(second.start)

    async def _stop(self) -> None:
        self._first.signal(signal.SIGSTOP)
        await asyncio.sleep(self._seconds)
        self._first.signal(signal.SIGCONT)

    async def _cut(self) -> None:
        replicas = self._group.nodes[1:]
        for node in replicas:
            node.signal(signal.SIGSTOP)
        self._first.ask("CLIENT", "KILL", "TYPE", "replica")
        await asyncio.sleep(0.8)
        self._first.kill()
        for node in replicas:
            node.signal(signal.SIGCONT)
        await asyncio.sleep(AWAY)
        await asyncio.to_thread(self._first.start)

    # ---- those of the network: the first three machines have the servers, the others the Sentinels

    async def _apart(self, left: list[int], right: list[int], *, here: bool = False) -> None:
        assert self._net
        machines = [*self._net.machines, self._net.here]
        rights = [machines[n] for n in right] + ([self._net.here] if here else [])
        self._net.cut([(machines[n], other) for n in left for other in rights])
        await asyncio.sleep(4)
        self._net.mend()

    async def _off(self, machine: int = 0) -> None:
        assert self._net
        self._net.cut_off(self._net.machines[machine])
        await asyncio.sleep(4)
        self._net.mend()

    async def _alone(self) -> None:
        await self._apart([0], [1, 2, 3, 4, 5])

    async def _half(self) -> None:
        assert self._net
        # This machine is with the first two, and does not reach the others.
        machines, here = self._net.machines, self._net.here
        self._net.cut([(here, machines[n]) for n in (2, 3, 4, 5)])
        await self._apart([0, 1], [2, 3, 4, 5])

    async def _blind(self) -> None:
        await self._apart([0, 1], [2, 3, 4, 5])

    async def _silent(self) -> None:
        await self._apart([0], [3, 4, 5])

    async def _far(self) -> None:
        await self._apart([0], [], here=True)

    async def _replica(self) -> None:
        await self._off(1)


async def load(fault: Fault, daemons: list[Daemon], seconds: float) -> Load:
    """One run's load, with the fault in it.  seconds: from its beginning on."""
    running = Load(daemons[0].port, daemons[1].port)
    running.start()
    await asyncio.sleep(BEFORE)
    doing = asyncio.create_task(fault.run())
    await asyncio.sleep(seconds)
    await doing
    await running.stop(UNCERTAIN)
    return running


def final(node: Node) -> dict[str, int]:
    """The revision of each key of a server."""
    client = redis.Redis(node.host, node.port, socket_timeout=20, protocol=2)
    try:
        found: dict[bytes, bytes] = client.hgetall("{kvd}:data")  # type: ignore[assignment]
        return {key.decode(): int(raw.split(b" ")[0]) for key, raw in found.items()}
    finally:
        client.close()


def told(group: Group, daemons: list[Daemon]) -> Iterator[tuple[str, str]]:
    """What all that ran has written to its log."""
    for daemon in daemons:
        yield daemon.addr, daemon.log
    for node in group.all:
        yield node.directory.name, (node.directory / "log").read_text()


def run(fault: str, durability: str, form: str) -> Result:
    """One run, on servers of its own."""
    with ExitStack() as stack:
        directory = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="kvd-failover-", ignore_cleanup_errors=True))
        )
        net = stack.enter_context(network(PLACES)) if fault in NETWORKED else None
        group: SentinelGroup | ClusterGroup
        if form == "cluster":
            group = ClusterGroup(directory / "group")
        else:
            group = SentinelGroup(directory / "group", "--protected-mode", "no", machines=net.machines if net else ())
        stack.callback(group.close)
        group.start()
        options = ["--store", group.url, "--durability", durability]
        daemons = [Daemon(directory / f"data{n}", options) for n in range(2)]
        for daemon in daemons:
            daemon.start()
            stack.callback(daemon.stop)
        # With all, it is written on when the one that is gone has been found again.
        seconds = LONG_AFTER if durability == "replica=all" or fault in LONG else AFTER
        running = asyncio.run(load(Fault(fault, group, net), daemons, seconds))
        node = group.primary
        result = judge(running.seen, final(node))
        if result.errors:
            logs = "".join(f"{name}:\n{text}" for name, text in told(group, daemons))
            Path(tempfile.gettempdir(), f"kvd-failover-{os.getpid()}.log").write_text(logs)
        result.moved = node is not group.nodes[0]
        return result


def main() -> int:
    """Returns the exit status."""
    options = docopt(__doc__)
    durability, form = options["--durability"] or "replica=1", options["--store"] or "sentinel"
    status = 0
    missing = why_none() if any(fault in NETWORKED for fault in options["FAULT"]) else ""
    for fault in options["FAULT"]:
        if fault in NETWORKED and missing:
            sys.stdout.write(f"{fault}: skipped: {missing}\n")
            continue
        for _ in range(int(options["--runs"] or 1)):
            result = run(fault, durability, form)
            found = result.violations(durability)
            shown = dataclasses.asdict(result)
            said = json.dumps(shown) if options["--json"] else ", ".join(f"{k} {v}" for k, v in shown.items())
            sys.stdout.write(f"{form} {durability} {fault}: {said}\n")
            for one in found:
                status = 1
                sys.stdout.write(f"VIOLATION: {one}\n")
            sys.stdout.flush()
    return status


if __name__ == "__main__":
    sys.exit(main())
