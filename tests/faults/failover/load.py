"""The load of a failover run: who writes, and all others."""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from tests.faults.failover.expiring import Expirer
from tests.faults.failover.peer import PAUSE, Peer, keep_connected
from tests.faults.failover.reading import Copier, EdgeReader, Newest, RootReader
from tests.faults.failover.seen import AT_EDGES, SWAPPED, UNKNOWN, Asked, Seen
from tests.faults.failover.watching import Watched, Watcher

WRITERS = 4
DEPTH = 32
"""Requests of each writer in flight."""
SWAPPERS = 3
SWAPPED_KEYS = 2
LARGE_EVERY = 64
"""Every so many values is a large one, which is kept apart."""
LARGE = "x" * 8000
SEEING = 20.0
"""Seconds in which watchers see all that was acknowledged."""


class Load:
    """Writers on one daemon; on another a watcher, and a reader of what was just written; both on each edge.

    Keys are written once, but those of the swappers, who go by what the other daemon gives.
    """

    def __init__(self, writing: str, watching: str, edges: Sequence[str] = ()) -> None:
        """Addresses of daemons."""
        self.seen = Seen()
        self._writing, self._watching, self._edges = writing, watching, edges
        self._stopped = False
        self._newest = Newest(WRITERS)
        self._asking: list[asyncio.Task[None]] = []
        self._watchers: list[asyncio.Task[None]] = []

    def start(self) -> None:
        both = (self._writing, self._watching)
        for number in range(WRITERS):
            self._ask(self._writing, Writer(self.seen, self._newest, self._ends, number).work)
        self._ask(self._writing, self._transact)
        for number in range(SWAPPERS):
            swapper = Swapper(self.seen, self._ends, number)
            self._ask(both[number % 2], swapper.write)
            self._ask(both[(number + 1) % 2], swapper.read)
        self._ask(self._watching, RootReader(self.seen, self._newest, self._ends).work)
        expirer = Expirer(self.seen, self._ends)
        self._ask(self._writing, expirer.write)
        self._ask(self._watching, expirer.read)
        for address in (self._watching, *self._edges):
            self._ask(address, Copier(self.seen, self._newest, self._ends).work)
        self._watch("root", [self._watching])
        for number, edge in enumerate(self._edges):
            reader = EdgeReader(self.seen, self._newest, self._ends, f"{AT_EDGES}{number}")
            self._ask(edge, reader.read)
            self._ask(edge, reader.write)
            self._watch(f"edge{number}", [edge])
        if self._edges:
            self._watch("anywhere", [*self._edges, *both])

    def _ask(self, address: str, work: Callable[[Peer], Awaitable[None]]) -> None:
        self._asking.append(asyncio.create_task(keep_connected(address, work, self._ends)))

    def _watch(self, name: str, addresses: Sequence[str]) -> None:
        self.seen.watches[name] = Watched()
        self._watchers.append(asyncio.create_task(Watcher(addresses, self.seen.watches[name]).run()))

    def _ends(self) -> bool:
        return self._stopped

    async def stop(self, grace: float) -> None:
        """Ask no more; end when all is answered and seen, or the time for that is over.  grace: seconds for answers."""
        self._stopped = True
        _, unanswered = await asyncio.wait(self._asking, timeout=grace)
        self.seen.unanswered = len(unanswered)
        give_up = time.monotonic() + SEEING
        while not self._have_seen_all() and time.monotonic() < give_up:  # noqa: ASYNC110  # sockets change it
            await asyncio.sleep(PAUSE)
        self.seen.ended = time.monotonic()
        for task in (*self._asking, *self._watchers):
            task.cancel()
        for ended in await asyncio.gather(*self._asking, *self._watchers, return_exceptions=True):
            if isinstance(ended, Exception):
                raise ended

    def _have_seen_all(self) -> bool:
        newest = max(self.seen.acknowledged.values(), default=0)
        return all(one.revision >= newest for one in self.seen.watches.values())

    async def _transact(self, peer: Peer) -> None:
        while not self._stopped:
            self._newest.transaction += 1
            name = f"t{self._newest.transaction}"
            keys = [f"{name}/{part}" for part in "cba"]
            large = "" if self._newest.transaction % LARGE_EVERY else LARGE
            asked, replies = Asked(peer.number, time.monotonic(), 0, keys[0], UNKNOWN), None
            try:
                writes = [f"SET {key} 1{large}" for key in reversed(keys)]
                _, replies, end = await peer.ask("BEGIN", *writes, "COMMIT")
                self.seen.note(asked._replace(end=end), replies[-1], *keys[1:])
            finally:
                if replies is None:
                    self.seen.note_unknown(asked, *keys[1:])
            await asyncio.sleep(PAUSE)


class Writer:
    """Writes one key after another, with many requests in flight."""

    def __init__(self, seen: Seen, newest: Newest, ends: Callable[[], bool], number: int) -> None:
        self._seen, self._newest, self._ends, self._number = seen, newest, ends, number

    async def work(self, peer: Peer) -> None:
        """On one connection."""
        waiting: deque[Asked] = deque()
        try:
            while not self._ends() or waiting:
                while len(waiting) < DEPTH and not self._ends():
                    waiting.append(self._send(peer))
                await peer.drain()
                words = await peer.words()
                if not self._seen.note(waiting.popleft()._replace(end=time.monotonic()), words):
                    await asyncio.sleep(PAUSE)
        finally:
            for asked in waiting:
                self._seen.note_unknown(asked)

    def _send(self, peer: Peer) -> Asked:
        count = self._newest.of_writers[self._number] = self._newest.of_writers[self._number] + 1
        key = f"w{self._number}/{count}"
        peer.send(f"SET {key} {count}{'' if count % LARGE_EVERY else LARGE}\n")
        return Asked(peer.number, time.monotonic(), 0, key, UNKNOWN)


class Swapper:
    """Reads a key at one daemon, and writes it at another one if it is still so there."""

    def __init__(self, seen: Seen, ends: Callable[[], bool], number: int) -> None:
        self._seen, self._ends = seen, ends
        self._key = f"{SWAPPED}{number % SWAPPED_KEYS}"
        self._found: asyncio.Queue[int] = asyncio.Queue(1)

    async def read(self, peer: Peer) -> None:
        """On one connection, over and over."""
        while not self._ends():
            start, (words,), end = await peer.ask(f"GETS {self._key}")
            if words[0] != "ERR":
                revision = int(words[1]) if words[0] == "OK" else 0
                self._seen.reads.append(Asked(peer.number, start, end, self._key, revision))
                if self._found.empty():
                    self._found.put_nowait(revision)
            await asyncio.sleep(PAUSE / 2)

    async def write(self, peer: Peer) -> None:
        """On another one, whenever the first has found something."""
        while not self._ends():
            if self._found.empty():
                await asyncio.sleep(PAUSE / 2)
                continue
            asked = Asked(peer.number, time.monotonic(), 0, self._key, UNKNOWN, expected=self._found.get_nowait())
            answered = False
            try:
                _, (words,), end = await peer.ask(f"PUT {self._key} if={asked.expected} = 1")
                answered = True
                self._seen.note(asked._replace(end=end), words)
            finally:
                if not answered:
                    self._seen.note_unknown(asked)
