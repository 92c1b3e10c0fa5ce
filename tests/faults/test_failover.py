"""The failover program counts what is not as it was promised, and runs."""

import asyncio
import dataclasses
import math
import time

import pytest

from tests.faults.failover.expiring import Expirer, ended_wrongly
from tests.faults.failover.judging import Result, judge
from tests.faults.failover.order import explain
from tests.faults.failover.peer import Peer
from tests.faults.failover.reading import EdgeReader, Newest
from tests.faults.failover.run import Setup, needs_network, run
from tests.faults.failover.seen import UNKNOWN, Asked, Copied, Mortal, Seen
from tests.faults.failover.table import rows
from tests.faults.failover.watching import Watched
from tests.support.machines import why_none

FINE = Result()


def test_what_is_not_as_it_was_promised_is_counted() -> None:
    watched = Watched(
        changes=[(1, "1@s", "w0/1"), (2, "2@s", "w0/2"), (3, "9@s", "w9/9")], copied=[(7, "t1/a")],
        ends=["END 2@s store its history was replaced"],
    )  # fmt: skip
    seen = Seen(
        acknowledged={"w0/1": 1, "w0/2": 2, "w0/3": 3}, uncertain=["w1/1", "w1/2"], unavailable=["w2/1"],
        reads=[Asked(1, 0, 1, "w0/2", 2)], edge_read={"w5/5": 5}, watches={"root": watched},
        copies=[Copied("w0/", 4, {"w0/1": 1, "w0/3": 4}), Copied("w0/", 3, {"w0/1": 1}), Copied("w0/", 4, {"w0/1": 1})],
        times={"w0/1": 1.0, "w0/2": 1.5, "e0/1": 2, "w0/3": 4}, stale={"w0/1": 1.234, "w0/2": 30},
    )  # fmt: skip
    result = judge(seen, {"w0/1": 1, "w0/3": 4, "w1/2": 5, "w2/1": 6, "t1/a": 7})
    assert result == Result(
        acknowledged=3, lost=2, ghosts=2, dirty=2, halves=1, unseen=3, inexact=1, stale=1.23, uncertain="2 (1)",
        unavailable="1 (1)", seconds=2.5, replaced=True,
    )  # fmt: skip
    assert judge(Seen(acknowledged={"a": 1, "b": 1}), {}).twice == 1


@pytest.mark.parametrize(
    ("found", "durability", "violated"),
    [
        (FINE, "replica=all", 0),
        (dataclasses.replace(FINE, lost=1), "replica=all", 2),
        (dataclasses.replace(FINE, ghosts=1, dirty=1), "replica=all", 2),
        (dataclasses.replace(FINE, order="not linearizable"), "replica=all", 1),
        (dataclasses.replace(FINE, replaced=True), "replica=all", 1),
        (dataclasses.replace(FINE, ghosts=1, lost=1, missed=1, replaced=True), "async", 0),
        (dataclasses.replace(FINE, lost=1), "replica=1", 1),
        (dataclasses.replace(FINE, missed=1, doubled=1, unseen=1, inexact=1), "replica=1", 4),
        (dataclasses.replace(FINE, twice=1, halves=1), "async", 2),
        (dataclasses.replace(FINE, unavailable="3 (1)"), "async", 1),
        (dataclasses.replace(FINE, stale=5.2, not_own=1, unanswered=1, refused=1), "async", 4),
    ],
)
def test_some_of_it_must_never_be(found: Result, durability: str, violated: int) -> None:
    assert len(found.violations(durability)) == violated


def fine() -> Seen:
    """Two writers, of whom one swaps, a reader of another daemon, and a watcher who is a bit late."""
    return Seen(
        acknowledged={"w0/1": 1, "t1/a": 2, "t1/b": 3, "c/0": 5},
        writes=[
            Asked(1, 0.0, 1.0, "w0/1", 1),
            Asked(2, 0.5, 1.5, "t1/b", 3, first=2),
            Asked(3, 2.0, 3.0, "c/0", 4, expected=0),
            Asked(3, 4.0, 5.0, "c/0", 5, expected=4),
            Asked(1, 2.0, math.inf, "w0/2", UNKNOWN),
        ],
        reads=[
            Asked(4, 0.2, 0.4, "w0/1", 0),
            Asked(4, 0.6, 0.8, "w0/1", 1),
            Asked(4, 3.5, 3.6, "c/0", 4),
            Asked(4, 4.5, 4.6, "c/0", 5),
            Asked(4, 6.0, 6.1, "w0/2", 0),
            Asked(4, 7.5, 7.6, "w0/2", 6),
        ],
        watches={"root": Watched([(0.9, "1@s", "w0/1"), (7.2, "6@s", "w0/2")], begun=[(0.1, 0)])},
    )


FINAL = {"w0/1": 1, "t1/a": 2, "t1/b": 3, "c/0": 5, "w0/2": 6}


def test_what_is_linearizable_is_found_so() -> None:
    assert not explain(fine(), FINAL)


@pytest.mark.parametrize(
    ("planted", "why"),
    [
        # Stale reads: of what was absent, of an older version, of what another reader saw, of what a watcher was told.
        ({"reads": Asked(5, 1.1, 1.2, "w0/1", 0)}, "not linearizable"),
        ({"reads": Asked(5, 1.6, 1.7, "t1/a", 0)}, "not linearizable"),
        ({"reads": Asked(5, 5.1, 5.2, "c/0", 4)}, "not linearizable"),
        ({"reads": Asked(5, 4.7, 4.8, "c/0", 4)}, "not linearizable"),
        ({"reads": Asked(5, 7.3, 7.4, "w0/2", 0)}, "not linearizable"),
        ({"reads": Asked(4, 4.6, 4.7, "c/0", 4)}, "not linearizable"),
        # Lost writes: one that was overwritten unseen, one that is gone, one that took a revision after a later one.
        ({"writes": Asked(5, 5.5, 5.6, "c/0", 7, expected=4)}, "its condition did not hold"),
        ({"writes": Asked(5, 5.5, 5.6, "w5/1", 7)}, "not there in the end"),
        ({"writes": Asked(5, 5.5, 5.6, "t1/b", 3)}, "not linearizable"),
        # One that was shown, and then was another one.
        ({"reads": Asked(5, 5.5, 5.6, "w0/1", 5)}, "was written once"),
        ({"writes": Asked(5, 0.0, 9.0, "t1/a", 5)}, "was written once"),
    ],
)
def test_a_planted_stale_read_and_a_planted_lost_write_are_found(planted: dict[str, Asked], why: str) -> None:
    seen = fine()
    for where, asked in planted.items():
        getattr(seen, where).append(asked)
    final = FINAL | ({"c/0": 7} if "c/0" in (asked.key for asked in planted.values() if asked.revision == 7) else {})
    assert why in explain(seen, final)
    # And it is only with all replicas that it must never be.
    result = judge(seen, final)
    assert result.order in result.violations("replica=all")


def test_a_watcher_counts_what_it_missed_saw_twice_and_saw_in_pieces() -> None:
    watched = Watched()
    for line in [
        "PAIR 1 k v", "OK 3@s", "CHANGE 4@s SET k v", "BATCH 3", "CHANGE 5@s SET t1/a 1", "CHANGE 6@s SET t1/b 1",
        "CHANGE 7@s SET t1/c 1",
    ]:  # fmt: skip
        assert watched.take(line.split())
    assert (watched.missed, watched.doubled, watched.halved) == (0, 0, [])
    for line in ["CHANGE 9@s SET k v", "CHANGE 9@s SET k v", "CHANGE 10@s SET t2/a 1", "BATCH 2", "BATCH 2"]:
        watched.take(line.split())
    assert (watched.missed, watched.doubled, len(watched.halved)) == (1, 1, 2)
    watched.lost()
    assert not watched.take(["END", "10@s", "shutdown"])
    assert watched.position == "10@s"
    assert not watched.take(["END", "10@s", "store"])
    assert not watched.position


async def at_an_edge(keys: list[str], answers: dict[str, str]) -> Seen:
    """What a reader of an edge notes that answers so; NONE to what is not among it."""
    watched = Watched(position="9@s")
    seen, newest = Seen({"w0/1": 1}, times={"w0/1": time.monotonic() - 3}, watches={"root": watched}), Newest(1)
    newest.of_writers[0] = newest.transaction = 1
    asked: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async for line in reader:
                asked.append(line.decode().strip())
                turn = f"{asked[-1]}/{asked.count(asked[-1])}"
                writer.write(f"{answers.get(turn, answers.get(asked[-1], 'NONE'))}\n".encode())
        finally:
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        peer = await Peer.open(f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
        reader = EdgeReader(seen, newest, lambda: len(asked) >= least, "e0")
        least = 1
        await reader.read(peer)
        least += len(asked)
        await reader.write(peer)
        await peer.end()
    assert asked[: len(keys)] == keys
    return seen


async def test_what_an_edge_must_not_answer_is_counted() -> None:
    asked = ["GETS w0/1", "GETS t1/a", "GETS t1/b", "GETS t1/a", "SET e0/1 1", "GETS e0/1", "GETS e0/1 min=5@s"]
    fine = {
        "GETS w0/1": "OK 1 1",
        "GETS t1/a": "OK 2 1",
        "GETS t1/b": "OK 3 1",
        "SET e0/1 1": "OK 5",
        "GETS e0/1": "OK 5 1",
        "GETS e0/1 min=5@s": "OK 5 1",
    }
    seen = await at_an_edge(asked, fine)
    assert (seen.stale, seen.halved, seen.not_own, seen.edge_read) == ({}, [], [], {"w0/1": 1})
    begun = time.monotonic()
    seen = await at_an_edge(asked, fine | {"GETS w0/1": "NONE"})
    assert 3 <= seen.stale["w0/1"] <= 3 + time.monotonic() - begun
    seen = await at_an_edge(asked, fine | {"GETS w0/1": "ERR unavailable", "GETS e0/1": "ERR unavailable"})
    assert (seen.stale, seen.not_own) == ({}, [])
    assert (await at_an_edge(asked, fine | {"GETS t1/b": "NONE"})).halved == ["t1"]
    assert (await at_an_edge(asked, fine | {"GETS t1/a/2": "NONE"})).halved == ["t1"]
    assert not (await at_an_edge(asked, fine | {"GETS t1/a/1": "NONE"})).halved, "it came in between"
    assert (await at_an_edge(asked, fine | {"GETS e0/1": "NONE"})).not_own == ["e0/1"]
    assert (await at_an_edge(asked, fine | {"GETS e0/1": "OK 4 1"})).not_own == ["e0/1"]
    assert (await at_an_edge(asked, fine | {"GETS e0/1 min=5@s": "NONE"})).not_own == ["e0/1"]


async def test_a_key_that_ends_at_a_wrong_time_is_counted() -> None:
    seen = Seen(mortal={"x/1": Mortal(10.0, 11.0), "x/2": Mortal(20.0, 21.0)}, ended=17.0)
    watched = seen.watches["root"] = Watched(ends_of={"x/1": [12.0]})
    assert not ended_wrongly(seen, 17.0), "the other one has time yet"
    assert not ended_wrongly(seen, 27.0), "it began to watch when that was over"
    watched.take(["CHANGE", "2@s", "SET", "x/2", "1"])
    assert len(ended_wrongly(seen, 27.0)) == 1, "never"
    seen.times = {"a/1": 15.0, "a/2": 21.5, "a/3": 22.4, "a/4": 26.9}
    assert not ended_wrongly(seen, 27.0), "without a primary until a moment ago"
    seen.times = {f"a/{number}": 15.0 + number / 2 for number in range(25)}
    assert len(ended_wrongly(seen, 27.0)) == 1, "never, though there was a primary"
    seen.times = {"b/1": 15.0, **{f"a/{number}": 21.5 + number / 2 for number in range(12)}}
    assert len(ended_wrongly(seen, 27.0)) == 1, "nor after there was one again"
    watched.ends_of["x/2"] = [19.0]
    assert len(ended_wrongly(seen, 27.0)) == 1, "early"
    watched.ends_of |= {"x/1": [12.0, 13.0], "x/2": [22.0]}
    assert len(ended_wrongly(seen, 27.0)) == 1, "twice"
    expirer = Expirer(seen, lambda: True)
    for revision, start, end in [(5, 8.0, 12.0), (0, 9.5, 10.5), (UNKNOWN, 1.0, 2.0), (5, 10.5, 10.6)]:
        expirer.check("x/1", revision, start, end)
    assert not seen.mistimed
    expirer.check("x/1", 5, 11.5, 11.6)
    expirer.check("x/1", 0, 9.0, 9.5)
    assert len(seen.mistimed) == 2
    assert len(judge(seen, {}).mistimed) == 3


def test_runs_of_one_kind_are_one_row() -> None:
    run = dataclasses.asdict(Setup()) | dataclasses.asdict(Result(acknowledged=1500, uncertain="3 (1)", seconds=2.5))
    found = rows(
        [
            run | {"fault": "stop2.1"}, run | {"fault": "stop1.9+edges", "seconds": 4.0, "order": "not linearizable"},
            run | {"fault": "stop4"}, run | {"fault": "kill", "form": "cluster"}, run | {"fault": "kill+roots"},
            run | {"fault": "off"}, run | {"fault": "off2"}, run | {"fault": "replica"}, run | {"fault": "off4"},
            run | {"fault": "link0.3"}, run | {"fault": "link1.3"},
        ]
    )  # fmt: skip
    assert found[0] == (
        "| Sentinel | `replica=1` | it is paused for up to 2.9 s | 2 | 3,000 | 0 | 0 | 0 | 6 (2) | 0 (0) | 2.5 to 4 "
        "| 1 yes, 1 no |"
    )
    assert [row.split(" | ")[0] for row in found] == ["| Sentinel"] * 8 + ["| Cluster"]
    assert [row.split(" | ")[3] for row in found] == ["2", "1", "1", "1", "2", "1", "1", "1", "1"]


@pytest.mark.slow
def test_nothing_is_lost_when_one_primary_is_paused_the_next_one_cut_off_and_the_next_one_killed() -> None:
    if missing := why_none():
        pytest.skip(missing)
    result = run("turns", Setup(durability="replica=all", edges=0))
    assert result.acknowledged
    assert not result.violations("replica=all")


@pytest.mark.minutes
@pytest.mark.parametrize("fault", ["kill", "off+edges"])
@pytest.mark.parametrize("durability", ["replica=1", "replica=all"])
def test_nothing_is_lost(fault: str, durability: str) -> None:
    if needs_network(fault) and (missing := why_none()):
        pytest.skip(missing)
    result = run(fault, Setup(durability=durability))
    assert (result.lost, result.ghosts, result.dirty, result.order) == (0, 0, 0, "")
    assert not result.violations(durability)
