"""The command that follows one daemon into another: mirror."""

import asyncio
import time
from collections import deque
from contextlib import suppress

from kvd.cli.command import Arguments, how
from kvd.cli.following import Retrying
from kvd.cli.mirrored import MOST, Mirrored
from kvd.cli.output import Output, say
from kvd.cli.status import USAGE, Failure, asking
from kvd.client import Client, Copy, Event, Follow, WatchOptions, connect
from kvd.errors import KvdError

REPORTS = 10.0
"""Seconds between two reports."""


async def mirror(args: Arguments, out: Output) -> None:
    """Mirror until it is ended.  Raises Failure, KvdError."""
    pattern = args["<PATTERN>"] or "*"
    options = how(args)
    await _check_stores(args)
    async with (
        await connect(args["<SRC>"], **options) as source,
        await connect(args["<DST>"], **options) as destination,
    ):
        mirrored = Mirrored(destination, pattern)
        await mirrored.begin(replace=args["--replace"])
        retrying = Retrying()
        async with Follow(
            args["<SRC>"], pattern, position=mirrored.position, retrying=retrying, options=WatchOptions(batches=True),
            **options,
        ) as changes:  # fmt: skip
            retrying.has_begun = True
            say(f"mirroring {pattern} from {mirrored.position or 'a copy'}")
            await Mirroring(source, changes, mirrored, out, args["--report"] or REPORTS).run()


async def _check_stores(args: Arguments) -> None:
    """Ask both, once: what answers nothing is told of at once, and not waited for, before there is a mirror."""
    stores = []
    for word in ("<SRC>", "<DST>"):
        with asking(addr=word.strip("<>")):
            async with await connect(args[word], reconnect=0, **how(args)) as kv:
                stores.append((await kv.info()).get("store"))
    first, second = stores
    if first == second:
        raise Failure(USAGE, "both are of one store, which needs no mirror")


async def lag(source: Client, position: str, seconds: float) -> int | None:
    """How many changes a daemon is ahead of a position; None: it does not say so in time, or has another history."""
    revision, _, store = position.partition("@")
    with suppress(TimeoutError, KvdError, ValueError, KeyError):
        async with asyncio.timeout(seconds):
            facts = await source.info()
        return max(int(facts["revision"]) - int(revision), 0) if facts["store"] == store else None
    return None


class Mirroring:
    """Takes changes from a source, and applies them, as many together as have come, transactions as a whole."""

    def __init__(self, source: Client, changes: Follow, mirrored: Mirrored, out: Output, interval: float) -> None:
        """interval: seconds between two reports."""
        self._source, self._changes, self._mirrored, self._out = source, changes, mirrored, out
        self._interval = interval
        self._came: deque[Event | Copy] = deque()
        self._begun: list[Event | Copy] = []
        self._has_come, self._has_room = asyncio.Event(), asyncio.Event()
        self._has_room.set()
        self._applied = 0
        self._last_report = 0.0

    async def run(self) -> None:
        """Go on until one of the two tasks fails."""
        with suppress(BaseExceptionGroup):
            async with asyncio.TaskGroup() as group:
                reading = group.create_task(self._read())
                applying = group.create_task(self._apply())
        for task in (reading, applying):
            if not task.cancelled():
                with asking():
                    task.result()

    async def _read(self) -> None:
        """Take changes while those before them are applied, up to some."""
        while True:
            await self._has_room.wait()
            self._take(await self._changes.next())
            if len(self._came) >= 2 * MOST:
                self._has_room.clear()

    def _take(self, change: Event | Copy) -> None:
        """A transaction's changes are kept until all are there; a longer one than can be written is in parts."""
        if isinstance(change, Copy):
            self._begun.clear()  # the copy has them
        self._begun.append(change)
        if isinstance(change, Copy) or not change.left or len(self._begun) >= MOST:
            self._came.extend(self._begun)
            self._begun.clear()
            self._has_come.set()

    async def _apply(self) -> None:
        while True:
            if not self._came:
                await self._rest()
                continue
            if isinstance(self._came[0], Copy):
                await self._copy(self._came[0])
                self._came.popleft()
            else:
                self._applied += await self._mirrored.apply(self._portion())
            self._has_room.set()
            if time.monotonic() > self._last_report + self._interval:
                await self._report()

    async def _copy(self, copy: Copy) -> None:
        if copy.reason != "new":
            say(f"the changes that were missed are no longer to be had ({copy.reason}): making a copy")
        self._applied += await self._mirrored.copy(copy)
        await self._report()

    def _portion(self) -> list[Event]:
        """Changes that have come, up to the end of a transaction of the source's."""
        taken: list[Event] = []
        while self._came and not isinstance(change := self._came[0], Copy):
            if len(taken) >= MOST or (taken and not taken[-1].left and len(taken) + (change.left or 0) >= MOST):
                break
            taken.append(change)
            self._came.popleft()
        return taken

    async def _rest(self) -> None:
        """Wait for a change; from time to time note how far nothing has changed, and report."""
        self._has_come.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(max(self._last_report + self._interval - time.monotonic(), 0.001)):
                await self._has_come.wait()
                return
        position = self._changes.position
        if not (self._came or self._begun) and position and position != self._mirrored.position:
            await self._mirrored.move(position)
        await self._report()

    async def _report(self) -> None:
        """Say how far it has come, and how many changes the source is ahead, of whatever keys."""
        self._last_report = time.monotonic()
        position = self._mirrored.position
        if position is None:
            return
        behind = await lag(self._source, position, self._interval)
        told = "?" if behind is None else behind
        self._out.line(f"{position} applied {self._applied} behind {told}", position=position, applied=self._applied,
                       behind=behind)  # fmt: skip
        self._out.flush()
