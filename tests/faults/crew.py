"""All who write and read: those of `workload`, and who has the server make keys, or keys live with others."""

import asyncio
from collections import deque
from collections.abc import Sequence
from itertools import count

from tests.faults import numbered
from tests.faults.families import FAMILIES
from tests.faults.history import History
from tests.faults.workload import (
    SELDOM_PAUSE,
    Counter,
    Expirer,
    Fenced,
    Reader,
    Seldom,
    Swapper,
    Transactor,
    Worker,
    Writer,
)

MOST_QUEUED = 8
"""Keys that a worker leaves in the queue."""


class Queuer(Worker):
    """Appends to a queue, and takes out again what it has put in."""

    async def begin(self) -> None:
        self._own: deque[int] = deque()

    async def step(self) -> None:
        replies = await self.ask(*(self.append() for _ in range(self.chance.choice((1, 4)))))
        self._own.extend(reply.number for reply in replies if reply.word == "OK")
        while len(self._own) > MOST_QUEUED:
            revision = self._own.popleft()
            key = numbered.key_of(revision)
            await self.ask(self.read("GETS", key), self.delete(key, revision))
        await asyncio.sleep(self.chance.expovariate(1 / SELDOM_PAUSE))


class Parent(Worker):
    """Keys that live with another one, which is deleted mostly.

    As those of an Expirer, they are of one connection: what is late finds no owner, or all of its own.
    """

    _families = ""
    _connections = 0

    async def begin(self) -> None:
        self._connections += 1
        self._families = f"{FAMILIES}{self._name}/{self._connections}"
        self._numbers = count(1)

    async def step(self) -> None:
        owner = f"{self._families}/{next(self._numbers)}"
        wards = [f"{owner}/{number}" for number in range(self.chance.randint(1, 6))]
        requests = [self.put(owner), *(self.put(key, owner=owner) for key in wards)]
        ends = [self.delete(owner)] if self.chance.random() < 0.9 else [self.put(owner)]
        if self.chance.random() < 0.5:
            await self.ask(*requests, *ends)
        else:
            await self.ask(*requests)
            await asyncio.sleep(self.chance.expovariate(1 / SELDOM_PAUSE))
            await self.ask(*ends)
        await asyncio.sleep(self.chance.expovariate(1 / SELDOM_PAUSE))


def workers(history: History, port: int, seed: str, features: Sequence[str]) -> list[Worker]:
    """All of them."""
    kinds: list[type[Worker]] = [Writer] * 3 + [Swapper] * 3 + [Counter] * 2 + [Reader] * 2 + [Expirer] * 2 + [Seldom]
    if "transactions" in features:
        kinds += [Transactor] * 3
    if "checks" in features:
        kinds += [Fenced] * 2
    if "sequence-keys" in features:
        kinds += [Queuer] * 2
    if "owners" in features:
        kinds += [Parent] * 2
    return [kind(history, port, seed, number) for number, kind in enumerate(kinds, 1)]
