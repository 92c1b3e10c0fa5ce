"""Who watches: one that misses nothing, sees nothing twice and no half of a transaction, wherever it goes on."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from tests.faults.failover.peer import PAUSE, Peer

PATIENCE = 25.0
"""Seconds after which a watcher asks anew."""
MORTAL = "x/"
"""How keys begin that have a time to live."""
NO_WAY_ON = ("store", "compacted", "future")
"""Why a watch cannot be continued, and a copy is asked for."""
IN_ONE_PIECE = ("/a", "/b")
"""How keys of a transaction end after which another one of it comes."""


@dataclass
class Watched:
    """What one of them saw.

    changes: when, the position, the key.  copied: revision and key.  begun: when, and with which revision it began.
    ends_of: when each of the keys with a time to live that it saw set was said to have expired.
    missed, doubled: revisions; halved: keys of transactions that did not come in one piece.
    """

    changes: list[tuple[float, str, str]] = field(default_factory=list)
    copied: list[tuple[int, str]] = field(default_factory=list)
    begun: list[tuple[float, int]] = field(default_factory=list)
    ends: list[str] = field(default_factory=list)
    ends_of: dict[str, list[float]] = field(default_factory=dict)
    missed: int = 0
    doubled: int = 0
    halved: list[str] = field(default_factory=list)
    position: str = ""
    _left: int = 0

    @property
    def revision(self) -> int:
        """That of the position."""
        return int(self.position.partition("@")[0] or 0)

    def lost(self) -> None:
        """The connection was: what was left of a transaction comes on the next one."""
        self._left = 0

    def take(self, words: list[str]) -> bool:
        """A line: whether the watch goes on."""
        if words[0] == "CHANGE":
            self._change(words[1], words[2], words[3])
            return True
        if self._left:
            self.halved.append(" ".join(words)[:60])
        if words[0] == "BATCH":
            self._left = int(words[1])
        elif words[0] == "PAIR":
            self.copied.append((int(words[1]), words[2]))
        elif words[0] == "OK":
            self.position = words[1]
            self.begun.append((time.monotonic(), self.revision))
        elif words[0] in ("END", "ERR"):
            self.ends.append(" ".join(words))
            if words[1 if words[0] == "ERR" else 2] in NO_WAY_ON:
                self.position = ""
                self.ends_of.clear()
            return False
        return True

    def _change(self, position: str, verb: str, key: str) -> None:
        revision = int(position.partition("@")[0])
        self.missed += max(revision - self.revision - 1, 0)
        self.doubled += revision <= self.revision
        if not self._left and key.startswith("t") and key.endswith(IN_ONE_PIECE):
            self.halved.append(key)
        self._left = max(self._left - 1, 0)
        self.position = position
        if not key.startswith(MORTAL):
            self.changes.append((time.monotonic(), position, key))
        elif verb == "EXPIRE":
            self.ends_of.setdefault(key, []).append(time.monotonic())
        else:
            self.ends_of.setdefault(key, [])


class Watcher:
    """Watches everything, at one daemon after another.  Run `run`."""

    def __init__(self, addresses: Sequence[str], watched: Watched) -> None:
        """addresses: those of the daemons, in turn."""
        self._addresses = list(addresses)
        self._watched = watched

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            with suppress(OSError, asyncio.IncompleteReadError, TimeoutError):
                peer = await Peer.open(self._addresses[0])
                try:
                    await self._watch(peer)
                finally:
                    peer.close()
            self._watched.lost()
            self._addresses.append(self._addresses.pop(0))
            await asyncio.sleep(PAUSE)

    async def _watch(self, peer: Peer) -> None:
        position = self._watched.position
        peer.send(f"RESUME {position} *batches\n" if position else "SYNC *batches\n")
        while True:
            async with asyncio.timeout(PATIENCE):
                words = await peer.words()
            if not self._watched.take(words):
                return
