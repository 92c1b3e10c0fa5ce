"""CHECK, and TOUCH with if=: fences, locks, parents and children, copies that are still true; over the wire and under
contention."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.peers import Peer
from tests.support.processes import PATIENCE, Daemon, Redis, StartDaemon

SECONDS = 10
"""For which the writers behind the fence go on."""


def transact(peer: Peer, *requests: str) -> str:
    """The reply to COMMIT; everything before it must be queued."""
    peer.send("BEGIN\n" + "".join(f"{request}\n" for request in requests) + "COMMIT\n")
    assert peer.line() == "OK"
    assert peer.lines(len(requests)) == ["OK queued"] * len(requests)
    return peer.line()


def at_once(*works: Callable[[], None]) -> None:
    """Do all at once; what one raises is raised."""
    raised: list[BaseException] = []

    def run(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # it is raised where it is seen
            raised.append(error)

    threads = [threading.Thread(target=run, args=[work]) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if raised:
        raise raised[0]


def write_behind_a_fence(daemon: Daemon, *, checked: bool) -> tuple[int, int]:
    """Two writers who write what the fence said when they looked, and one who changes the fence; how many writes were
    done, and how many of them after the fence had changed.

    checked: they go on for SECONDS; else until one is late.
    """
    stop = threading.Event()

    def change() -> None:
        with daemon.connect() as peer:
            number = 0
            while not stop.is_set():
                number += 1
                assert peer.ask(f"SET fence {number}").startswith("OK")
                time.sleep(0.005)  # so that writers with the present one come through, too

    def write(name: str) -> None:
        with daemon.connect() as peer:
            while not stop.is_set():
                _, revision, number = peer.ask("GETS fence").split(" ")
                check = [f"CHECK fence if={revision}"] if checked else []
                assert transact(peer, *check, f"SET {name} {number}").startswith(("OK", "CONFLICT"))

    def end() -> None:
        if checked:
            time.sleep(SECONDS)
        else:
            stop.wait(PATIENCE)
        stop.set()

    with daemon.connect() as watcher:
        watcher.send("SET fence 0\nWATCH\n")
        assert watcher.lines(2)[1].startswith("OK")
        written: list[tuple[int, int]] = []

        def watch() -> None:
            fence = 0
            while (line := watcher.line()).split(" ")[3] != "end":
                _, _, _, key, number = line.split(" ")
                if key == "fence":
                    fence = int(number)
                else:
                    written.append((int(number), fence))
                    if not checked and int(number) < fence:
                        stop.set()

        def work() -> None:
            at_once(change, lambda: write("a"), lambda: write("b"), end)
            with daemon.connect() as peer:
                peer.ask("SET end .")

        at_once(watch, work)
        return len(written), sum(number < fence for number, fence in written)


@pytest.mark.slow
def test_no_write_is_let_through_with_an_old_fence(daemon: Daemon) -> None:
    _, old = write_behind_a_fence(daemon, checked=False)
    assert old, "nobody was ever late: this shows nothing"
    written, old = write_behind_a_fence(daemon, checked=True)
    assert written
    assert old == 0


def copy(peer: Peer, *patterns: str) -> tuple[str, dict[str, str]]:
    """What is there at one position, and that position."""
    peer.send(f"SYNC {' '.join(patterns)}\nUNWATCH\n")
    found: dict[str, str] = {}
    while not (line := peer.line()).startswith("OK"):
        _, _, key, value = line.split(" ", 3)
        found[key] = value
    while not peer.line().startswith("OK"):
        pass
    return line.removeprefix("OK "), found


@pytest.mark.slow
def test_transactions_on_copies_are_serializable(redis: Redis, start_daemon: StartDaemon, tmp_path: Path) -> None:
    """Of two who are on duty each may leave, but not both: each writes another key than the one that it looks at."""
    daemons = [start_daemon("--store", redis.unix_url, data=tmp_path / name) for name in "ab"]
    rounds = 20

    def leave(daemon: Daemon, name: str, begin: threading.Barrier, *, checked: bool) -> None:
        with daemon.connect() as peer:
            for number in range(rounds):
                begin.wait()
                peer.ask(f"SET {number}/{name} on")
                begin.wait()
                position, there = copy(peer, f"{number}/*")
                check = [f"CHECK {number}/* since={position}"] if checked else []
                begin.wait()
                if list(there.values()) == ["on", "on"]:
                    assert transact(peer, *check, f"SET {number}/{name} off").startswith(("OK", "CONFLICT"))

    for checked in (False, True):
        begin = threading.Barrier(2)
        at_once(
            lambda: leave(daemons[0], "x", begin, checked=checked),  # noqa: B023  # it is called in this turn
            lambda: leave(daemons[1], "y", begin, checked=checked),  # noqa: B023
        )
        with daemons[0].connect() as peer:
            states = [copy(peer, f"{number}/*")[1].values() for number in range(rounds)]
        assert [list(state).count("on") for state in states] == [checked] * rounds


def test_what_is_in_the_way_is_waited_for(redis: Redis, start_daemon: StartDaemon) -> None:
    """Keys whose time is over, more than the store looks at for one transaction, until the sweep has cleared them."""
    daemon = start_daemon("--store", redis.unix_url)
    with daemon.connect() as peer:
        # As if another daemon were at it, for ever.
        redis.cli("HSET", "{kvd}:meta", "sweep", f"ffffffff {10**15}")
        peer.send("".join(f"PUT d/{number} ttl=0.001 = x\n" for number in range(1500)))
        peer.lines(1500)
        position = copy(peer, "x")[0]
        peer.send("BEGIN\nCHECK d/* if=0\nSET a 1\nCOMMIT\n")
        assert peer.lines(3) == ["OK", "OK queued", "OK queued"]
        with daemon.connect() as other:
            assert transact(other, "CHECK x", "SET b 1") == "CONFLICT 0 x"
            redis.cli("HDEL", "{kvd}:meta", "sweep")
            assert peer.line().startswith("OK ")
            assert transact(other, f"CHECK d/* since={position}", "SET b 1").startswith("CONFLICT ")


def test_old_positions_are_answered_from_the_index(start_daemon: StartDaemon) -> None:
    """More changes than the store looks at, and then fewer; a position that it keeps no longer."""
    daemon = start_daemon("--history-changes", "6000", "--fsync", "no")
    with daemon.connect() as peer:
        store = copy(peer, "x")[0].partition("@")[2]
        for begin in range(0, 5000, 100):
            peer.send("".join(f"SET k/{number % 500} {number}\n" for number in range(begin, begin + 100)))
            peer.lines(100)
        assert transact(peer, f"CHECK x since=10@{store}", f"CHECK x/* since=0@{store}", "SET a 1") == "OK 5001"
        assert transact(peer, f"CHECK k/7 since=4507@{store}") == "CONFLICT 4508 k/7"
        assert transact(peer, f"CHECK k/7 since=4508@{store}", f"CHECK k/* since=5000@{store}") == "OK 5001"
        assert transact(peer, f"CHECK k/* since=10@{store}") == "CONFLICT 5000 k/499"
        assert transact(peer, f"CHECK k/49* since=10@{store}") == "CONFLICT 5000 k/499"
        assert transact(peer, f"CHECK x since=10@{store}", f"CHECK * since=10@{store}") == "CONFLICT 5001 a"
        # What is written between: the index may not have seen it yet.
        peer.send(f"SET x 1\nBEGIN\nCHECK x since=5001@{store}\nCOMMIT\n")
        assert peer.lines(4)[3] == "CONFLICT 5002 x"
        for begin in range(5002, 22_000, 100):
            peer.send("".join(f"SET k/{number % 500} {number}\n" for number in range(begin, begin + 100)))
            peer.lines(100)
        while "oldest 0" in (info := "\n".join(ask_info(peer))):
            time.sleep(0.05)
        oldest = info.partition("oldest ")[2].split("\n")[0]
        assert transact(peer, f"CHECK x since=10@{store}").startswith("ERR compacted ")
        assert transact(peer, f"CHECK a since=6000@{store}", f"CHECK x since=10@{store}").startswith("ERR compacted ")
        assert oldest
        assert transact(peer, f"CHECK x since=21000@{store}", "CHECK k/1 since=1@elsewhere").startswith("ERR store ")


def ask_info(peer: Peer) -> list[str]:
    peer.send("INFO\n")
    lines: list[str] = []
    while (line := peer.line()) != "OK":
        lines.append(line)
    return lines


def test_a_lost_lock_is_renewed_by_nobody(daemon: Daemon) -> None:
    with daemon.connect() as first, daemon.connect() as second, daemon.connect() as watcher:
        watcher.ask("WATCH lock")
        assert first.ask("PUT lock if=0 ttl=600 = first") == "OK 1"
        assert first.ask("TOUCH lock ttl=0.05 if=1") == "OK"
        assert [watcher.line().split(" ")[2] for _ in range(2)] == ["SET", "EXPIRE"]
        assert second.ask("PUT lock if=0 ttl=600 = second") == "OK 3"
        # It does not know yet, and keeps it neither alive nor short.
        assert first.ask("TOUCH lock ttl=3600 if=1") == "CONFLICT 3"
        assert first.ask("TOUCH lock ttl=- if=1") == "CONFLICT 3"
        assert transact(first, "TOUCH lock ttl=0.001 if=1", "SET data 1") == "CONFLICT 3 lock"
        assert 500 < float(second.ask("TTL lock").removeprefix("OK ")) <= 600
        assert second.ask("TOUCH lock ttl=3600 if=3") == "OK"
        assert 3500 < float(second.ask("TTL lock").removeprefix("OK ")) <= 3600
        assert second.ask("DEL lock if=3") == "OK 4"
        assert second.ask("TOUCH lock ttl=1 if=3") == "CONFLICT 0"


@pytest.mark.slow
def test_no_child_is_without_its_parent(daemon: Daemon) -> None:
    """One makes children under a parent that is there, one deletes parents without children."""
    stop = threading.Event()

    def make() -> None:
        with daemon.connect() as peer:
            number = 0
            while not stop.is_set():
                number += 1
                transact(peer, "CHECK p", f"SET p/{number % 3} x")

    def clear() -> None:
        with daemon.connect() as peer:
            while not stop.is_set():
                peer.send("SET p x\nDEL p/0\nDEL p/1\nDEL p/2\n")
                peer.lines(4)
                transact(peer, "CHECK p/* if=0", "DEL p")

    def watch() -> None:
        there: set[str] = set()
        deleted = orphans = 0
        with daemon.connect() as peer:
            peer.ask("WATCH p p/*")
            started.set()
            while deleted < 50:
                _, _, what, key, *_ = peer.line().split(" ")
                deleted += (what, key) == ("DEL", "p")
                (there.add if what == "SET" else there.discard)(key)
                orphans += "p" not in there and bool(there)
        stop.set()
        assert orphans == 0

    started = threading.Event()

    def after_the_watch(work: Callable[[], None]) -> None:
        started.wait()
        work()

    at_once(watch, lambda: after_the_watch(make), lambda: after_the_watch(clear))
