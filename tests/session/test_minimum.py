"""min=: reads that wait until the daemon has seen a position."""

import signal
import socket
import struct
import time
from contextlib import ExitStack

import pytest

from kvd.client import connect
from kvd.errors import OtherStore, Unavailable
from tests.support.daemons import processor_time
from tests.support.held_memory import fact
from tests.support.peers import Peer
from tests.support.processes import Daemon, StartDaemon, wait_for

MANY = 500
RESET = struct.pack("ii", 1, 0)
"""Of a socket: its end resets the connection."""


def here(peer: Peer) -> str:
    """The store's position."""
    return peer.ask("UNWATCH").removeprefix("OK ")


def later(position: str, by: int) -> str:
    """The position so many changes after one."""
    revision, _, store = position.partition("@")
    return f"{int(revision) + by}@{store}"


@pytest.mark.parametrize("is_followed", [False, True])
def test_a_read_waits_for_the_position_that_it_names(start_daemon: StartDaemon, is_followed: bool) -> None:
    daemon = start_daemon("--max-stale", "600")
    with daemon.connect() as writer, daemon.connect() as reader, daemon.connect() as watcher:
        if is_followed:
            assert watcher.ask("WATCH").startswith("OK ")
        assert writer.ask("SET waited 1").startswith("OK ")
        wanted = later(here(writer), 2)
        reader.send(f"PING\nGET waited min={wanted}\nGETS waited min={wanted}\nCOUNT waited min={wanted}\nGET waited\n")
        assert reader.line() == "OK", "what was answered before does not wait"
        assert writer.ask("SET waited 2").startswith("OK ")
        revision = writer.ask("SET waited 3").removeprefix("OK ")
        assert reader.lines(4) == ["OK 3", f"OK {revision} 3", "OK 1", "OK 3"]


def test_a_daemon_that_stops_waits_for_no_position(start_daemon: StartDaemon) -> None:
    daemon = start_daemon("--max-stale", "600")
    with daemon.connect() as reader:
        reader.send(f"PING\nGET a min={later(here(reader), 1)}\n")
        assert reader.line() == "OK"
        daemon.kill(signal.SIGTERM)
        assert reader.line().startswith("ERR unavailable "), "it is not cut off"


async def test_the_client_reads_from_a_position_on(shared_daemon: Daemon) -> None:
    async with await connect(shared_daemon.addr) as kv:
        await kv.set("client/a", "x")
        with shared_daemon.connect() as peer:
            position = here(peer)
        assert await kv.get("client/a", min_position=position) == b"x"
        assert await kv.count("client/*", min_position=position) == 1
        assert [key async for key in kv.keys("client/*", min_position=position)] == ["client/a"]
        assert [item.value async for item in kv.list("client/*", min_position=position)] == [b"x"]
        with pytest.raises(OtherStore):
            await kv.gets("client/a", min_position="1@nostore")


async def test_the_client_is_told_that_a_position_does_not_come(start_daemon: StartDaemon) -> None:
    daemon = start_daemon("--max-stale", "0.05")
    async with await connect(daemon.addr, reconnect=0) as kv:
        with daemon.connect() as peer:
            position = later(here(peer), 1)
        with pytest.raises(Unavailable):
            await kv.get("a", min_position=position)


def test_many_that_wait_for_a_position_delay_nobody_and_are_let_go_of_with_their_clients(
    start_daemon: StartDaemon,
) -> None:
    """Found: each looked for itself fifty times a second, so that a thousand took all of a core, also for those who had
    gone."""
    daemon = start_daemon("--max-stale", "600")
    with daemon.connect() as other, ExitStack() as stack:
        position = later(here(other), 1)
        for _ in range(MANY):
            peer = stack.enter_context(daemon.connect())
            peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            peer.send(f"GET k min={position}\n")
        assert other.ask("PING") == "OK"
        before = processor_time(daemon.pid)
        time.sleep(1)
        assert processor_time(daemon.pid) - before < 0.5
        stack.pop_all().close()
        wait_for("their end", lambda: fact(daemon, "connections") <= 2)
