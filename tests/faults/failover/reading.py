"""Who reads what was just written, from another root than that which wrote it, and from an edge."""

import asyncio
import time
from collections.abc import Callable, Iterable

from tests.faults.failover.peer import Peer
from tests.faults.failover.seen import SWAPPED, UNKNOWN, Asked, Copied, Seen, found

PAUSE = 0.005
"""Seconds between two rounds of a reader."""
COPIED = 100
"""Keys that a copy may have at the least, and
COPY_PAUSE: seconds from one copy to the next."""
COPY_PAUSE = 0.1
LOST_AFTER = 10.0
"""Seconds after which another key is looked for."""
BACK = (0, 8, 16, 24, 31)
"""How many writes ago was written what is read; the last are in flight."""


class Newest:
    """The numbers of what was written last, of each writer and of transactions."""

    def __init__(self, writers: int) -> None:
        self.of_writers = [0] * writers
        self.transaction = 0

    def keys(self) -> list[str]:
        """Those that a round of a reader asks for."""
        return [f"w{n}/{last - back}" for n, last in enumerate(self.of_writers) for back in BACK if last > back]


class RootReader:
    """Reads what must be as new as anything that was answered before."""

    def __init__(self, seen: Seen, newest: Newest, ends: Callable[[], bool]) -> None:
        self._seen, self._newest, self._ends = seen, newest, ends

    async def work(self, peer: Peer) -> None:
        """On one connection."""
        while not self._ends():
            if keys := self._newest.keys():
                start, replies, end = await peer.ask(*(f"GETS {key}" for key in keys))
                for key, words in zip(keys, replies, strict=True):
                    if (revision := found(words)) != UNKNOWN:
                        self._seen.reads.append(Asked(peer.number, start, end, key, revision))
            await asyncio.sleep(PAUSE)


class Copier:
    """Copies the keys that are being written, over and over."""

    def __init__(self, seen: Seen, newest: Newest, ends: Callable[[], bool]) -> None:
        self._seen, self._newest, self._ends = seen, newest, ends

    async def work(self, peer: Peer) -> None:
        """On one connection, where each copy begins another watch."""
        while not self._ends():
            last = self._newest.of_writers[0]
            prefix = f"w0/{last // COPIED}" if last >= COPIED else "w0/"
            peer.send(f"SYNC {prefix}*\n")
            keys: dict[str, int] = {}
            while (words := await peer.words())[0] not in ("OK", "ERR"):
                # There may also be lines of the watch before.
                if words[0] == "PAIR":
                    keys[words[2]] = int(words[1])
            if words[0] == "OK":
                self._seen.copies.append(Copied(prefix, int(words[1].partition("@")[0]), keys))
            await asyncio.sleep(COPY_PAUSE)


class EdgeReader:
    """Reads from an edge: what it has may be older, but not by much; of a transaction it has all or nothing; and it
    has what it sent on itself, or is asked for by position."""

    def __init__(self, seen: Seen, newest: Newest, ends: Callable[[], bool], name: str) -> None:
        """name: no other one has it."""
        self._seen, self._newest, self._ends = seen, newest, ends
        self._name = name
        self._count = 0
        self._missing: list[str] = []

    async def read(self, peer: Peer) -> None:
        """On one connection."""
        while not self._ends():
            keys = [*self._newest.keys(), *self._missing]
            start, replies, _ = await peer.ask(*(f"GETS {key}" for key in keys))
            revisions = [found(words) for words in replies]
            for key, revision in zip(keys, revisions, strict=True):
                self._take(key, revision, start)
            # The one that is missing for the longest time tells how old the copy is, unless it is lost.
            missing = [key for key, revision in zip(keys, revisions, strict=True) if revision <= 0]
            self._missing = [key for key in missing if self._seen.stale.get(key, 0) < LOST_AFTER][-1:]
            await self._transaction(peer, f"t{self._newest.transaction}", ("/a", "/b", "/a"))
            await asyncio.sleep(PAUSE)

    async def write(self, peer: Peer) -> None:
        """On another one, and read that at once."""
        while not self._ends():
            await self._own(peer)
            await self._named(peer)
            await asyncio.sleep(PAUSE)

    async def _named(self, peer: Peer) -> None:
        """What was acknowledged somewhere, and is asked for with its position."""
        key, store = next(reversed(self._seen.times), ""), self._seen.store
        if key and store and not key.startswith(SWAPPED):
            revision = self._seen.acknowledged[key]
            _, (words,), _ = await peer.ask(f"GETS {key} min={revision}@{store}")
            if found(words) not in (UNKNOWN, revision):
                self._seen.not_own.append(key)

    def _take(self, key: str, revision: int, start: float) -> None:
        if revision > 0:
            self._seen.edge_read[key] = revision
        elif revision == 0 and key in self._seen.times:
            late = start - self._seen.times[key]
            self._seen.stale[key] = max(late, self._seen.stale.get(key, 0))

    async def _transaction(self, peer: Peer, name: str, parts: Iterable[str]) -> None:
        """What was there once is there from then on, and so is its other half."""
        _, replies, _ = await peer.ask(*(f"GETS {name}{part}" for part in parts))
        there = [bool(revision) for words in replies if (revision := found(words)) != UNKNOWN]
        if there != sorted(there):
            self._seen.halved.append(name)

    async def _own(self, peer: Peer) -> None:
        self._count += 1
        key = f"{self._name}/{self._count}"
        asked = Asked(peer.number, time.monotonic(), 0, key, UNKNOWN)
        answered = False
        try:
            _, (written, read), end = await peer.ask(f"SET {key} 1", f"GETS {key}")
            answered = True
        finally:
            if not answered:
                self._seen.note_unknown(asked)
        if self._seen.note(asked._replace(end=end), written) and found(read) not in (
            UNKNOWN, self._seen.acknowledged[key],
        ):  # fmt: skip
            self._seen.not_own.append(key)
