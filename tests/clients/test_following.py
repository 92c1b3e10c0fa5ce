"""Following changes through restarts, with both faces of the library."""

import asyncio
import itertools
from typing import Any

import pytest

from kvd import client
from kvd.client import (
    Copy,
    Event,
    FilePosition,
    Item,
    WatchEnded,
    sync,
)
from kvd.errors import (
    Compacted,
    ConnectionLost,
    KvdError,
    OtherStore,
    Usage,
)
from tests.support.daemons import fill
from tests.support.faces import Connect, InThreads, connect_in_threads
from tests.support.processes import Daemon, StartDaemon

NAMES = map(str, itertools.count())
"""Of keys that no other test has."""


class Kept:
    """A place in memory."""

    def __init__(self) -> None:
        self.saved: list[str] = []

    def load(self) -> str | None:
        return self.saved[-1] if self.saved else None

    def save(self, position: str) -> None:
        self.saved.append(position)


async def test_following_goes_on_through_a_restart(daemon: Daemon, connect: Connect) -> None:
    told: list[tuple[KvdError, float]] = []
    async with await connect(daemon.addr) as kv:
        first = await kv.set("f/a", "1")
        async with kv.follow("f/*", retrying=lambda *what: told.append(what)) as changes:
            copy = await anext(changes)
            assert isinstance(copy, Copy)
            assert (copy.reason, copy.items) == ("new", {"f/a": Item("f/a", b"1", first)})
            await kv.set("f/b", "2")
            assert (await anext(changes)).key == "f/b"
            await asyncio.to_thread(daemon.stop)
            waiting = asyncio.create_task(anext(changes))
            await asyncio.to_thread(daemon.start)
            await kv.set("f/c", "3")
            assert (await waiting).key == "f/c"
            assert changes.position.startswith("3@")
        assert isinstance(told[0][0], WatchEnded)
        assert told[0][0].retry == told[0][1]


async def test_a_place_keeps_the_position_of_what_is_done_with(shared_daemon: Daemon, connect: Connect) -> None:
    root, place = f"f{next(NAMES)}", Kept()
    async with await connect(shared_daemon.addr) as kv:
        async with kv.follow(f"{root}/*", place=place) as changes:
            await anext(changes)
            assert place.saved == []
            revisions = [await kv.set(f"{root}/{number}", "") for number in range(3)]
            await anext(changes)
            assert len(place.saved) == 1
            await anext(changes)
        assert place.saved[-1].startswith(f"{revisions[1]}@")  # it ended without an error: all is done with
        with pytest.raises(RuntimeError):  # noqa: PT012
            async with kv.follow(f"{root}/*", place=place) as changes:
                assert (await anext(changes)).revision == revisions[2]
                raise RuntimeError
        assert place.saved[-1].startswith(f"{revisions[1]}@")
        async with kv.follow(f"{root}/*", place=place) as changes:
            assert (await anext(changes)).revision == revisions[2]


async def test_a_quiet_follower_moves_on(shared_daemon: Daemon, connect: Connect) -> None:
    """Its position moves by signs of life, so that what it waits for is still kept when it must begin again."""
    async with (
        await connect(shared_daemon.addr) as other,
        await connect(shared_daemon.addr, timeout=1) as kv,
        kv.follow("quiet", copies=False) as changes,
    ):
        revision = await other.set("other", "")
        while int(changes.position.partition("@")[0]) < revision:
            with pytest.raises(TimeoutError):
                await changes.next(0.1)


async def test_history_that_is_gone_is_a_copy_or_an_error(start_daemon: StartDaemon, connect: Connect) -> None:
    daemon = start_daemon("--history-changes", "100")
    async with await connect(daemon.addr) as kv:
        begin = f"0@{(await kv.info())['store']}"
        await kv.set("h", "299")
        fill(daemon, 1000)
        while int((await kv.info())["oldest"]) == 0:
            await kv.ping()
        async with kv.follow("h", position=begin) as changes:
            copy = await anext(changes)
            assert (copy.reason, copy.items["h"].value) == ("compacted", b"299")
        async with kv.follow("h", position="1@00000000") as changes:
            assert (await anext(changes)).reason == "store"
        for position, error in ((begin, Compacted), ("1@00000000", OtherStore)):
            with pytest.raises(error):
                async with kv.follow("h", position=position, copies=False):
                    pass
        async with kv.follow("h", copies=False) as changes:
            await kv.set("h", "last")
            assert (await anext(changes)).value == b"last"


async def test_what_a_lying_daemon_repeats_is_not_taken_twice(connect: Connect) -> None:
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readline() == b"PING\n"
        writer.write(b"OK\n")
        asked.append(await reader.readline())
        number = len(asked)
        if number == 1:
            writer.write(
                b"COPY new\nPAIR 1 a x\nPAIR 2 b x\nGONE 3 b\nOK 3@s\nCHANGE 4@s SET a 1\nCHANGE 4@s SET a 1\n"
            )
        elif number == 2:
            writer.write(b"OK 3@s\n")  # not where it was asked to
        elif number == 3:
            writer.write(b"COPY compacted\nPAIR 9 wrong x\n")
        elif number == 4:
            writer.write(b"OK 4@s\nCHANGE 6@s SET a 2\n")
            await reader.read()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        address = f"{host}:{port}"
        is_sync = connect is connect_in_threads
        async with InThreads(sync.Follow(address, "a")) if is_sync else client.Follow(address, "a") as changes:
            assert await anext(changes) == Copy("3@s", 3, "new", {"a": Item("a", b"x", 1)})
            assert await anext(changes) == Event("4@s", 4, "SET", "a", b"1")
            assert await anext(changes) == Event("6@s", 6, "SET", "a", b"2")
    assert asked == [b"FOLLOW - a\n", *[b"FOLLOW 4@s a\n"] * 3]


async def test_closing_ends_a_follower(shared_daemon: Daemon, connect: Connect) -> None:
    async with await connect(shared_daemon.addr) as kv, kv.follow("closing") as changes:
        await anext(changes)
        waiting = asyncio.create_task(anext(changes))
        await asyncio.sleep(0.05)
        await changes.close()
        with pytest.raises(ConnectionLost):
            await waiting


def test_a_position_in_a_file(tmp_path: Any) -> None:
    path = tmp_path / "position"
    place = FilePosition(path, fsync=True)
    assert place.load() is None
    place.save("7@c3d1a7f0")
    FilePosition(str(path)).save("8@c3d1a7f0")
    assert place.load() == "8@c3d1a7f0"
    assert [one.name for one in tmp_path.iterdir()] == ["position"]
    for wrong in ("", "7", "7@\n8@", "\xff"):
        path.write_text(wrong, encoding="latin-1")
        with pytest.raises(Usage, match="invalid position in"):
            place.load()
