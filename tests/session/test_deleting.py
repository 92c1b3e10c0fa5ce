"""DEL of a prefix: in pieces, with others between them, and nothing that was written meanwhile."""

import os
import re
import signal
import threading
from pathlib import Path

import pytest

from kvd.store.redis import listing
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
    answered: list[str] = []
    with daemon.connect() as peer, daemon.connect() as other:
        over = threading.Event()

        def write() -> None:
            number = KEYS - 1
            while not over.is_set():
                answered.append(other.ask(f"SET k/{number:05} again"))
                number = number - 1 or KEYS - 1

        writer = threading.Thread(target=write)
        writer.start()
        _, revision, count = peer.ask("DEL k/*").split(" ")
        over.set()
        writer.join()
        assert answered
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


def test_what_was_answered_before_does_not_wait_for_it(daemon: Daemon) -> None:
    fill(daemon)
    with daemon.connect() as peer, daemon.connect() as other:
        peer.send("SET a 1\nDEL k/*\n")
        assert peer.line() == f"OK {KEYS + 1}"
        assert other.ask("COUNT k/*") != "OK 0"
        assert peer.line().endswith(f" {KEYS}")


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
    fill(daemon, 20_000)
    with daemon.connect() as peer, daemon.connect() as other:
        peer.send("DEL k/*\n")
        while int(other.ask("COUNT k/*").split(" ")[1]) == 20_000:
            pass
        daemon.kill(signal.SIGTERM)
        line = peer.line()
        assert re.fullmatch(r"ERR uncertain \d+ keys are gone; .*", line)
        assert peer.line() == ""
    gone = int(line.split(" ")[2])
    daemon.stop()
    daemon.start()
    with daemon.connect() as peer:
        assert peer.ask("COUNT k/*") == f"OK {20_000 - gone}"
        assert peer.ask("DEL k/*") == f"OK 40000 {20_000 - gone}"


@pytest.mark.slow
def test_a_store_that_is_lost_amid_leaves_it_uncertain_and_it_goes_on(start_daemon: StartDaemon, redis: Redis) -> None:
    daemon = start_daemon("--store", redis.unix_url)
    fill(daemon, 20_000)
    with daemon.connect() as peer, daemon.connect() as other:
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
        left = int(other.ask("COUNT k/*").split(" ")[1])
        assert gone <= 20_000 - left
        wait_for("the store", lambda: peer.ask("DEL k/*").startswith("OK "))
        assert other.ask("COUNT k/*") == "OK 0"
