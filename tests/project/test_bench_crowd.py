"""The curves of watchers that come back: tiny runs, which show that they measure what they say."""

import pytest

from bench.curves import Curve
from bench.growth import IN_WORDS, copies, crowd, crowd_costs, returning
from bench.growth.crowd_client import OK, SLOW_BUFFER, ask, position, revision
from bench.growth.crowd_client import crowd as connected
from bench.load import Generator
from bench.measure import Bench, Pace
from tests.support.processes import Daemon, needs

TINY = crowd.Loads(
    restart=10, missed=50, far=10, far_behind=600, many=20, near_behind=5, kept=1000, seconds=0.2
)  # fmt: skip
MOST_BYTES = 300
"""Of memory for each kept change, beside the key."""


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    needs("cc")
    return Bench(Generator(tmp_path_factory.mktemp("load")), Pace(1, 0.2, 0.02), (), lambda _text: None)


def only(curves: list[Curve]) -> Curve:
    (curve,) = curves
    assert all(len(column) == len(curve.x) for column in curve.columns.values())
    return curve


@pytest.mark.slow
def test_a_crowd_comes_back(bench: Bench) -> None:
    curve = only(crowd.measure(bench, TINY))
    assert curve.found(crowd.MISSING) == 0
    assert all(seconds > 0 for seconds in curve.columns["all know, s"])
    assert len(curve.x) == 8
    assert [check.title for check in curve.checks if check.limit is None] == [crowd.P99_PING]


@pytest.mark.slow
def test_watchers_and_what_they_missed_grow(bench: Bench) -> None:
    for curve in (
        only(returning.measure_watchers(bench, [2, 4])),
        only(returning.measure_behind(bench, [5, 20])),
    ):
        assert len(curve.x) == 2
        assert "up to date" in " ".join(IN_WORDS[curve.name](curve))


@pytest.mark.slow
def test_copies_come_to_their_end_beside_a_writer(bench: Bench) -> None:
    loads = (copies.Load(2, 100, 32, writes=200), copies.Load(2, 100, 32, writes=200, reads=100_000))
    curve = only(copies.measure(bench, loads))
    assert all(check.met for check in curve.checks)
    # The fast copies may be complete before the next change.
    assert curve.columns["changes/s meanwhile"][1] > 0


def test_kept_changes_take_little_memory() -> None:
    assert 0 < crowd_costs.bytes_per_change(10_000) < MOST_BYTES


def test_a_crowd_sees_what_came_and_who_was_refused(daemon: Daemon) -> None:
    with connected(daemon.port, 5) as members:
        where = position(daemon.port)
        members.ask(b"WATCH seen\n")
        members.wait(OK, 10)
        assert len(members.times) == 5
        ask(daemon.port, b"SET seen now\nSET other now\n", 2)
        members.wait(b"now", 10)
        assert len(members.times) == 5
        members.ask(b"RESUME %d@%b\n" % (revision(daemon.port) + 100, where.partition(b"@")[2]))
        members.wait(OK, 10)
        assert not members.times
        assert [error.startswith(b"\nERR future ") for error in members.errors] == [True] * 5


def test_a_slow_crowd_reads_no_faster(daemon: Daemon) -> None:
    ask(daemon.port, b"SET long %b\n" % (b"x" * 20_000))
    with connected(daemon.port, 2, SLOW_BUFFER) as members:
        members.ask(b"GET long\nPING done\n")
        members.wait_slowly(b"done", 10, 50_000)
        assert all(seconds > 0.35 for seconds in members.times)
        assert len(members.times) == 2
