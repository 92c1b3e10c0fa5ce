"""Reported: after 1,000 connections that held much memory had closed, 150 to 500 MiB stayed with the daemon."""

import asyncio
import ctypes
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

import psutil
import pytest

from kvd.process import freed_memory
from kvd.process.activity import Activity
from kvd.process.freed_memory import INTERVAL, MOST_OF_TIME, SPARE_BYTES
from tests.support.peers import Peer
from tests.support.processes import Daemon, StartDaemon, wait_for

MIB = 1024 * 1024
PEERS = 600
HELD = 50 * MIB
"""Bytes that the connections hold at the least; without being asked, the C library kept nearly all of them."""
KEPT = SPARE_BYTES + 8 * MIB
"""Bytes that may stay: what is not worth giving back, and what the interpreter keeps for small objects."""
KEPT_OF_PATTERNS = 0.6
"""The part of what patterns took that may stay: they are small objects, and any that stays keeps a piece of 1 MiB.
Two fifths do, and nine tenths did before the free lists were let go of."""


def partial_line(peer: Peer) -> None:
    peer.send(b"SET k " + b"x" * 100_000)


def open_transaction(peer: Peer) -> None:
    peer.send(b"BEGIN\n" + (b"SET k " + b"x" * 10_000 + b"\n") * 20)


def resident(daemon: Daemon) -> int:
    return int(psutil.Process(daemon.pid).memory_info().rss)


@contextmanager
def held(daemon: Daemon, hold: Callable[[Peer], None]) -> Iterator[list[Peer]]:
    """Many connections that hold memory."""
    with ExitStack() as stack:
        peers = [stack.enter_context(daemon.connect()) for _ in range(PEERS)]
        before = resident(daemon)
        for peer in peers:
            hold(peer)
        wait_for("the memory to be held", lambda: resident(daemon) > before + HELD)
        yield peers


pytestmark = pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="the C library cannot be asked for it"
)


@pytest.mark.slow
@pytest.mark.parametrize("hold", [partial_line, open_transaction])
def test_what_closed_connections_held_is_given_back(start_daemon: StartDaemon, hold: Callable[[Peer], None]) -> None:
    daemon = start_daemon("--fsync", "no")
    with daemon.connect() as peer:
        for number in range(20):
            assert peer.ask(f"SET k{number} {'x' * 100_000}").startswith("OK ")
        before = resident(daemon)
        with held(daemon, hold):
            pass
        wait_for("the memory to be given back", lambda: resident(daemon) < before + KEPT)
        assert peer.ask("PING") == "OK"


@pytest.mark.slow
def test_what_open_connections_held_is_given_back(start_daemon: StartDaemon) -> None:
    daemon = start_daemon("--fsync", "no")
    before = resident(daemon)
    with held(daemon, open_transaction) as peers:
        for peer in peers:
            # QUEUED to all that came, and then OK.
            assert peer.ask("ABORT") == "OK"
            peer.lines(21)
        wait_for("the memory to be given back", lambda: resident(daemon) < before + KEPT)


@pytest.mark.slow
def test_most_of_what_patterns_took_is_given_back(start_daemon: StartDaemon) -> None:
    daemon = start_daemon("--fsync", "no", "--connection-memory", "0")
    before, peers = resident(daemon), list[Peer]()
    with ExitStack() as stack:
        for number in range(PEERS):
            peer = stack.enter_context(daemon.connect())
            words = [f"watched/{number}/{part}/*" for part in range(1024)]
            assert peer.ask(f"WATCH {' '.join(words)}").startswith("OK ")
            peers.append(peer)
        held = resident(daemon) - before
        assert held > HELD
        for peer in peers:
            # Who only closes may have shut down its sending side alone.
            peer.send(b"QUIT\n")
    wait_for("the memory to be given back", lambda: resident(daemon) < before + KEPT_OF_PATTERNS * held)


class Noting(Activity):
    """Pauses for no time, three times; asked: the seconds."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[float] = []

    async def pause(self, seconds: float, at_rest: float | None = None) -> None:  # noqa: ARG002
        self.asked.append(seconds)
        if len(self.asked) == 3:
            raise asyncio.CancelledError


@pytest.mark.parametrize("is_work", [True, False])
async def test_a_pause_of_the_machine_amid_does_not_put_the_next_off(
    is_work: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found: after one of three seconds, nothing was given back for five minutes."""
    seconds = 0.1

    def trim(_: int) -> None:
        if not is_work:
            time.sleep(seconds)
        end = time.thread_time() + seconds
        while is_work and time.thread_time() < end:
            pass

    activity, sizes = Noting(), iter([0, 0, *[10 * SPARE_BYTES] * 10])
    monkeypatch.setattr(freed_memory, "resident", lambda: next(sizes) + 1)
    monkeypatch.setattr(freed_memory, "_trim", trim)
    with suppress(asyncio.CancelledError):
        await freed_memory.give_back(activity)
    assert activity.asked[0] == INTERVAL
    assert all((pause >= seconds / MOST_OF_TIME) == is_work for pause in activity.asked[1:])
