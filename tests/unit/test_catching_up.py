"""kvd.watch.catching_up: a crowd is served in turn, and what many need is read once."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import count
from typing import Any, cast

import pytest

from kvd.errors import Compacted, OtherStore, Unavailable
from kvd.model import Change, Patterns, Position
from kvd.watch.catching_up import CatchingUp
from kvd.watch.hub import Hub
from kvd.watch.memory import RecentChanges
from kvd.watch.watcher import Watcher
from kvd.wire import replies
from tests.support.processes import PATIENCE
from tests.support.text import without_retry

STORE = b"s"
PAGE = 100


class Log:
    """The store's log, which counts what is asked of it."""

    def __init__(self, changes: Sequence[Change], floor: int = 0) -> None:
        self.changes = {change.revision: change for change in changes}
        self.floor = floor
        self.asked = 0
        self.failures: list[Exception] = []

    async def _answer(self) -> None:
        self.asked += 1
        await asyncio.sleep(0)
        if self.failures:
            raise self.failures.pop()

    async def keys_before(self, store: bytes, revision: int) -> tuple[list[bytes], bytes]:
        await self._answer()
        assert store == STORE
        found = [change for number, change in self.changes.items() if self.floor < number < revision][-PAGE:]
        if not found:
            raise Compacted(f"{self.floor}@s is the oldest")
        return [change.key for change in found], bytes([change.more for change in found])

    async def changes_at(self, store: bytes, revisions: Sequence[int], *, values: bool) -> list[Change]:  # noqa: ARG002
        await self._answer()
        assert store == STORE
        if revisions[0] <= self.floor:
            raise Compacted(f"{self.floor}@s is the oldest")
        return [self.changes[revision] for revision in revisions if revision > self.floor][:PAGE]


class Client:
    """A watcher and what it was given."""

    def __init__(self, catching_up: CatchingUp, pattern: bytes, after: int) -> None:
        self.pattern = pattern
        self.after = after
        self.taken: list[str] = []
        self.full = 0
        self.room = True
        self.end = ""
        self._catching_up = catching_up
        self.watcher = Watcher(Patterns([pattern]), self._sink, self._add, self._full, self._ended, after)

    def _sink(self, data: bytes) -> bool:
        if self.room:
            self.taken += data.decode().splitlines()
        return self.room

    def _add(self) -> None:
        self._catching_up.add(self.watcher)

    def _full(self) -> None:
        self.full += 1

    def make_room(self) -> None:
        self.room = True
        self._add()

    def _ended(self, line: bytes) -> None:
        self.end = line.decode().rstrip("\n")


def written(count: int, keys: int = 10) -> list[Change]:
    """Changes of a few keys in turn."""
    return [Change(number, b"SET", b"k/%d" % (number % keys), b"t", b"v%d" % number) for number in range(1, count + 1)]


def lines(changes: Sequence[Change], client: Client) -> list[str]:
    """What a client is to be given."""
    match = Patterns([client.pattern]).match
    return [
        replies.change(change, STORE).decode()[:-1]
        for change in changes
        if change.revision > client.after and match(change.key)
    ]


@asynccontextmanager
async def started(log: Log, *, published: Sequence[Change] = ()) -> AsyncIterator[tuple[Hub, CatchingUp]]:
    """A daemon that has just begun to follow the log; nothing older is in its memory."""
    hub = Hub(RecentChanges(0))
    hub.start(Position(max(log.changes), STORE))
    if published:
        hub.publish(STORE, list(published))
    catching_up = CatchingUp(cast(Any, log), hub)  # which only asks for older changes
    running = asyncio.create_task(catching_up.run())
    try:
        yield hub, catching_up
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


async def until(condition: Callable[[], bool]) -> None:
    """Give others their turn until something holds."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110  # it has no event
            await asyncio.sleep(0)


async def all_are(clients: Sequence[Client], hub: Hub) -> None:
    """Wait until each is live or has ended."""
    await until(lambda: all(client.watcher.live or not hub.serves(client.watcher) for client in clients))


async def test_what_a_crowd_needs_is_read_once() -> None:
    changes = written(1000)
    log = Log(changes)
    async with started(log) as (hub, catching_up):
        crowd = [Client(catching_up, b"k/%d" % (number % 10), number % 3) for number in range(300)]
        for client in crowd:
            hub.add(client.watcher)
        await all_are(crowd, hub)
        for client in crowd:
            assert client.taken == lines(changes, client)
        # Each page of keys, and each page of changes, is asked for by somebody; nearly none of them twice.
        assert log.asked <= 3 * len(changes) / PAGE


async def test_the_index_is_extended_for_others_too_as_far_as_there_is_a_history() -> None:
    log = Log(written(1000), floor=300)
    log.failures = [Unavailable("away")]
    async with started(log) as (hub, catching_up):
        await catching_up.cover(700)
        assert 700 - PAGE < hub.index.floor <= 700
        await catching_up.cover(800)
        await asyncio.gather(catching_up.cover(299), catching_up.cover(300), catching_up.cover(650))
        assert hub.index.floor == 300
        log.failures = [OtherStore("gone")] * 3
        hub.start(Position(1000, STORE))
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(catching_up.cover(10), catching_up.cover(900))


async def test_who_needs_nothing_reads_nothing() -> None:
    log = Log(written(1000))
    async with started(log) as (hub, catching_up):
        first = Client(catching_up, b"other/*", 1)
        hub.add(first.watcher)
        await all_are([first], hub)
        before = log.asked
        crowd = [Client(catching_up, b"other/%d" % number, 1) for number in range(100)]
        for client in crowd:
            hub.add(client.watcher)
        await all_are(crowd, hub)
        assert (log.asked, [client.taken for client in crowd]) == (before, [[]] * 100)


async def test_who_has_no_room_is_called_again_and_holds_up_nobody() -> None:
    changes = written(500)
    async with started(Log(changes)) as (hub, catching_up):
        slow, quick = Client(catching_up, b"*", 0), Client(catching_up, b"*", 0)
        slow.room = False
        hub.add(slow.watcher)
        hub.add(quick.watcher)
        await all_are([quick], hub)
        assert (slow.full, slow.taken, quick.taken) == (1, [], lines(changes, quick))
        slow.make_room()
        await all_are([slow], hub)
        assert slow.taken == lines(changes, slow)


async def test_what_is_kept_no_longer_ends_those_who_need_it_and_no_others() -> None:
    changes = written(1000)
    async with started(Log(changes, floor=500)) as (hub, catching_up):
        gone, there = Client(catching_up, b"*", 499), Client(catching_up, b"*", 500)
        for client in (gone, there):
            hub.add(client.watcher)
        await all_are([gone, there], hub)
        assert (gone.taken, gone.end) == ([], "END 499@s compacted 500@s is the oldest")
        assert (there.taken, there.end) == (lines(changes, there), "")


async def test_who_needs_what_the_index_alone_has_lost_is_not_ended() -> None:
    changes = written(1000)
    log = Log(changes, floor=500)
    async with started(log, published=[]) as (hub, catching_up):
        hub.index.start(500)
        hub.index.append(changes[500:])
        gone, there = Client(catching_up, b"*", 499), Client(catching_up, b"*", 600)
        hub.add(gone.watcher)
        await until(lambda: log.asked == 1)
        # The answer, that what is before 500 is kept no longer, is in flight.
        hub.index.drop_to(700)
        hub.add(there.watcher)
        await all_are([gone, there], hub)
        assert gone.end == "END 499@s compacted 500@s is the oldest"
        assert (there.taken, there.end) == (lines(changes, there), "")


async def test_changes_that_go_while_they_are_needed_end_the_watch() -> None:
    changes = written(1000)
    log = Log(changes)
    async with started(log) as (hub, catching_up):
        client = Client(catching_up, b"*", 0)
        client.room = False
        hub.add(client.watcher)
        await until(lambda: client.full > 0)
        log.floor = 700
        hub.fetched.clear()
        client.make_room()
        await all_are([client], hub)
        assert client.taken == lines(changes, client)[: len(client.taken)]
        assert client.end == f"END {len(client.taken)}@s compacted 700@s is the oldest"


async def test_a_store_that_is_unreachable_is_asked_again() -> None:
    changes = written(300)
    log = Log(changes)
    log.failures = [Unavailable("gone for a moment")] * 2
    async with started(log) as (hub, catching_up):
        client = Client(catching_up, b"*", 0)
        hub.add(client.watcher)
        await all_are([client], hub)
        assert client.taken == lines(changes, client)


async def test_a_crowd_that_needs_what_is_kept_no_longer_is_ended_by_one_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    numbers = count()
    monkeypatch.setattr(random, "uniform", lambda _soonest, _latest: next(numbers))
    changes = written(300)
    log = Log(changes)
    async with started(log) as (hub, catching_up):
        crowd = [Client(catching_up, b"k/0", 0) for _ in range(50)]
        later = Client(catching_up, b"k/0", 200)
        for client in (*crowd, later):
            client.room = False
            hub.add(client.watcher)
        await until(lambda: all(client.full for client in (*crowd, later)))
        log.floor, asked = 200, log.asked
        hub.fetched.clear()
        hub._portions.clear()
        for client in (*crowd, later):
            client.make_room()
        await all_are([*crowd, later], hub)
        alone = "END 0@s compacted 200@s is the oldest"
        spread = [client.end for client in crowd if client.end != alone]
        assert {without_retry(end) for end in spread} == {alone}
        # Who was alone when the answer came need not be told when to come back; no two others come at the same time.
        assert len(set(spread)) == len(spread) > len(crowd) / 2
        assert (later.taken, later.end) == (lines(changes, later), "")
        # Others have their turn after half a millisecond, however little was done in it; each by itself would ask 51
        # times.
        assert log.asked <= asked + len(crowd) / 2


async def test_who_has_left_is_not_read_for() -> None:
    log = Log(written(1000))
    async with started(log) as (hub, catching_up):
        client = Client(catching_up, b"*", 0)
        hub.add(client.watcher)
        hub.remove(client.watcher)
        await until(lambda: not len(catching_up))
        assert (log.asked, client.taken, client.end) == (0, [], "")
