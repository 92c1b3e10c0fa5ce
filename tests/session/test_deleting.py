"""DEL of a prefix: in pieces, with others between them, and nothing that was written meanwhile."""

import asyncio
import os
import re
import signal
import threading
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path

import pytest

from kvd.requests import KeyRange
from kvd.store.api import Page
from kvd.store.redis import listing
from kvd.store.redis.store import Store
from tests.support.memory import serving
from tests.support.processes import Daemon, Redis, StartDaemon, wait_for

KEYS = 5000


def fill(daemon: Daemon, count: int = KEYS) -> None:
    with daemon.connect() as peer:
        for first in range(0, count, 1000):
            peer.send("".join(f"SET k/{number:05} v\n" for number in range(first, first + 1000)))
            peer.lines(1000)


def test_others_are_answered_meanwhile_and_what_they_write_stays(daemon: Daemon) -> None:
    fill(daemon)
    with daemon.connect() as peer, daemon.connect() as other:
        over = threading.Event()

        def write() -> None:
            number = KEYS - 1
            while not over.is_set():
                assert other.ask(f"SET k/{number:05} again").startswith("OK ")
                number = number - 1 or KEYS - 1

        writer = threading.Thread(target=write)
        writer.start()
        _, revision, count = peer.ask("DEL k/*").split(" ")
        over.set()
        writer.join()
        left: dict[str, str] = {}
        peer.send("LIST k/*\n")
        while (line := peer.line()).startswith("PAIR "):
            _, _, key, value = line.split(" ")
            left[key] = value
    # Each key that is left was written after the DEL had begun, and each that is gone is counted.
    assert set(left.values()) <= {"again"}
    assert len(left) + int(count) >= KEYS
    assert int(revision) >= KEYS + int(count)


def test_a_limit_is_reached_although_others_delete_the_same(daemon: Daemon) -> None:
    fill(daemon, 1000)
    with daemon.connect() as one, daemon.connect() as two:
        for _ in range(100):
            one.send("DEL k/* limit=5\n")
            two.send("DEL k/* limit=5\n")
            assert [peer.line().split(" ")[2] for peer in (one, two)] == ["5", "5"]
        assert one.ask("DEL k/* limit=5") == "NONE"


class Halting(Store):
    """A store whose listings go on after their first page only when they may."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.may_go_on = asyncio.Event()

    async def pages(self, wanted: KeyRange, *, records: bool) -> AsyncIterator[Page]:
        async for page in super().pages(wanted, records=records):
            yield page
            await self.may_go_on.wait()


async def test_others_and_what_was_asked_before_do_not_wait_for_it(tmp_path: Path) -> None:
    async with serving(tmp_path / "data", Halting) as service:
        assert isinstance(service.store, Halting)
        peer, other = service.connect(), service.connect()
        other.send("".join(f"SET k/{number:05} v\n" for number in range(1000)))
        await other.lines(1000)
        peer.send("SET a 1\nDEL k/*\n")
        assert await peer.line() == "OK 1001"
        while await other.ask("COUNT k/*") == "OK 1000":
            pass
        assert (await other.ask("SET k/00999 again")).startswith("OK ")
        assert await other.ask("COUNT k/*") == f"OK {1000 - listing.PAGE_KEYS}"
        service.store.may_go_on.set()
        assert (await peer.line()).endswith(" 999")
        assert await other.ask("GET k/00999") == "OK again"


def test_a_watcher_sees_each_that_goes_once(daemon: Daemon) -> None:
    fill(daemon, 1000)
    with daemon.connect() as peer, daemon.connect() as watcher:
        watcher.ask("WATCH k/*")
        assert peer.ask("DEL k/*") == "OK 2000 1000"
        assert [line.split(" ", 2)[2] for line in watcher.lines(1000)] == [f"DEL k/{n:05}" for n in range(1000)]


async def test_it_makes_no_way_where_nobody_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own reads and writes of the keys are not others' requests."""
    monkeypatch.setattr(listing, "PAGE_PAUSE", 1e6)
    async with serving(tmp_path / "data") as service:
        peer = service.connect()
        peer.send("".join(f"SET k/{number:05} v\n" for number in range(1000)))
        for _ in range(1000):
            await peer.line()
        peer.send("DEL k/*\n")
        assert await peer.line() == "OK 2000 1000"


@pytest.mark.parametrize("options", [(), ("--workers", "2")], ids=["one process", "two workers"])
def test_a_daemon_that_stops_says_how_many_are_gone(start_daemon: StartDaemon, options: tuple[str, ...]) -> None:
    daemon = start_daemon(*options)
    for times in count(1):
        fill(daemon, 20_000)
        with daemon.connect() as peer, daemon.connect() as other:
            peer.send("DEL k/*\n")
            # When the second piece is gone, the daemon knows of the first one.
            while int(other.ask("COUNT k/*").split(" ")[1]) > 20_000 - 2 * listing.PAGE_KEYS:
                pass
            daemon.kill(signal.SIGTERM)
            line = peer.line()
            assert peer.line() == ""
        daemon.stop()
        daemon.start()
        # Else it was done before the signal came.
        if line != f"OK {times * 40_000} 20000":
            break
    assert re.fullmatch(r"ERR uncertain \d+ keys are gone; .*", line)
    gone = int(line.split(" ")[2])
    with daemon.connect() as peer:
        assert peer.ask("COUNT k/*") == f"OK {20_000 - gone}"
        assert peer.ask("DEL k/*") == f"OK {times * 40_000} {20_000 - gone}"


@pytest.mark.slow
def test_a_store_that_is_lost_amid_leaves_it_uncertain_and_it_goes_on(start_daemon: StartDaemon, redis: Redis) -> None:
    daemon = start_daemon("--store", redis.unix_url)
    with daemon.connect() as peer, daemon.connect() as other:
        line = "OK"
        # Else it was done before the store was stopped.
        while line.startswith("OK"):
            fill(daemon, 20_000)
            peer.send("DEL k/*\n")
            while int(other.ask("COUNT k/*").split(" ")[1]) == 20_000:
                pass
            os.kill(redis.pid, signal.SIGSTOP)
            try:
                line = peer.line()
            finally:
                os.kill(redis.pid, signal.SIGCONT)
        code, text = line.removeprefix("ERR ").split(" ", 1)
        assert code == "uncertain"
        gone = int(text.split(" ")[0])
        assert gone > 0
        while not (left := other.ask("COUNT k/*")).startswith("OK "):
            assert left.startswith("ERR unavailable ")
        assert gone <= 20_000 - int(left.removeprefix("OK "))
        wait_for("the store", lambda: peer.ask("DEL k/*").startswith("OK "))
        assert other.ask("COUNT k/*") == "OK 0"
