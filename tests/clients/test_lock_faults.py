"""Holders of a lock are killed, stopped and cut off: no two have it at once, and no write with an old fence is done."""

import asyncio
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from kvd import client
from kvd.client import Event
from tests.support.faces import FACES
from tests.support.lock_holder import TTL
from tests.support.processes import ROOT, Daemon
from tests.support.proxy import Proxy

FAULTS = 9
AWAY = TTL + 0.3
"""Seconds."""
NAME = "faults/lock"


class Held(NamedTuple):
    """At a time of the system's clock a process had the lock, with a fence."""

    fence: int
    at: float
    pid: int


class Holders:
    """Processes that want the lock, of either face."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._running: dict[int, subprocess.Popen[bytes]] = {}
        self._proxies: dict[int, Proxy] = {}

    def start(self, face: str, proxy: Proxy) -> None:
        words = ["-m", "tests.support.lock_holder", f"127.0.0.1:{proxy.port}", NAME, str(self._log), face]
        process = subprocess.Popen([sys.executable, *words], cwd=ROOT, stderr=subprocess.PIPE)
        self._running[process.pid], self._proxies[process.pid] = process, proxy

    def held(self) -> list[Held]:
        lines = self._log.read_text().splitlines() if self._log.exists() else []
        return [Held(int(fence), float(at), int(pid)) for fence, at, pid in map(str.split, lines)]

    async def holder(self, after: int) -> Held:
        """Wait for a holder with a greater fence."""
        while not (held := self.held()) or held[-1].fence <= after:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        return held[-1]

    def kill(self, pid: int) -> None:
        """Kill one, and start another."""
        process = self._running.pop(pid)
        process.kill()
        process.communicate()
        self.start(random.choice(list(FACES)), self._proxies[pid])

    async def stop(self, holder: Held, written: list[int]) -> None:
        """Stop it for longer than its lock lasts, and until another one has written with a newer fence."""
        self._running[holder.pid].send_signal(signal.SIGSTOP)
        await asyncio.sleep(AWAY)
        while max(written, default=0) <= holder.fence:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        self._running[holder.pid].send_signal(signal.SIGCONT)

    async def cut(self, pid: int) -> None:
        """Cut its connections, and refuse others, for longer than the lock lasts."""
        proxy = self._proxies[pid]
        proxy.refusing = True
        proxy.cut()
        await asyncio.sleep(AWAY)
        proxy.refusing = False

    def end(self) -> list[bytes]:
        """What they complained of."""
        for process in self._running.values():
            process.send_signal(signal.SIGCONT)
            process.terminate()
        return [process.communicate()[1] for process in self._running.values()]


async def note(address: str, key: str, values: list[int]) -> None:
    """Every value that a key has, up to 0."""
    async with client.Follow(address, key) as changes:
        while not values or values[-1]:
            change = await changes.next()
            if isinstance(change, Event) and change.value:
                values.append(int(change.value))
    values.pop()


@pytest.mark.slow
async def test_holders_that_are_killed_stopped_and_cut_off(daemon: Daemon, tmp_path: Path) -> None:
    proxies = [Proxy(daemon.port), Proxy(daemon.port)]
    holders = Holders(tmp_path / "held")
    fences, unfenced = list[int](), list[int]()
    noting = [asyncio.create_task(note(daemon.addr, f"{NAME}.fenced", fences)),
              asyncio.create_task(note(daemon.addr, f"{NAME}.bare", unfenced))]  # fmt: skip
    for proxy in proxies:
        await proxy.start()
        for face in FACES:
            holders.start(face, proxy)
    seen = 0
    for number in range(FAULTS):
        holder = await holders.holder(seen)
        seen = holder.fence
        match number % 3:
            case 0:
                holders.kill(holder.pid)
            case 1:
                await holders.stop(holder, unfenced)
            case _:
                await holders.cut(holder.pid)
    while unfenced == sorted(unfenced):  # each was stopped where it had nothing more to write
        holder = await holders.holder(seen)
        seen = holder.fence
        await holders.stop(holder, unfenced)
    await holders.holder(seen)
    said = holders.end()
    for proxy in proxies:
        await proxy.close()
    async with await client.connect(daemon.addr) as kv:
        await kv.set(f"{NAME}.fenced", "0")
        await kv.set(f"{NAME}.bare", "0")
    await asyncio.gather(*noting)
    held = holders.held()
    assert not [text for text in said if b"Error" in text], said
    assert at_once(held) == []
    assert len({one.fence for one in held}) >= FAULTS
    assert fences == sorted(fences)
    assert len(fences) >= FAULTS
    assert unfenced != sorted(unfenced)


def at_once(held: list[Held]) -> list[tuple[Held, Held]]:
    """Where one had the lock before another one had it no longer."""
    by_fence: dict[int, list[Held]] = {}
    for one in held:
        by_fence.setdefault(one.fence, []).append(one)
    lasts = [max(some, key=lambda one: one.at) for _, some in sorted(by_fence.items())]
    firsts = [min(some, key=lambda one: one.at) for _, some in sorted(by_fence.items())]
    return [(last, first) for last, first in zip(lasts, firsts[1:], strict=False) if last.at >= first.at]


def test_what_it_would_find() -> None:
    assert at_once([Held(1, 1.0, 7), Held(1, 2.0, 7), Held(2, 2.5, 8)]) == []
    assert at_once([Held(1, 1.0, 7), Held(2, 1.5, 8), Held(1, 2.0, 7)]) == [(Held(1, 2.0, 7), Held(2, 1.5, 8))]
