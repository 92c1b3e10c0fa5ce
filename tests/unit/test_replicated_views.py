"""What is read of the replies of those who watch over a primary, and what follows from it."""

import pytest

from kvd.requests import Increment, Put, SimpleSets, SimpleWrites
from kvd.store.redis.jobs import Batch, Job
from kvd.store.replicated.cluster import Node, replicas_of
from kvd.store.replicated.reads import _needed
from kvd.store.replicated.sentinels import View
from kvd.store.replicated.writes import _last_revision

NAME = "07c37dfeb235213a872192d90877d0cd55635b91"


@pytest.mark.parametrize(
    ("rest", "address", "slots"),
    [
        ("127.0.0.1:30001@31001 myself,master - 0 0 1 connected 0-5460", ("127.0.0.1", 30001), {0, 5460}),
        ("127.0.0.1:30001@31001,host-1 master - 0 0 1 connected 7", ("127.0.0.1", 30001), {7}),
        ("10.0.0.1:6379@16379,,shard-id=ab master,fail? - 0 0 1 connected 1-2 9", ("10.0.0.1", 6379), {1, 2, 9}),
        ("127.0.0.1:1@2 master - 0 0 1 connected 3 [93-<-292f8b365bb7edb5e285]", ("127.0.0.1", 1), {3}),
        ("2001:db8::1:6379@16379 slave 67ed2db8d677e59ec4 0 0 4 connected", ("2001:db8::1", 6379), set()),
        (":0@0 master,noaddr - 0 0 1 disconnected", ("", 0), set()),
    ],
)  # fmt: skip
def test_a_line_of_a_clusters_nodes(rest: str, address: tuple[str, int], slots: set[int]) -> None:
    node = Node.of(f"{NAME} {rest}")
    assert node.address == address
    assert {slot for slot in range(6000) if node.has(slot)} >= slots
    assert not node.has(16383)
    assert not node.has(93) or (93 in range(5461) and "0-5460" in rest)


def test_a_primary_that_was_replaced_counts_as_a_replica_while_it_is_away() -> None:
    """Else a daemon that starts then, with --durability replica=all, takes the one that is left for all."""
    lines = [
        "a 127.0.0.1:1@2 master,fail - 0 0 1 disconnected",
        "b 127.0.0.1:2@3 myself,master - 0 0 6 connected 2-16383",
        "c 127.0.0.1:3@4 slave b 0 0 6 connected",
        "d 127.0.0.1:4@5 master - 0 0 4 connected 0",
        "e 127.0.0.1:5@6 master,fail - 0 0 5 connected 1",
        "f 127.0.0.1:6@7 master - 0 0 0 connected",
    ]
    nodes = [Node.of(line) for line in lines]
    assert replicas_of(nodes[1], nodes) == 2, "neither one that votes, nor one that is new"
    nodes[0] = Node.of("a 127.0.0.1:1@2 slave b 0 0 6 connected")
    assert replicas_of(nodes[1], nodes) == 2


def test_a_sentinels_view() -> None:
    view = View([b"ip", b"::1", b"port", b"6379", b"flags", b"s_down,master", b"config-epoch", b"12"])
    assert (view.address, view.number(b"config-epoch"), view.text(b"flags")) == (("::1", 6379), 12, "s_down,master")
    assert (view.number(b"none"), view.text(b"none")) == (0, "")


def test_records_need_their_own_revisions_and_absent_ones_the_stores() -> None:
    assert _needed([b"5 0 t x", b"7 0 t x"], 9) == 7
    assert _needed([b"5 0 t x", None], 9) == 9


def test_a_batch_tells_its_last_revision_and_never_takes_a_sum_for_one() -> None:
    def job(*items: object) -> Job:
        return Job(items, len(items), 0, len(items), lambda _: None)

    simple = Job(SimpleSets([b"a", b"b"], b"a 1\nb 2\n"), 2, 0, 2, lambda _: None, simple=True)
    put, add = Put(b"k", b"t", b"v"), Increment(b"n", b"1")
    added = Job(SimpleWrites(b"1000 1 + 1 ", [b"a", b"v", b"n", b"1"]), 2, 0, 2, lambda _: None, simple=True)
    assert _last_revision(Batch([simple], 0.0), b"=7") == 8
    assert _last_revision(Batch([added, simple], 0.0), b"7 1000000 9 10") == 10
    assert _last_revision(Batch([simple, added], 0.0), b"7 8 9 1000000") == 9
    assert _last_revision(Batch([simple, job(put)], 0.0), b"7 8 9") == 9
    assert _last_revision(Batch([job(put, add)], 0.0), b"7 1000000") == 7
    assert _last_revision(Batch([job(add)], 0.0), b"1000000") == 0
    assert _last_revision(Batch([job(put, put)], 0.0), b"7 n") == 7
