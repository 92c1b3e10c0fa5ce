"""Found beside 500 connections a second: each left a cycle, and the garbage collector stopped the daemon for 0.2 s and
more, once in 3 s, to look at all that 5,000 others had.  Found when 2,000 clients closed at once: each left another."""

import asyncio
import gc
import socket
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, closing
from functools import partial

import pytest
import uvloop

from kvd.reloadable import Reloadable
from kvd.session.linger import Linger
from kvd.settings import Settings
from kvd.store.location import StoreLocation
from tests.support.access import users_of
from tests.support.edges import root, served
from tests.support.peers import Peer
from tests.support.processes import ROOT, Redis, wait_for

CHURN = """
import gc, signal
from kvd.process import service

class Churn:
    async def start(self):
        self.kept = [[] for _ in range(200_000)]
        before = gc.get_stats()[2]["collections"]
        for _ in range(3000):
            [[] for _ in range(1500)]
        print(gc.get_stats()[2]["collections"] - before)

    async def run(self):
        pass

    async def drain(self):
        pass

    async def close(self):
        pass

service.run(Churn(), lambda: None)
"""
"""A service that has many objects, and makes and drops as many as some twenty connections have, again and again."""


CONNECTIONS = 20


@pytest.fixture
def no_collections() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


def is_of_redis_py(left: object) -> bool:
    """Whether it is the reader that redis-py's parser leaves of a connection that was closed."""
    return isinstance(left, asyncio.StreamReader) and any(
        type(other).__module__.startswith("redis.") for other in gc.get_referrers(left)
    )


def garbage() -> set[str]:
    """Types of what only the collector finds to be dropped, of ours and of streams: connections to Redis leave more."""
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        gc.collect()
        return {
            type(left).__name__ for left in gc.garbage
            if type(left).__module__.startswith(("kvd", "asyncio.streams")) and not is_of_redis_py(left)
        }  # fmt: skip
    finally:
        gc.set_debug(0)
        gc.garbage.clear()


def come_and_go(port: int, lines: bytes, replies: int, half_closed: bool) -> None:
    """Connections one after another, until the daemon has forgotten all of them."""
    for _ in range(CONNECTIONS):
        with socket.create_connection(("127.0.0.1", port)) as connection, connection.makefile("rb") as received:
            connection.sendall(lines)
            for _ in range(replies):
                assert received.readline()
            if half_closed:
                connection.shutdown(socket.SHUT_WR)
                received.read()
    with socket.create_connection(("127.0.0.1", port)) as connection, connection.makefile("rb") as received:
        last = b""
        while last != b"OK 1\n":
            connection.sendall(b"CLIENTS\n")
            while not (last := received.readline()).startswith(b"OK "):
                assert last


def left_behind(serve: Callable[[], AbstractAsyncContextManager[int]], come_and_go: Callable[[int], None]) -> set[str]:
    """What is garbage of a daemon in the loop that it has in earnest, when all was done for a second time."""

    async def run() -> set[str]:
        async with serve() as port:
            await asyncio.to_thread(come_and_go, port)
            gc.collect()
            await asyncio.to_thread(come_and_go, port)
            return garbage()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(run())


@pytest.mark.usefixtures("no_collections")
@pytest.mark.parametrize("half_closed", [False, True])
@pytest.mark.parametrize(
    ("lines", "replies"),
    [
        (b"", 0),
        (b"GET a\n", 1),
        (b"set a b\n", 1),
        (b"BEGIN\nSET a b\n", 2),
        (b"FROB\nSET a\nRESUME 5@x\n", 3),
        (b"\x01\n", 1),
        (b"WATCH a*\nUNWATCH\n", 2),
        (b"WATCH a*\nQUIT\n", 2),
        (b"half a line", 0),
    ],
)
def test_those_who_come_and_go_leave_no_garbage(
    lines: bytes, replies: int, half_closed: bool, redis_of_all: Redis
) -> None:
    served_by = partial(root, redis_of_all.unix_url, Settings())
    assert left_behind(served_by, partial(come_and_go, lines=lines, replies=replies, half_closed=half_closed)) == set()


@pytest.mark.usefixtures("no_collections")
@pytest.mark.parametrize("half_closed", [False, True])
@pytest.mark.parametrize(
    ("lines", "replies"),
    [
        (b"", 0),
        (b"GET b\nSET a b\n", 2),
        (b"WATCH a*\nUNWATCH\n", 2),
        (b"WATCH a*\nQUIT\n", 2),
        (b"SYNC a*\nUNWATCH\n", 2),
    ],
)
def test_where_there_are_users_they_leave_none(
    lines: bytes, replies: int, half_closed: bool, redis_of_all: Redis
) -> None:
    """A watch had a permit of the login, which told the watch of other users."""
    users = users_of({"default": {"*": "admin", "a*": "read,watch"}})

    served_by = partial(served, StoreLocation(redis_of_all.unix_url, None), Settings(), Reloadable(users=users))
    assert left_behind(served_by, partial(come_and_go, lines=lines, replies=replies, half_closed=half_closed)) == set()


@pytest.mark.usefixtures("no_collections")
def test_connections_to_the_store_that_are_lost_leave_none(redis_of_all: Redis) -> None:
    """Each was held by a method of its own.  So were those of a change log that nobody watched any more."""

    def lose(port: int) -> None:
        with (
            socket.create_connection(("127.0.0.1", port)) as one, closing(Peer(one)) as peer,
            socket.create_connection(("127.0.0.1", port)) as another, closing(Peer(another)) as watcher,
        ):  # fmt: skip
            assert watcher.ask("WATCH a*").startswith("OK ")
            redis_of_all.cli("CLIENT", "KILL", "TYPE", "normal")
            wait_for("the store", lambda: peer.ask("SET a b").startswith("OK "))
            assert " SET a b" in watcher.line()
            # Closed without a word it could be one that goes on watching.
            assert watcher.ask("UNWATCH").startswith("OK ")
        come_and_go(port, b"", 0, half_closed=False)

    assert left_behind(partial(root, redis_of_all.unix_url, Settings()), lose) == set()


async def test_a_connection_that_is_closed_waits_for_no_collection() -> None:
    """Its peer neither sends nor closes, so that what waits for input is cancelled."""
    ended: list[weakref.ref[Linger]] = []
    over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        linger = Linger(reader, writer)
        ended.append(weakref.ref(linger))
        await linger.close(amid=False, longest=0.05)
        del linger
        over.set()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        gc.disable()
        try:
            _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            async with asyncio.timeout(10):
                await over.wait()
                await asyncio.sleep(0)
            assert [linger() for linger in ended] == [None]
        finally:
            gc.enable()
        writer.close()
        await writer.wait_closed()


def test_what_comes_and_goes_has_nobody_look_at_what_stays() -> None:
    command = [sys.executable, "-c", CHURN]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "0\n"
