"""A daemon to which nobody is connected leaves the machine alone, and does all the same what is due."""

import time
from pathlib import Path

import pytest

from bench.idle_cost import costs_of
from kvd.process.activity import REST_AFTER, TICK
from tests.support.peers import Peer
from tests.support.processes import Daemon, StartDaemon, wait_for

MOST_WAKES = 5
"""A second, of the daemon and its engine together."""


def hertz(*daemons: Daemon) -> list[int]:
    """How often a second daemons and their engines wake up, counted over a round of one that is alone."""
    before, began = [costs_of(daemon.pid) for daemon in daemons], time.monotonic()
    time.sleep(TICK)
    took = time.monotonic() - began
    return [
        round(sum(new.wakes - old.wakes for new, old in zip(costs_of(daemon.pid), costs, strict=True)) / took)
        for daemon, costs in zip(daemons, before, strict=True)
    ]


def info(peer: Peer, name: str) -> str:
    peer.send("INFO\n")
    return dict(line.removeprefix("INFO ").split(" ", 1) for line in iter(peer.line, "OK"))[name]


@pytest.mark.slow
def test_while_nobody_is_connected_it_hardly_wakes_up_and_keys_expire(
    start_daemon: StartDaemon, tmp_path: Path
) -> None:
    daemon = start_daemon()
    together = start_daemon("--workers", "4", data=tmp_path / "of workers")
    with daemon.connect() as peer:
        peer.ask("SET a 1")
        peer.ask("PUT c ttl=3600 = 1")
    # On a machine that stands still for a while all is late.
    assert any(expires_when_due(daemon) for _ in range(3))
    sizes = [one.append_only_file.stat().st_size for one in (daemon, together)]
    # On a machine that is busy with others a round may take more steps.
    assert any(max(hertz(daemon, together)) <= MOST_WAKES for _ in range(3))
    # And nothing is written.
    assert sizes == [one.append_only_file.stat().st_size for one in (daemon, together)]
    with daemon.connect() as peer:
        assert peer.ask("COUNT") == "OK 2"
        # Its engine is at its usual pace again, ten times a second, beside what it is asked twenty times.  So what it
        # does by itself, such as to see that it is to end, is as quick as ever.
        assert any(seconds_of_wakes(daemon, 40) < TICK for _ in range(3))


def expires_when_due(daemon: Daemon) -> bool:
    """Whether keys are swept when they are due, at rest, not when somebody comes, nor at the next round."""
    with daemon.connect() as peer:
        here = peer.ask("UNWATCH").removeprefix("OK ")
        # Due in the middle of a rest.
        peer.ask(f"PUT b ttl={REST_AFTER + TICK / 2} = 1")
        # And soon after it.
        peer.ask(f"PUT d ttl={REST_AFTER + TICK / 2 + 0.3} = 1")
    left = time.time() * 1000
    time.sleep(REST_AFTER + TICK)
    with daemon.connect() as peer:
        came = time.time() * 1000
        wait_for("their ends", lambda: peer.ask("COUNT") == "OK 2")
        peer.send(f"CHANGES {here} *time *only=EXPIRE\n")
        told = [peer.line() for _ in range(5)]
        assert [line.split(" ", 2)[2] for line in told if line.startswith("CHANGED ")] == ["EXPIRE b", "EXPIRE d"]
        times = [int(line.split(" ")[1]) for line in told if line.startswith("TIME")]
    time.sleep(REST_AFTER)
    return left < times[0] < came - TICK * 1000 / 4 and 0.2 < (times[1] - times[0]) / 1000 < TICK / 4


def seconds_of_wakes(daemon: Daemon, count: int) -> float:
    """How long it takes its engine to wake up so often."""
    before, began = costs_of(daemon.pid)[1].wakes, time.monotonic()
    wait_for("as many wake-ups", lambda: costs_of(daemon.pid)[1].wakes > before + count)
    return time.monotonic() - began
