"""Reported: 3,000 connections with `PROGRESS 0.05` took 58 to 78 % of a core, also those without a watch: a task and a
timer each.  One timer serves all of them, and none runs without a watch.
"""

import time
from contextlib import ExitStack

import pytest

from kvd.session.progress import ROUND_INTERVAL, ROUND_LINES, SHORTEST_PROGRESS
from tests.support.daemons import processor_time
from tests.support.peers import Peer
from tests.support.processes import Daemon, wait_for

pytestmark = pytest.mark.slow

MANY = 800


def of_the_next_second(daemon: Daemon) -> float:
    """Seconds of the processor that the daemon takes meanwhile; less if the machine pauses."""
    before = processor_time(daemon.pid)
    time.sleep(1)
    return processor_time(daemon.pid) - before


def ask_all(peers: list[Peer], requests: str) -> list[int]:
    """Send all the same; how many PROGRESS lines each had until it was answered."""
    for peer in peers:
        peer.send(f"{requests}PING over\n")
    counts = []
    for peer in peers:
        count = 0
        while (line := peer.line()) != "OK over":
            count += line.startswith("PROGRESS ")
        counts.append(count)
    return counts


def test_without_a_watch_or_an_interval_nothing_is_done(daemon: Daemon) -> None:
    with ExitStack() as stack:
        peers = [stack.enter_context(daemon.connect()) for _ in range(MANY)]
        ask_all(peers, "")
        # The store's log is followed from here on.
        stack.enter_context(daemon.connect()).ask("WATCH")
        idle = min(of_the_next_second(daemon) for _ in range(2))
        ask_all(peers, f"PROGRESS {SHORTEST_PROGRESS}\n")
        before = min(of_the_next_second(daemon) for _ in range(2))
        ask_all(peers, "WATCH nothing\n")
        watching = 0.0

        def takes_far_more() -> bool:
            nonlocal watching
            watching = max(watching, of_the_next_second(daemon))
            return before - idle < (watching - idle) / 5

        # It took a third of what it takes with a watch.
        wait_for("a second of lines for all", takes_far_more)
        ask_all(peers[::2], "UNWATCH\n")
        ask_all(peers[1::2], "PROGRESS 0\n")
        wait_for("less to be done", lambda: of_the_next_second(daemon) - idle < (watching - idle) / 5)


def test_lines_of_very_many_come_less_often_and_fairly(daemon: Daemon) -> None:
    """So much was sent to so many that others waited."""
    with ExitStack() as stack:
        peers = [stack.enter_context(daemon.connect()) for _ in range(MANY)]
        began = time.monotonic()
        told = sum(ask_all(peers, f"PROGRESS {SHORTEST_PROGRESS}\nWATCH nothing\n"))

        def all_alike() -> bool:
            nonlocal told
            time.sleep(2)
            # A pause while they are asked gives more to those that are asked later.
            counts = ask_all(peers, "")
            told += sum(counts)
            return min(counts) > max(counts) / 2

        wait_for("as many lines for each", all_alike)
        took = time.monotonic() - began
    assert told <= ROUND_LINES * (1 + took / ROUND_INTERVAL)


def is_told(peer: Peer) -> bool:
    return peer.line().startswith("PROGRESS ")


def test_an_interval_is_kept_however_often_the_watch_is_replaced(daemon: Daemon) -> None:
    with daemon.connect() as peer:
        assert peer.ask("PROGRESS 0.1") == "OK"
        told = 0
        give_up = time.monotonic() + 30
        while told < 3:
            assert time.monotonic() < give_up
            # Far more often than each interval.
            peer.send("WATCH a\n")
            while not peer.line().startswith("OK"):
                told += 1
            time.sleep(0.01)


def test_an_interval_can_be_changed_and_ended_and_outlives_a_watch(daemon: Daemon) -> None:
    with daemon.connect() as peer:
        assert peer.ask("PROGRESS 3600") == "OK"
        assert peer.ask("WATCH a").startswith("OK ")
        assert peer.ask("PROGRESS 0.05") == "OK"
        assert is_told(peer)
        assert is_told(peer)
        peer.send("UNWATCH\nPING over\n")
        while peer.line() != "OK over":
            pass
        assert peer.ask("PING still over") == "OK still over"
        assert peer.ask("WATCH b").startswith("OK ")
        assert is_told(peer)
        peer.send("PROGRESS 0\nPING over\n")
        while peer.line() != "OK over":
            pass
        assert [peer.ask(f"PING {number}") for number in range(20)] == [f"OK {number}" for number in range(20)]
