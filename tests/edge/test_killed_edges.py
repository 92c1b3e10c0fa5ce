"""Edges that are killed, and upstreams that are lost or stopped: real daemons, real signals."""

import asyncio
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from kvd.client import Event, connect
from kvd.errors import Refusal
from tests.support.edges import until_done
from tests.support.peers import Peer
from tests.support.processes import PATIENCE, Daemon, StartDaemon

CHANGES = 400
MAX_STALE = 1.0


def follow(*upstreams: Daemon) -> tuple[str, ...]:
    return "--follow", ",".join(one.addr for one in upstreams)


@pytest.fixture
def tree(start_daemon: StartDaemon) -> tuple[Daemon, Daemon, Daemon, Daemon]:
    """A root, two edges of it, and one of these two."""
    root = start_daemon("--fsync", "no")
    left = start_daemon(*follow(root))
    right = start_daemon(*follow(root))
    return root, left, right, start_daemon(*follow(left, right))


def write(daemon: Daemon, killed: list[Daemon]) -> None:
    """Change keys, and in their midst kill daemons and start them again."""
    with daemon.connect() as peer:
        for number in range(1, CHANGES + 1):
            assert peer.ask(f"SET k/{number % 10} {number}") == f"OK {number}"
            if number % 100 == 50 and killed:
                victim = killed.pop(0)
                victim.kill()
                victim.wait()
                victim.start()


def revision(line: str) -> int:
    return int(line.split(" ")[1].partition("@")[0])


@pytest.mark.slow
def test_watchers_notice_nothing_while_upstreams_are_killed(tree: tuple[Daemon, Daemon, Daemon, Daemon]) -> None:
    root, left, right, last = tree
    with last.connect() as watcher:
        assert until_done(watcher, "WATCH").startswith("OK 0@")
        writer = threading.Thread(target=write, args=(root, [left, right, left]))
        writer.start()
        try:
            for number in range(1, CHANGES + 1):
                line = watcher.line()
                assert line.startswith("CHANGE "), line
                assert revision(line) == number
        finally:
            writer.join()
        position = line.split(" ")[1].replace(f"{CHANGES}@", f"{CHANGES - 5}@")
    for daemon in tree:
        with daemon.connect() as peer:
            assert until_done(peer, f"RESUME {position}") == f"OK {position}"
            assert [revision(line) for line in peer.lines(5)] == list(range(CHANGES - 4, CHANGES + 1))


@pytest.mark.slow
async def test_a_client_goes_on_at_another_daemon(tree: tuple[Daemon, Daemon, Daemon, Daemon]) -> None:
    root, left, _, last = tree
    addresses = [last.addr, left.addr, root.addr]
    async with await connect(addresses) as kv, kv.follow("k/*", copies=False) as changes, kv.mirror("k/*") as mirror:
        first = asyncio.ensure_future(anext(changes))
        while not first.done():
            # It may begin after this; what becomes of it is nothing to the test.
            with suppress(Refusal):
                await kv.set("k/begin", "x")
            await asyncio.wait([first], timeout=0.05)
        begun = first.result()
        assert isinstance(begun, Event)
        seen = [begun.revision]
        work = asyncio.create_task(asyncio.to_thread(write_some, root, [last, left, last]))
        async for event in changes:
            assert isinstance(event, Event)
            seen.append(event.revision)
            if event.value == b"end":
                break
        await work
        assert seen == list(range(seen[0], seen[0] + len(seen))), "each once, none missing"
        async with asyncio.timeout(PATIENCE):
            while mirror.get("k/last") is None:  # noqa: ASYNC110  # it is what a program sees
                await asyncio.sleep(0.02)


def test_an_upstream_that_says_nothing_is_left(start_daemon: StartDaemon) -> None:
    root = start_daemon("--fsync", "no")
    stopped, other = start_daemon(*follow(root)), start_daemon(*follow(root))
    last = start_daemon(*follow(stopped, other), "--max-stale", f"{MAX_STALE:g}")
    with root.connect() as writer, last.connect() as watcher, last.connect() as peer:
        assert until_done(watcher, "WATCH").startswith("OK 0@")
        stopped.kill(signal.SIGSTOP)
        try:
            assert writer.ask("SET a 1") == "OK 1"
            assert watcher.line().startswith("CHANGE 1@")
            # What is not on its way already goes to the other one.
            until_done(peer, "SET a 2")
            until_done(peer, "GET a")
            assert watcher.line().startswith("CHANGE 2@")
        finally:
            stopped.kill(signal.SIGCONT)


def write_some(daemon: Daemon, killed: list[Daemon]) -> None:
    with daemon.connect() as peer:
        for number in range(CHANGES):
            assert peer.ask(f"SET k/{number % 10} {number}").startswith("OK ")
            if number % 100 == 50 and killed:
                victim = killed.pop(0)
                victim.kill()
                victim.wait()
                victim.start()
        assert peer.ask("SET k/last end").startswith("OK ")


@pytest.mark.slow
def test_nothing_older_than_max_stale_is_read_at_any_depth(start_daemon: StartDaemon) -> None:
    root = start_daemon("--fsync", "no")
    options = ("--max-stale", f"{MAX_STALE:g}")
    above = start_daemon(*follow(root), *options)
    below = start_daemon(*follow(above), *options)
    with root.connect() as writer, above.connect() as one, below.connect() as two:
        assert writer.ask("SET a 1") == "OK 1"
        for peer in (one, two):
            assert until_done(peer, "UNWATCH").startswith("OK 1@")
            assert until_done(peer, "GET a") == "OK 1"
        assert until_done(two, "WATCH").startswith("OK 1@")
        root.kill(signal.SIGSTOP)
        stopped = time.monotonic()
        try:
            for peer in (one, two):
                while not_refused(peer, stopped):
                    time.sleep(0.01)
            for request in ("GETS a", "COUNT", "KEYS", "SYNC", "RESUME 1@x", "INFO"):
                assert one.ask(request).startswith("ERR unavailable "), request
            assert one.ask("PING") == "OK"
        finally:
            root.kill(signal.SIGCONT)
        # The watch goes on as if nothing had happened.
        assert writer.ask("SET a 2") == "OK 2"
        assert two.line().startswith("CHANGE 2@")
        for peer in (one, two):
            until_it_reads(peer)


def not_refused(peer: Peer, stopped: float) -> bool:
    """Whether a read is answered still."""
    asked = time.monotonic()
    reply = peer.ask("GET a")
    if reply.startswith("OK"):
        assert asked - stopped <= MAX_STALE, "it was answered later than it may be"
        return True
    assert reply.startswith("ERR unavailable ")
    return False


def until_it_reads(peer: Peer) -> None:
    end = time.monotonic() + PATIENCE
    while (reply := peer.ask("GET a")) != "OK 2":
        assert time.monotonic() < end, reply
        time.sleep(0.02)


def test_writes_say_what_became_of_them_when_the_upstream_is_lost(start_daemon: StartDaemon) -> None:
    root = start_daemon("--fsync", "no")
    edge = start_daemon(*follow(root))
    with edge.connect() as peer:
        until_done(peer, "SET a 1")
        root.kill(signal.SIGSTOP)
        try:
            peer.send("SET a 2\n")
            time.sleep(0.2)  # it is on its way by then, or else was not sent: either reply is true
        finally:
            root.kill()
            root.wait()
        assert peer.line().split(" ")[1] in ("uncertain", "unavailable")
        assert peer.ask("SET a 3").startswith("ERR unavailable "), "it was not sent"
        root.start()
        until_done(peer, "SET a 4")
        # The root was killed with writes that it had not synced: perhaps it has another history.
        assert until_done(peer, "GET a") == "OK 4"


def test_an_upstream_that_is_itself_cut_off_is_left(start_daemon: StartDaemon) -> None:
    """It answers, and goes on to tell how far it has come; but another one has come further."""
    stale = ("--max-stale", f"{MAX_STALE:g}")
    root = start_daemon("--fsync", "no")
    above, other = start_daemon(*follow(root)), start_daemon(*follow(root))
    cut_off = start_daemon(*follow(above), *stale)
    last = start_daemon(*follow(cut_off, other), *stale)
    with root.connect() as writer, last.connect() as watcher, last.connect() as peer:
        assert until_done(watcher, "WATCH").startswith("OK 0@")
        above.kill(signal.SIGSTOP)
        try:
            assert writer.ask("SET a 1") == "OK 1"
            assert watcher.line().startswith("CHANGE 1@")
            until_done(peer, "SET a 2")
            until_done(peer, "GET a")
        finally:
            above.kill(signal.SIGCONT)


def test_a_loop_that_would_close_when_the_root_is_lost_is_refused(start_daemon: StartDaemon, tmp_path: Path) -> None:
    root = start_daemon("--fsync", "no")
    below = f"unix:{tmp_path}/below"
    first = start_daemon("--follow", f"{root.addr},{below}", "--max-stale", f"{MAX_STALE:g}")
    last = start_daemon(*follow(first), "--listen", below)
    with last.connect() as peer:
        until_done(peer, "SET a 1")
        root.kill()
        root.wait()
        assert first.says(f"{below} follows this daemon, by itself or through others")
        root.start()
        until_done(peer, "GET a")
        until_done(peer, "SET a 2")
