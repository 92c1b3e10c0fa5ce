"""kvd.watch.snapshot: a copy is exact at its position, whatever happens between any two steps of it."""

import asyncio
import gc
import random
from collections.abc import Iterator, Sequence
from typing import cast
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvd.errors import Unavailable
from kvd.model import Change, Patterns, Position, Record
from kvd.store.api import Page, Store
from kvd.watch import snapshot
from kvd.watch.hub import Hub, Step
from kvd.watch.memory import RecentChanges
from kvd.watch.pages import Pages
from kvd.watch.snapshot import Copy, Copying
from kvd.watch.watcher import Watcher
from kvd.wire import replies
from tests.support.processes import PATIENCE

STORE = b"s"
KEYS = [b"%s/%d" % (letter, number) for letter in (b"a", b"ab", b"b", b"c") for number in range(6)]
MOST_AT_ONCE = 5
"""Changes that are made, and entries that are published, between two steps at the most."""
CHANGES = 300
"""Changes in all, so that every copy comes to an end."""


@pytest.fixture(autouse=True)
def small_steps() -> Iterator[None]:
    """Copies in many rounds of a few keys each."""
    with patch.multiple(snapshot, PORTION_KEYS=3, TAKE_PAGES=2, NEAR_BYTES=150):
        yield


class World:
    """A store and its hub, in which others write and changes are published whenever somebody waits."""

    def __init__(self, chance: random.Random, index_changes: int = 1000) -> None:
        self.chance = chance
        self.changes: list[Change] = []
        self.records_now: dict[bytes, Record] = {}
        self.hub = Hub(RecentChanges(chance.choice((0, 1000, 5000, 1 << 20))), index_changes)
        self.hub.start(Position(0, STORE))
        # What is there before.
        for _ in range(chance.randrange(40)):
            self.write()
        self.publish(len(self.changes))
        self.left = CHANGES

    @property
    def position(self) -> Position:
        return Position(len(self.changes), STORE)

    def write(self) -> None:
        """One or several changes in one transaction."""
        keys = self.chance.sample(KEYS, self.chance.choice((1, 1, 1, 3)))
        for number, key in enumerate(keys, 1):
            revision, more = len(self.changes) + 1, number < len(keys)
            if key in self.records_now and self.chance.random() < 0.4:
                del self.records_now[key]
                verb = self.chance.choice((b"DEL", b"EXPIRE"))
                self.changes.append(Change(revision, verb, key, more=more))
            else:
                value = b"v%d" % revision
                self.records_now[key] = Record(b"%d" % revision, b"0", b"t", value)
                self.changes.append(Change(revision, b"SET", key, b"t", value, more))

    def write_all(self) -> None:
        """Every key is set, and that is published."""
        for key in KEYS:
            revision = len(self.changes) + 1
            self.changes.append(Change(revision, b"SET", key, b"t", b"v%d" % revision))
            self.records_now[key] = Record(b"%d" % revision, b"0", b"t", b"v%d" % revision)
        self.publish(len(self.changes))

    def publish(self, entries: int) -> None:
        for _ in range(entries):
            first = self.hub.position.revision
            end = next((c.revision for c in self.changes[first:] if not c.more), 0)
            if end:
                self.hub.publish(STORE, self.changes[first:end])

    async def pause(self) -> None:
        """Others have their turn."""
        for _ in range(self.chance.randrange(3)):
            for _ in range(min(self.chance.randrange(MOST_AT_ONCE), self.left)):
                self.write()
                self.left -= 1
            self.publish(self.chance.randrange(MOST_AT_ONCE))
            await asyncio.sleep(0)

    def pages(self) -> Pages:
        return Pages(cast("Store", self), self.hub)

    def shared(self) -> Copying:
        return Copying(cast("Store", self), self.pages(), self.hub)

    async def page(self, pattern: bytes, after: bytes, *, values: bool) -> tuple[Page, bytes]:  # noqa: ARG002
        await self.pause()
        match = Patterns([pattern]).match
        keys = [key for key in sorted(self.records_now) if match(key) and key > after]
        size = self.chance.randint(1, 6)
        found: list[tuple[bytes, Record | None]] = [(key, self.records_now[key]) for key in keys[:size]]
        answer = Page(self.position, found), keys[size - 1] if len(keys) > size else b""
        await self.pause()
        return answer

    async def records(self, keys: Sequence[bytes], *, values: bool) -> Page:  # noqa: ARG002
        await self.pause()
        found = [(key, self.records_now.get(key)) for key in keys[: self.chance.randint(1, len(keys))]]
        answer = Page(self.position, found)
        await self.pause()
        return answer

    def at(self, revision: int, patterns: Patterns) -> dict[bytes, tuple[int, bytes]]:
        """The store right after a revision."""
        found: dict[bytes, tuple[int, bytes]] = {}
        for change in self.changes[:revision]:
            if change.verb == b"SET" and patterns.match(change.key):
                found[change.key] = change.revision, change.value
            else:
                found.pop(change.key, None)
        return found


class Reader:
    """Makes a copy and watches from there on."""

    def __init__(self, world: World, shared: Copying, patterns: Sequence[bytes], most_left: int | None = None) -> None:
        self.world = world
        self.most_left = world.chance.choice((0, 300, 5000)) if most_left is None else most_left
        self.shared = shared
        self.patterns = Patterns(patterns)
        self.copy: dict[bytes, tuple[int, bytes]] = {}
        self.latest: dict[bytes, int] = {}
        self.watcher: Watcher | None = None
        self.pushed = b""

    def apply(self, lines: bytes) -> None:
        for line in lines.splitlines():
            word, number, key, *value = line.split(b" ", 3)
            assert int(number) > self.latest.get(key, 0), "each line of a key is newer than the one before"
            self.latest[key] = int(number)
            if word == b"PAIR":
                self.copy[key] = int(number), value[0]
            else:
                assert word == b"GONE"
                self.copy.pop(key, None)

    async def run(self) -> None:
        await self.world.pause()
        copy = Copy(self.shared, self.patterns, self.most_left)
        try:
            async for lines in copy.portions():
                self.apply(lines)
                await self.world.pause()
            position, lines = copy.rest()
        finally:
            copy.close()
        self.apply(lines)
        assert position == self.world.hub.position
        assert self.copy == self.world.at(position.revision, self.patterns)
        self.began = position.revision
        self.watcher = Watcher(self.patterns, self.sink, lambda: None, lambda: None, lambda _: None, position.revision)
        self.world.hub.add(self.watcher)

    def sink(self, data: bytes) -> bool:
        self.pushed += data
        return True

    def check_pushed(self) -> None:
        """What came after the copy goes on where it ended."""
        assert self.watcher
        assert self.world.hub.catch_up(self.watcher) is Step.LIVE
        changes = [c for c in self.world.changes[self.began :] if self.patterns.match(c.key)]
        assert self.pushed == b"".join(replies.change(change, STORE) for change in changes)


async def copies_are_exact(chance: random.Random, readers: int) -> None:
    world = World(chance, chance.choice((3, 20, 80, 1000)))
    shared = world.shared()
    choices = [(b"*",), (b"a*",), (b"a/*", b"b/*"), (b"a/1", b"c/*", b"nobody"), (b"ab/*",)]
    made = [Reader(world, shared, chance.choice(choices)) for _ in range(readers)]

    async def follow() -> None:
        while True:
            world.publish(1)
            await asyncio.sleep(0)

    following = asyncio.create_task(follow())
    try:
        async with asyncio.timeout(PATIENCE):
            ends = await asyncio.gather(*[reader.run() for reader in made], return_exceptions=True)
    finally:
        following.cancel()
    for _ in range(10):
        world.write()
    world.publish(len(world.changes))
    for reader, end in zip(made, ends, strict=True):
        # Too fast for one in many.
        if not isinstance(end, Unavailable):
            assert end is None, end
            reader.check_pushed()


@settings(max_examples=60)
@given(st.integers(0, 2**64), st.integers(1, 3))
def test_copies_are_exact_at_their_positions(seed: int, readers: int) -> None:
    asyncio.run(copies_are_exact(random.Random(seed), readers))


# ---- what copies share


async def test_who_does_not_read_keeps_no_other_copy_waiting() -> None:
    world = World(random.Random(1))
    world.left = 0
    shared = world.shared()
    stuck, other = (Copy(shared, Patterns([b"*"]), 0) for _ in range(2))
    portions = stuck.portions()
    while not shared.turn.locked():
        await anext(portions)
        world.write_all()
    # It is never asked for another portion.
    portions_of_other = 0
    async with asyncio.timeout(PATIENCE):
        async for _ in other.portions():
            portions_of_other += 1
            if portions_of_other == 1:
                world.write_all()
    assert portions_of_other > len(KEYS) / snapshot.PORTION_KEYS
    for copy in (stuck, other):
        copy.close()
    assert not shared.turn.locked()


async def test_who_is_cut_off_while_waiting_for_its_turn_keeps_no_other_waiting() -> None:
    world = World(random.Random(1))
    world.left = 0
    shared = world.shared()
    await shared.turn.acquire()
    readers = [asyncio.create_task(Reader(world, shared, [b"*"], most_left=0).run()) for _ in range(2)]
    async with asyncio.timeout(PATIENCE):
        while len(shared.turn._waiters or ()) < len(readers):
            await asyncio.sleep(0)
            world.write_all()
        readers[0].cancel()
        shared.turn.release()
        await readers[1]
        with pytest.raises(asyncio.CancelledError):
            await readers[0]
    assert not shared.turn.locked()


async def test_a_page_that_nobody_wants_any_more_fails_in_silence() -> None:
    world = World(random.Random(1))
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    fails = asyncio.Event()

    async def page(*_: bytes, values: bool) -> tuple[Page, bytes]:  # noqa: ARG001
        await fails.wait()
        raise Unavailable("the store is away")

    with patch.object(world, "page", page):
        pages = world.pages()
        callers = [asyncio.create_task(pages.get(b"*", b"")) for _ in range(3)]
        await asyncio.sleep(0)
        for caller in callers:
            caller.cancel()
        await asyncio.wait(callers)
        # They would hold it.
        del caller, callers
        fails.set()
        while pages._reading:  # noqa: ASYNC110  # it has no event
            await asyncio.sleep(0)
        await asyncio.sleep(0)
    gc.collect()
    assert complaints == []


async def test_keys_that_change_faster_than_they_are_read_are_said() -> None:
    world = World(random.Random(1))
    copy = Copy(world.shared(), Patterns([b"*"]), 0)

    async def read() -> None:
        async for _ in copy.portions():
            world.write_all()

    with pytest.raises(Unavailable, match="the keys change faster than they are read"):
        await read()
    copy.close()
