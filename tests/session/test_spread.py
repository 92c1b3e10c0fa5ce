"""Those that are sent away are told when to come back: each at another time, from a time that grows with the crowd."""

import re
import signal
from contextlib import ExitStack

import pytest

from kvd.watch.spread import LONGEST, SERVED, SOONEST, retry_hint
from kvd.wire import words
from tests.support.processes import Daemon, StartDaemon

COUNT = 60
"""Watchers of a daemon that stops."""


def seconds_of(hint: str) -> float:
    name, _, seconds = hint.partition("=")
    assert name == "retry"
    return words.milliseconds(seconds.encode()) / 1000


@pytest.mark.parametrize("crowd", [1, 1000, 4 * int(LONGEST * SERVED)])
def test_a_crowd_is_spread_over_a_time_that_it_needs_and_no_more(crowd: int) -> None:
    found = [seconds_of(retry_hint(crowd)) for _ in range(1000)]
    span = min(LONGEST, crowd / SERVED)
    assert SOONEST <= min(found) <= SOONEST + span / 5
    assert SOONEST + span * 4 / 5 <= max(found) <= SOONEST + span + 0.001


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_each_watcher_of_a_daemon_that_stops_is_told_another_time(workers: str, start_daemon: StartDaemon) -> None:
    daemon: Daemon = start_daemon("--fsync", "no", "--workers", workers)
    with ExitStack() as stack:
        peers = [stack.enter_context(daemon.connect()) for _ in range(COUNT)]
        for peer in peers:
            assert peer.ask("WATCH").startswith("OK ")
        daemon.kill(signal.SIGTERM)
        ends = [peer.rest() for peer in peers]
    assert daemon.wait() == 0
    hints = [re.fullmatch(r"END 0@\w+ shutdown (retry=\S+) the daemon stops", line) for (line,) in ends]
    found = [seconds_of(hint[1]) for hint in hints if hint]
    assert len(found) == COUNT
    assert max(found) <= SOONEST + COUNT / SERVED + 0.001
    assert len(set(found)) > COUNT / 4
