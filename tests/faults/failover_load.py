"""The load of a failover run: what was asked, what was answered, what was seen; and what of it is in the end not so."""

import asyncio
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise

WRITERS = 4
DEPTH = 32
"""Requests of each writer in flight."""
LARGE_EVERY = 64
"""Every so many values is a large one, which is kept apart."""
LARGE = "x" * 8000
PATIENCE = 25.0
"""Seconds after which a watcher asks anew."""
PAUSE = 0.02


@dataclass
class Seen:
    """What the clients have seen, all keys are written once."""

    acknowledged: dict[str, int] = field(default_factory=dict)
    uncertain: list[str] = field(default_factory=list)
    unavailable: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    changes: list[tuple[str, str]] = field(default_factory=list)
    copied: list[tuple[int, str]] = field(default_factory=list)
    read: dict[str, int] = field(default_factory=dict)
    halves: list[str] = field(default_factory=list)
    ends: list[str] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    errors: int = 0


class Load:
    """Writers on one daemon, a watcher and a reader of what was just written on another."""

    def __init__(self, writing: int, watching: int) -> None:
        self.seen = Seen()
        self._writing, self._watching = writing, watching
        self._stopped = self._ended = False
        self._newest = [0] * WRITERS
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        work = [*(self._write(n) for n in range(WRITERS)), self._transact(), self._watch(), self._read()]
        self._tasks = [asyncio.create_task(one) for one in work]

    async def stop(self, grace: float) -> None:
        """Write no more; end when all is answered and seen, or the grace is over."""
        self._stopped = True
        await asyncio.wait(self._tasks[: WRITERS + 1], timeout=grace)
        await asyncio.sleep(1.5)
        self._ended = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _note(self, key: str, words: list[str]) -> bool:
        """Whether it was acknowledged."""
        if words[0] == "OK":
            self.seen.acknowledged[key] = int(words[1].partition("@")[0])
            self.seen.times.append(time.monotonic())
            return True
        self.seen.errors += 1
        kinds = {"uncertain": self.seen.uncertain, "unavailable": self.seen.unavailable}
        kinds.get(words[1], self.seen.refused).append(key)
        return False

    async def _write(self, number: int) -> None:
        count = 0
        while not self._stopped:
            waiting: list[str] = []
            with suppress(OSError, asyncio.IncompleteReadError):
                reader, writer = await asyncio.open_connection("127.0.0.1", self._writing)
                while not self._stopped or waiting:
                    while len(waiting) < DEPTH and not self._stopped:
                        count += 1
                        self._newest[number] = count
                        waiting.append(f"w{number}/{count}")
                        large = "" if count % LARGE_EVERY else LARGE
                        writer.write(f"SET {waiting[-1]} {count}{large}\n".encode())
                    await writer.drain()
                    words = (await reader.readuntil(b"\n")).decode().split()
                    if not self._note(waiting.pop(0), words):
                        await asyncio.sleep(PAUSE)
                writer.close()
            self.seen.uncertain += waiting
            await asyncio.sleep(PAUSE)

    async def _transact(self) -> None:
        count = 0
        while not self._stopped:
            with suppress(OSError, asyncio.IncompleteReadError):
                reader, writer = await asyncio.open_connection("127.0.0.1", self._writing)
                while not self._stopped:
                    count += 1
                    writer.write(f"BEGIN\nSET t{count}/a 1\nSET t{count}/b 1\nCOMMIT\n".encode())
                    lines = [(await reader.readuntil(b"\n")).decode().split() for _ in range(4)]
                    self._note(f"t{count}/b", lines[-1])
                    await asyncio.sleep(PAUSE)
                writer.close()
            await asyncio.sleep(PAUSE)

    async def _watch(self) -> None:
        position = ""
        while not self._ended:
            with suppress(OSError, asyncio.IncompleteReadError, TimeoutError):
                reader, writer = await asyncio.open_connection("127.0.0.1", self._watching, limit=1 << 20)
                writer.write(f"RESUME {position}\n".encode() if position else b"SYNC\n")
                while True:
                    async with asyncio.timeout(PATIENCE):
                        words = (await reader.readuntil(b"\n")).decode().split(" ")
                    if words[0] == "CHANGE":
                        position = words[1]
                        self.seen.changes.append((position, words[3]))
                    elif words[0] == "PAIR":
                        self.seen.copied.append((int(words[1]), words[2]))
                    elif words[0] == "OK":
                        position = words[1].strip()
                    else:
                        self.seen.ends.append(" ".join(words).strip())
                        position = "" if words[0] == "ERR" or words[2] in ("store", "compacted") else position
                        break
                writer.close()
            await asyncio.sleep(PAUSE)

    async def _read(self) -> None:
        while not self._stopped:
            with suppress(OSError, asyncio.IncompleteReadError):
                reader, writer = await asyncio.open_connection("127.0.0.1", self._watching)
                while not self._stopped:
                    newest = enumerate(self._newest)
                    keys = [f"w{n}/{last - back}" for n, last in newest for back in (0, 8, 16, 24, 31)]
                    writer.write("".join(f"GETS {key}\n" for key in keys).encode())
                    for key in keys:
                        words = (await reader.readuntil(b"\n")).split()
                        if words[0] == b"OK":
                            self.seen.read[key] = int(words[1])
                    await asyncio.sleep(0.005)
                writer.close()
            await asyncio.sleep(PAUSE)


@dataclass
class Result:
    """The columns of one run, in the words of docs/guarantees.md."""

    acknowledged: int
    lost: int
    ghosts: int
    dirty: int
    twice: int
    halves: int
    unseen: int
    uncertain: str
    unavailable: str
    seconds: float
    replaced: bool
    moved: bool = True
    errors: int = 0

    def violations(self, durability: str) -> list[str]:
        """What must not be, whatever happened."""
        applied = int(self.unavailable.partition("(")[2].rstrip(")"))
        found = {"a revision was given twice": self.twice, "an unavailable write was applied": applied}
        found["a transaction was halved"] = self.halves
        if durability == "replica=all":
            found |= {"lost": self.lost, "ghosts": self.ghosts, "dirty": self.dirty}
        if self.lost and not self.replaced:
            found["lost, and nobody was told"] = self.lost
        return [f"{what}: {count}" for what, count in found.items() if count]


def judge(seen: Seen, final: dict[str, int]) -> Result:
    """final: the revision of each key that is there in the end."""
    by_revision: dict[int, set[str]] = {}
    for key, revision in [
        *seen.acknowledged.items(), *((key, int(position.partition("@")[0])) for position, key in seen.changes),
    ]:  # fmt: skip
        by_revision.setdefault(revision, set()).add(key)
    times = sorted(seen.times)
    keys = {key for _, key in (*seen.changes, *seen.copied)}
    pairs = {key.partition("/")[0] for key in final if key.startswith("t")}
    return Result(
        acknowledged=len(seen.acknowledged),
        lost=sum(final.get(key) != revision for key, revision in seen.acknowledged.items()),
        ghosts=sum(final.get(key) != int(position.partition("@")[0]) for position, key in seen.changes),
        dirty=sum(final.get(key) != revision for key, revision in seen.read.items()),
        twice=sum(len(found) > 1 for found in by_revision.values()),
        halves=sum((f"{one}/a" in final) != (f"{one}/b" in final) for one in pairs),
        unseen=sum(key not in keys for key in final),
        uncertain=_applied(seen.uncertain, final),
        unavailable=_applied(seen.unavailable, final),
        seconds=round(max((after - before for before, after in pairwise(times)), default=0.0), 1),
        replaced=any(words[:1] == ["END"] and words[2] == "store" for words in map(str.split, seen.ends)),
        errors=seen.errors,
    )


def _applied(keys: Iterable[str], final: dict[str, int]) -> str:
    keys = list(keys)
    return f"{len(keys)} ({sum(key in final for key in keys)})"
