"""Reported: a daemon that was stopped (SIGSTOP), or whose machine had vanished, was waited for without end.

So was a server that answers PING only.  Now a connection ends on which, while something is waited for, no byte comes
for the time that was set; not one on which an answer is long in coming, or on which nothing is asked.
"""

import asyncio
import os
import re
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest

from kvd.client import Client, Event, TimedOut, Unreachable, Watch, connect
from kvd.errors import ConnectionLost, Uncertain
from tests.support.processes import PATIENCE, Daemon
from tests.support.scripted import Peer, serving

LIMIT = 0.4
"""Seconds."""
SILENT = re.escape(f"no byte from the daemon for {LIMIT:g} s")


@contextmanager
def stopped(daemon: Daemon) -> Iterator[None]:
    daemon.kill(signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(daemon.pid, signal.SIGCONT)


async def until_kept(use: Callable[[], Awaitable[None]]) -> None:
    """Use connections to a real daemon until none is lost: one may be while the machine, or its disk, stands still."""
    give_up = time.monotonic() + PATIENCE
    while True:
        try:
            return await use()
        except (TimedOut, Uncertain):
            if time.monotonic() > give_up:
                raise


async def silent(peer: Peer) -> None:
    """A server that answers PING only."""
    await peer.rest()


CALLS: list[Callable[[Client], Awaitable[object]]] = [
    lambda kv: kv.get("k"), lambda kv: kv.gets("k"), lambda kv: kv.set("k", "v"), lambda kv: kv.delete("k"),
    lambda kv: kv.touch("k", 1), lambda kv: kv.ttl("k"), lambda kv: kv.incr("k"), lambda kv: kv.count(),
    lambda kv: anext(kv.keys()), lambda kv: anext(kv.list()), lambda kv: kv.info(), lambda kv: kv.ping(),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("call", CALLS)
async def test_a_server_that_answers_the_first_ping_only(call: Callable[[Client], Awaitable[object]]) -> None:
    async with serving(silent) as address, await connect(address, timeout=LIMIT, reconnect=0) as kv:
        with pytest.raises((TimedOut, Uncertain), match=SILENT) as caught:
            await call(kv)
        # What was only read is not said to have been done.
        assert ("may have been done, or not" in str(caught.value)) is isinstance(caught.value, Uncertain)
        with pytest.raises(TimedOut):  # the connection is closed, and nothing waits any more
            await kv.ping()


async def test_a_server_that_does_not_answer_watch() -> None:
    async with serving(silent) as address:
        with pytest.raises(TimedOut, match=SILENT):
            async with Watch(address, timeout=timedelta(seconds=LIMIT)):
                pass


async def test_a_server_that_never_tells_of_its_progress() -> None:
    async def script(peer: Peer) -> None:
        await peer.expect("WATCH a", "PROGRESS 0.133")
        peer.say("CHANGE 4@c3d1a7f0 SET a 1", "OK")
        await silent(peer)

    async def greeted(peer: Peer) -> None:
        peer.say("OK 3@c3d1a7f0")
        await script(peer)

    async with serving(greeted) as address, Watch(address, "a", timeout=LIMIT) as changes:
        assert (await anext(changes)).value == b"1"
        with pytest.raises(TimedOut, match=SILENT):
            await anext(changes)
        with pytest.raises(ConnectionLost):
            await anext(changes)


async def test_a_stopped_daemon_is_noticed_by_all_that_wait(daemon: Daemon) -> None:
    async def use() -> None:
        async with await connect(daemon.addr, timeout=LIMIT, reconnect=0) as kv, kv.watch("k*") as changes:
            await kv.set("k", "v")
            await anext(changes)
            with stopped(daemon):
                waiting: list[Any] = [kv.get("k"), kv.set("k", "w"), kv.count(), anext(changes)]
                results = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(result) for result in results] == [TimedOut, Uncertain, TimedOut, TimedOut]

    await until_kept(use)


async def test_a_stopped_daemon_that_does_not_read_is_noticed(daemon: Daemon) -> None:
    """The socket is full, so that further calls have not even been sent."""
    async with await connect(daemon.addr, timeout=LIMIT, reconnect=0) as kv:
        with stopped(daemon):
            value = os.urandom(1 << 20)
            results = await asyncio.gather(*(kv.set(f"k{n}", value) for n in range(20)), return_exceptions=True)
        assert set(map(type, results)) == {TimedOut, Uncertain}  # what was not sent was certainly not done


async def test_a_caller_that_gave_up_does_not_hide_the_silence() -> None:
    """Nor does one that looks for changes for a moment, again and again."""

    async def watching(peer: Peer) -> None:
        await peer.expect("WATCH")
        peer.say("OK 3@c3d1a7f0")
        await silent(peer)

    async with serving(silent) as address, await connect(address, timeout=LIMIT, reconnect=0) as kv:
        with pytest.raises(TimedOut):
            await _in_short_waits(lambda: kv.get("k"))
    async with serving(watching) as address, Watch(address, timeout=LIMIT) as changes:
        with pytest.raises(TimedOut):
            await _in_short_waits(changes.__anext__)


async def _in_short_waits(call: Callable[[], Awaitable[object]]) -> None:
    for _ in range(1000):
        try:
            async with asyncio.timeout(LIMIT / 10):
                await call()
        except TimeoutError:
            continue


async def test_a_quiet_watch_lasts(daemon: Daemon) -> None:
    async def use() -> None:
        async with await connect(daemon.addr, timeout=LIMIT, reconnect=0) as kv, kv.watch("a") as changes:
            waiting = asyncio.create_task(anext(changes))
            await asyncio.wait([waiting], timeout=3 * LIMIT)
            await kv.set("a", "1")  # and so does a connection on which nothing was asked
            assert (await waiting).key == "a"

    await until_kept(use)


async def test_a_watch_whose_changes_are_taken_late_lasts(daemon: Daemon) -> None:
    """What waits to be taken is no silence, though nothing more is received meanwhile."""
    value = "x" * 100_000

    async def use() -> None:
        async with await connect(daemon.addr) as kv, Watch(daemon.addr, timeout=LIMIT) as changes:
            for number in range(20):
                await kv.set(f"k{number}", value)
            await asyncio.sleep(3 * LIMIT)
            keys = [(await anext(changes)).key for _ in range(20)]
            assert keys == [f"k{number}" for number in range(20)]
            await kv.set("last", "")
            assert (await anext(changes)).key == "last"

    await until_kept(use)


async def test_what_came_before_the_silence_is_not_lost() -> None:
    async def script(peer: Peer) -> None:
        await peer.expect("WATCH")
        peer.say("OK 3@c3d1a7f0", "CHANGE 4@c3d1a7f0 SET a 1", "CHANGE 5@c3d1a7f0 DEL a")
        await silent(peer)

    async with serving(script) as address, Watch(address, timeout=LIMIT) as changes:
        await asyncio.sleep(3 * LIMIT)  # the connection is given up meanwhile
        assert [await anext(changes), await anext(changes)] == [
            Event("4@c3d1a7f0", 4, "SET", "a", b"1"), Event("5@c3d1a7f0", 5, "DEL", "a", None)
        ]  # fmt: skip
        with pytest.raises(TimedOut):
            await anext(changes)


async def test_an_answer_that_comes_slowly_is_waited_for() -> None:
    async def script(peer: Peer) -> None:
        await peer.expect("GET a")
        for octet in b"OK slow and steady\n":
            peer.writer.write(bytes((octet,)))
            await asyncio.sleep(LIMIT / 4)

    async with serving(script) as address, await connect(address, timeout=LIMIT, reconnect=0) as kv:
        assert await kv.get("a") == b"slow and steady"


async def test_a_value_that_is_taken_slowly_is_waited_for() -> None:
    """The daemon says nothing before it has it all."""
    value = "x" * (3 << 20)
    left = len(f"SET a {value}\n")
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 17)  # bytes, for what it accepts as well
        connecting = asyncio.create_task(connect(f"127.0.0.1:{server.getsockname()[1]}", timeout=LIMIT))
        peer, _ = await loop.sock_accept(server)
        with peer:
            await loop.sock_sendall(peer, b"OK\n")
            async with await connecting as kv:
                assert await loop.sock_recv(peer, len(b"PING\n")) == b"PING\n"
                asking = asyncio.create_task(kv.set("a", value))
                while left:
                    left -= len(await loop.sock_recv(peer, 1 << 17))
                    await asyncio.sleep(LIMIT / 10)
                await loop.sock_sendall(peer, b"OK 1\n")
                assert await asking == 1


async def test_a_program_that_was_itself_stopped_does_not_blame_the_daemon(daemon: Daemon) -> None:
    async def use() -> None:
        async with await connect(daemon.addr, timeout=LIMIT, reconnect=0) as kv, kv.watch() as changes:
            asking = asyncio.create_task(kv.set("k", "v"))
            await asyncio.sleep(0)  # it has asked
            time.sleep(2 * LIMIT)  # noqa: ASYNC251  # the event loop does not run
            revision = await asking
            while (await anext(changes)).revision < revision:  # of another time
                pass

    await until_kept(use)


async def test_no_limit_is_none(daemon: Daemon) -> None:
    async with await connect(daemon.addr, timeout=None) as kv, kv.watch() as changes:
        with stopped(daemon):
            asking, watching = asyncio.create_task(kv.set("k", "v")), asyncio.create_task(anext(changes))
            done, _ = await asyncio.wait([asking, watching], timeout=3 * LIMIT)
            assert not done
        assert await asking == 1
        assert (await watching).key == "k"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_only_a_refused_connection_says_that_nothing_listens(host: str) -> None:
    with socket.socket() as taken:  # bound, but not listening
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(Unreachable, match=r"\(connection refused\)$") as caught:
            await connect(f"{host}:{taken.getsockname()[1]}")
        assert caught.value.refused


async def test_what_listens_and_is_silent_or_is_not_kvd_has_not_refused(daemon: Daemon) -> None:
    with stopped(daemon), pytest.raises(Unreachable, match="no answer within") as caught:
        await connect(daemon.addr, connect_timeout=LIMIT)
    assert not caught.value.refused
    with pytest.raises(Unreachable) as caught:
        await connect("x" * 64)
    assert not caught.value.refused
