"""The fault test, and its checks: each accepts what may be, and rejects what must not be."""

import math
import os
import secrets
import sys
from dataclasses import dataclass
from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.faults.checks import check
from tests.faults.history import (
    CUT,
    Change,
    Fault,
    History,
    Listing,
    Mark,
    Operation,
    Pair,
    Read,
    Reply,
    Transaction,
    Violation,
    Watch,
    Write,
)
from tests.faults.linearizability import Timed, place
from tests.faults.report import report
from tests.faults.run import run

SECONDS = float(os.environ.get("KVD_FAULT_SECONDS") or 30)
HERD = 50
"""Watchers who come back at once; by `python -m tests.faults` there are ten times as many."""


@pytest.mark.slow
@pytest.mark.timeout(300 + 3 * SECONDS)
def test_every_promise_holds_under_load_and_faults() -> None:
    seed = os.environ.get("KVD_TEST_SEED") or secrets.token_hex(4)
    sys.stdout.write(f"seed {seed}: repeat with KVD_TEST_SEED={seed}\n")
    sys.stdout.write(run(SECONDS, seed, herd=HERD) + "\n")


@pytest.mark.slow
@pytest.mark.timeout(300 + 3 * SECONDS)
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_every_promise_holds_on_a_disk_that_fills_up() -> None:
    seed = os.environ.get("KVD_TEST_SEED") or secrets.token_hex(4)
    sys.stdout.write(f"seed {seed}: repeat with KVD_TEST_SEED={seed}\n")
    sys.stdout.write(run(SECONDS / 3, seed, herd=HERD, tmpfs=True) + "\n")


@pytest.mark.slow
@pytest.mark.timeout(300 + 3 * SECONDS)
def test_every_promise_holds_with_two_workers() -> None:
    seed = os.environ.get("KVD_TEST_SEED") or secrets.token_hex(4)
    sys.stdout.write(f"seed {seed}: repeat with KVD_TEST_SEED={seed}\n")
    sys.stdout.write(run(SECONDS / 4, seed, herd=HERD, options=["--workers", "2"]) + "\n")


# ---- the checks, on histories that are made up


class Story:
    """Makes a history, request by request, one second each."""

    def __init__(self) -> None:
        self.history = History()
        self.clock = 0.0
        self.revision = 0
        self.tell(Watch("all", "WATCH", ("*",), 0, 0, -1, -0.5))

    def do(self, what: Write | Read | Transaction, reply: Reply | None, *, connection: int = 1) -> None:
        self.clock += 1
        end = self.clock + 0.5 if reply else math.inf
        self.history.add(Operation(connection, what, self.clock, end, reply))

    def change(self, verb: str, key: str, value: str = "", *, after: float = 0.5) -> int:
        self.revision += 1
        change = Change(self.revision, verb, key, value)
        self.history.watches[0].events.append(self.history.see(change, self.clock + after))
        return self.revision

    def put(self, key: str, value: str, ttl: float = 0, condition: int = -1) -> int:
        """An acknowledged write."""
        self.do(Write("PUT", key, value, ttl=ttl, condition=condition), Reply("OK", self.revision + 1))
        return self.change("SET", key, value)

    def delete(self, key: str) -> int:
        self.do(Write("DEL", key), Reply("OK", self.revision + 1))
        return self.change("DEL", key)

    def increment(self, key: str, amount: int, total: int) -> int:
        self.do(Write("INCR", key, amount=amount), Reply("OK", total))
        return self.change("SET", key, f"text:{total}")

    def get(self, key: str, value: str) -> None:
        self.do(Read("GET", key), Reply("OK", value=value) if value else Reply("NONE"), connection=2)

    def tell(self, watch: Watch, *events: Change | Mark) -> Watch:
        self.history.watches.append(watch)
        watch.events += events
        return watch

    def seen(self, *revisions: int) -> list[Change]:
        return [self.history.changes[revision] for revision in revisions]

    def watch(self, verb: str, pattern: str, begin: int, *copy: Pair, name: str = "one") -> Watch:
        """One that began now."""
        self.clock += 1
        return self.tell(Watch(name, verb, (pattern,), begin, begin, self.clock, self.clock + 0.5, copy))

    def finish(self, *pairs: Pair) -> None:
        self.clock += 1
        self.history.final = Listing(self.revision, self.clock, pairs)

    def accept(self) -> None:
        check(self.history)

    def reject(self, because: str) -> None:
        with pytest.raises(Violation, match=because):
            check(self.history)


@pytest.fixture
def story() -> Story:
    return Story()


UNCERTAIN = Reply("ERR", text="uncertain the store was lost")
UNAVAILABLE = Reply("ERR", text="unavailable the store is unreachable")
ABORTED = Reply("ERR", text="aborted a request of the transaction was refused")


# writes


def test_acknowledged_writes_are_in_the_history(story: Story) -> None:
    story.put("a", "1")
    story.put("a", "2", condition=1)
    story.delete("a")
    story.increment("n", 3, 3)
    story.increment("n", 4, 7)
    story.accept()
    story.do(Write("SET", "b", "3"), Reply("OK", 6))
    story.reject("revision 6 should be")


def test_an_acknowledged_write_must_not_be_lost(story: Story) -> None:
    story.do(Write("INCR", "n", amount=1), Reply("OK", 1))
    story.reject("acknowledged, but no change of it")


def test_a_revision_belongs_to_one_write(story: Story) -> None:
    story.put("a", "1")
    story.do(Write("SET", "a", "1"), Reply("OK", 1))
    story.reject("taken by two requests")


def test_a_change_is_what_was_asked_for(story: Story) -> None:
    story.do(Write("SET", "a", "1"), Reply("OK", 1))
    story.change("SET", "a", "2")
    story.reject("revision 1 should be")


@pytest.mark.parametrize("reply", [None, UNCERTAIN])
@pytest.mark.parametrize("applied", [True, False])
def test_what_nobody_knows_may_be_done_or_not(story: Story, reply: Reply | None, *, applied: bool) -> None:
    story.put("gone", "0")
    for connection, write in enumerate((Write("SET", "a", "1"), Write("DEL", "gone"), Write("INCR", "n", amount=5))):
        story.do(write, reply, connection=connection)
    story.do(Transaction((Write("SET", "b", "2"), Write("INCR", "m", amount=2))), reply, connection=4)
    if applied:
        story.change("SET", "n", "text:5")
        story.change("SET", "b", "2")
        story.change("SET", "m", "text:2")
        story.change("DEL", "gone")
        story.change("SET", "a", "1")
    story.accept()


@pytest.mark.parametrize("reply", [Reply("CONFLICT", 7), UNAVAILABLE, CUT])
def test_what_was_refused_is_not_done(story: Story, reply: Reply) -> None:
    story.do(Write("PUT", "a", "1", condition=4), reply)
    story.change("SET", "a", "1")
    story.reject("refused, and done all the same")


@pytest.mark.parametrize("write", [Write("DEL", "a"), Write("INCR", "n", amount=2)])
def test_a_refused_delete_or_sum_is_not_done(story: Story, write: Write) -> None:
    story.put("a", "1")
    story.do(write, UNAVAILABLE)
    story.accept()
    story.change("DEL" if write.verb == "DEL" else "SET", write.key, "text:2" if write.amount else "")
    story.reject("nobody asked for this change")


def test_a_change_needs_a_request(story: Story) -> None:
    story.change("SET", "a", "1")
    story.reject("nobody asked for this change")


def test_an_unknown_write_is_done_once(story: Story) -> None:
    story.put("a", "1")
    story.do(Write("DEL", "a"), None)
    story.change("DEL", "a")
    story.put("a", "2")
    story.accept()
    story.change("DEL", "a")
    story.reject("nobody asked for this change")


def test_sums_add_up(story: Story) -> None:
    story.increment("n", 3, 3)
    story.increment("n", 4, 8)
    story.reject("should be text:7")


def test_a_lost_increment_shows(story: Story) -> None:
    story.increment("n", 3, 3)
    story.do(Write("INCR", "n", amount=4), Reply("OK", 7))
    story.increment("n", 5, 8)
    story.reject("acknowledged, but no change of it")


def test_conditions_hold(story: Story) -> None:
    story.put("a", "1", condition=0)
    story.put("a", "2", condition=1)
    story.accept()
    story.put("a", "3", condition=1)
    story.reject("its condition did not hold")


def test_a_conflict_tells_what_there_is(story: Story) -> None:
    story.put("a", "1")
    story.do(Write("PUT", "a", "2", condition=0), Reply("CONFLICT", 1))
    story.do(Write("DEL", "b", condition=3), Reply("CONFLICT", 0))
    story.accept()
    story.do(Write("PUT", "a", "3", condition=1), Reply("CONFLICT", 1))
    story.reject("a conflict where the condition holds")


def test_a_conflict_names_a_revision_of_the_key(story: Story) -> None:
    story.put("a", "1")
    story.put("b", "2")
    story.do(Write("PUT", "a", "3", condition=0), Reply("CONFLICT", 2))
    story.reject("never had that revision")


# transactions


def transaction(story: Story, *writes: Write, reply: Reply) -> None:
    story.do(Transaction(writes), reply)


def test_transactions_take_consecutive_revisions(story: Story) -> None:
    story.put("a", "1")
    transaction(story, Write("PUT", "a", "2", condition=1), Write("INCR", "n", amount=2), reply=Reply("OK", 3))
    story.change("SET", "a", "2")
    story.change("SET", "n", "text:2")
    story.accept()
    transaction(story, Write("SET", "a", "3"), Write("SET", "b", "4"), reply=Reply("OK", 6))
    story.change("SET", "a", "3")
    story.put("c", "5")
    story.change("SET", "b", "4")
    story.reject("revision 5 should be")


def test_half_a_transaction_shows_even_if_nobody_was_told(story: Story) -> None:
    transaction(story, Write("SET", "a", "1"), Write("SET", "b", "2"), reply=UNCERTAIN)
    story.change("SET", "a", "1")
    story.reject("revision 2 should be")


def test_conditions_of_a_transaction_are_looked_at_first(story: Story) -> None:
    story.put("a", "1")
    transaction(story, Write("SET", "b", "2"), Write("PUT", "a", "3", condition=0), reply=Reply("OK", 3))
    story.change("SET", "b", "2")
    story.change("SET", "a", "3")
    story.reject("its condition did not hold")


@pytest.mark.parametrize("reply", [Reply("CONFLICT", 0, key="b"), UNAVAILABLE])
def test_a_transaction_that_was_not_done_leaves_nothing(story: Story, reply: Reply) -> None:
    transaction(story, Write("SET", "a", "1"), Write("PUT", "b", "2", condition=9), reply=reply)
    story.accept()
    story.change("SET", "a", "1")
    story.reject("refused, and done all the same")


def test_what_a_transaction_demands_holds_right_before_it(story: Story) -> None:
    story.put("fence", "1")
    fenced = Transaction((Write("SET", "a", "1"),), checks=(Write("CHECK", "fence", condition=1),))
    story.do(fenced, Reply("OK", 2))
    story.change("SET", "a", "1")
    story.put("fence", "2")
    story.do(fenced._replace(writes=(Write("SET", "a", "2"),)), Reply("CONFLICT", 3, key="fence"))
    story.accept()
    story.do(fenced._replace(writes=(Write("SET", "a", "3"),)), Reply("OK", 4))
    story.change("SET", "a", "3")
    story.reject("done, but its condition did not hold")


def test_a_transaction_with_a_mistake_in_it_is_not_done(story: Story) -> None:
    spoiled = Transaction((Write("SET", "a", "1"),), spoiled=True)
    story.do(spoiled, ABORTED)
    story.do(spoiled, None)
    story.accept()
    story.do(spoiled, Reply("OK", 1))
    story.change("SET", "a", "1")
    story.reject("done although one of its requests was refused")


def test_what_was_given_up_is_not_done(story: Story) -> None:
    story.do(Transaction((Write("SET", "a", "1"),), "ABORT"), Reply("OK"))
    story.accept()
    story.change("SET", "a", "1")
    story.reject("refused, and done all the same")


def test_watchers_get_a_transaction_in_one_piece(story: Story) -> None:
    transaction(story, Write("SET", "a/1", "1"), Write("SET", "b", "2"), Write("SET", "a/2", "3"), reply=Reply("OK", 3))
    for key, value in (("a/1", "1"), ("b", "2"), ("a/2", "3")):
        story.change("SET", key, value)
    one, two, three = story.seen(1, 2, 3)
    whole = story.watch("RESUME", "*", 0, name="all")
    whole.events += [Mark("REPLY"), one, two, three, Mark("PROGRESS", 3)]
    part = story.watch("RESUME", "a/*", 0, name="all")
    part.events += [one, three]
    cut = story.watch("RESUME", "*", 0, name="all")
    cut.events += [one, two]
    story.accept()
    part.events[1:1] = [Mark("PROGRESS", 2)]
    story.reject("within a transaction")


@pytest.fixture
def slow(story: Story) -> Watch:
    """A slow watch, which has got one of a transaction's three changes yet."""
    watch = story.watch("WATCH", "t/*", 0, name="slow")
    writes = [Write("SET", key, key) for key in ("t/1", "t/2", "t/3")]
    transaction(story, *writes, reply=Reply("OK", 3))
    for write in writes:
        story.change("SET", write.key, write.value)
    watch.events += story.seen(1)
    return watch


def test_a_slow_watcher_gets_all_of_a_transaction_before_its_end(story: Story, slow: Watch) -> None:
    slow.events += [*story.seen(2, 3), Mark("END", 3)]
    story.accept()
    del slow.events[-2]
    story.reject("END 3 stands before")
    slow.events[-1] = Mark("END", 2)
    story.reject("within a transaction")
    slow.events[1:2] = story.seen(3)
    story.reject("behind one that is missing")


@pytest.mark.parametrize("fault", ["kill the store", "stop the daemon", "cut connections", "fill the disk"])
def test_a_watch_ends_without_a_word_only_if_its_daemon_dies(story: Story, slow: Watch, fault: str) -> None:
    before, after = slow.start - 1, slow.start + 3
    slow.lost = slow.start + 2
    story.history.faults += [Fault("kill the daemon", before, before), Fault("kill the daemon", after, after)]
    story.history.faults += [Fault(fault, slow.start, slow.lost)]
    story.reject("slow .* lost its connection without an END, behind .*t/1")
    story.history.faults += [Fault("kill a worker", before, slow.start)]
    story.accept()


@pytest.mark.usefixtures("slow")
@pytest.mark.parametrize("verb", ["WATCH", "SYNC"])
def test_no_watch_begins_within_a_transaction(story: Story, verb: str) -> None:
    pairs = [Pair(number, f"t/{number}", f"t/{number}") for number in (1, 2, 3)]
    inside = story.watch(verb, "t/*", 3, *(pairs if verb == "SYNC" else ()))
    story.accept()
    story.history.watches.remove(inside)
    story.watch(verb, "t/*", 2, *(pairs[:2] if verb == "SYNC" else ())).events += story.seen(3)
    story.reject(f"one: {verb} begins at 2, within a transaction")


# reads


def test_reads_see_what_is_there(story: Story) -> None:
    story.get("a", "")
    story.put("a", "1")
    story.get("a", "1")
    story.do(Read("GETS", "a"), Reply("OK", 1, "1"))
    story.delete("a")
    story.get("a", "")
    story.do(Write("DEL", "a"), Reply("NONE"))
    story.accept()


def test_a_stale_read_is_rejected(story: Story) -> None:
    story.put("a", "1")
    story.put("a", "2")
    story.get("a", "1")
    story.reject("not linearizable")


def test_a_read_may_lag_only_while_the_write_is_under_way(story: Story) -> None:
    story.put("a", "1")
    story.put("a", "2")
    slow = Operation(2, Read("GET", "a"), story.clock + 0.1, story.clock + 9, Reply("OK", value="1"))
    story.history.add(slow)
    story.accept()


def test_a_read_behind_a_change_line_is_as_new(story: Story) -> None:
    story.put("a", "1")
    story.do(Write("SET", "a", "2"), None)
    story.change("SET", "a", "2", after=0.1)
    story.get("a", "1")
    story.reject("revision 2, seen by a watcher")


def test_reads_do_not_go_back(story: Story) -> None:
    story.put("a", "1")
    story.do(Write("SET", "a", "2"), None)
    story.change("SET", "a", "2", after=99)
    story.get("a", "2")
    story.get("a", "1")
    story.reject("not linearizable")


def test_a_read_of_what_was_never_written_is_rejected(story: Story) -> None:
    story.do(Write("SET", "a", "1"), None)
    story.get("a", "1")
    story.reject("never written")


def test_a_key_that_is_there_is_not_missed(story: Story) -> None:
    story.put("a", "1")
    story.get("a", "")
    story.reject("not linearizable")


def test_a_value_comes_with_its_revision(story: Story) -> None:
    story.put("a", "1")
    story.put("b", "2")
    story.do(Read("GETS", "a"), Reply("OK", 2, "1"))
    story.reject("read revision 2 of what was written at 1")


def test_requests_of_one_connection_are_done_in_their_order(story: Story) -> None:
    """Pipelined: all were sent at once, and answered at once."""
    for what, reply in (
        (Write("SET", "a", "1"), Reply("OK", 1)),
        (Read("GET", "a"), Reply("NONE")),
    ):
        story.history.add(Operation(1, what, 1, 2, reply))
    story.change("SET", "a", "1", after=3)
    story.reject("not linearizable")


@pytest.mark.parametrize(
    ("pairs", "because"),
    [
        ([Pair(1, "l/a", "1"), Pair(2, "l/b", "2")], ""),
        ([Pair(1, "l/a", "1")], "not linearizable"),
        ([Pair(2, "l/b", "2"), Pair(1, "l/a", "1")], "out of order"),
        ([Pair(1, "l/a", "1"), Pair(1, "l/a", "1"), Pair(2, "l/b", "2")], "out of order"),
        ([Pair(1, "l/a", "1"), Pair(1, "l/b", "2")], "listed what was never there"),
        ([Pair(1, "l/a", "1"), Pair(3, "m", "3")], "listed what was never there"),
    ],
)
def test_listings(story: Story, pairs: list[Pair], because: str) -> None:
    story.put("l/a", "1")
    story.put("l/b", "2")
    story.put("m", "3")
    story.do(Read("LIST", "l/"), Reply("OK", 3, items=tuple(pairs)))
    if because:
        story.reject(because)
    else:
        story.accept()


def test_nothing_listed_is_older_than_the_position(story: Story) -> None:
    story.put("l/a", "1")
    story.put("l/a", "2")
    story.history.add(Operation(2, Read("LIST", "l/"), 1.2, 9, Reply("OK", 1, items=(Pair(1, "l/a", "1"),))))
    story.accept()
    story.history.add(Operation(3, Read("LIST", "l/"), 1.2, 9, Reply("OK", 2, items=(Pair(1, "l/a", "1"),))))
    story.reject("not linearizable")


# refusals


@pytest.mark.parametrize("verb", ["GET", "GETS", "LIST"])
@pytest.mark.parametrize("reply", [UNAVAILABLE, None])
def test_reads_go_on_while_the_disk_is_full(story: Story, verb: str, reply: Reply | None) -> None:
    story.put("a", "1")
    story.history.full.append((3.5, 5.5))
    story.do(Read(verb, "a"), reply)
    story.do(Write("SET", "a", "2"), UNAVAILABLE)
    story.get("a", "1")
    story.do(Read("GET", "b"), CUT)
    story.do(Read(verb, "a"), reply)
    story.accept()
    story.history.full.append((story.clock, story.clock + 1))
    story.reject("not answered while the disk was full")


def test_who_breaks_off_waits_for_nothing(story: Story) -> None:
    story.history.full.append((0, 9))
    story.history.add(Operation(1, Read("GET", "a"), 1))
    story.history.add(Operation(1, Read("GET", "b"), 1, 1.5, CUT))
    story.accept()
    story.history.add(Operation(2, Read("GET", "a"), 1))
    story.reject("not answered while the disk was full")


@pytest.mark.parametrize("code", ["usage", "bad-value", "not-a-number", "aborted", "nonsense"])
def test_what_is_right_is_not_refused_for_being_wrong(story: Story, code: str) -> None:
    story.do(Write("SET", "a", "1"), UNAVAILABLE)
    story.accept()
    story.do(Write("SET", "a", "2"), Reply("ERR", text=f"{code} it is wrong"))
    story.reject("refused although it is right")


def test_a_read_changes_nothing(story: Story) -> None:
    story.do(Read("GET", "a"), UNCERTAIN)
    story.reject("a read that may have changed something")


def test_refusals_are_counted_by_code(story: Story) -> None:
    story.put("a", "1")
    story.do(Write("SET", "a", "2"), UNAVAILABLE)
    story.do(Read("GET", "a"), UNAVAILABLE)
    story.do(Transaction((Write("SET", "a", "3"),), spoiled=True), ABORTED)
    story.do(Write("PUT", "a", "4", condition=0), Reply("CONFLICT", 1))
    story.do(Write("PUT", "a", "5"), UNCERTAIN)
    story.do(Write("PUT", "a", "6"), None)
    story.accept()
    lines = report(story.history).splitlines()
    assert "requests: 7, of them 1 acknowledged writes" in lines
    assert "refused: 3 (aborted 1, unavailable 2)" in lines
    assert "of unknown outcome: 2 (no reply 1, uncertain 1)" in lines
    assert "faults: 0" in lines


# the order of requests, against all orders there are


@dataclass(frozen=True)
class Event:
    """A request of a history of one register: writes its own number, or reads one."""

    start: int
    end: int
    connection: int
    writes: int = 0
    reads: int = 0


@st.composite
def registers(draw: st.DrawFn) -> list[Event]:
    """Histories of up to five requests; the writes write 1, 2, ... and their order is that of these numbers."""
    writes = draw(st.integers(0, 3))
    kinds = [{"writes": number} for number in range(1, writes + 1)]
    kinds += [{"reads": draw(st.integers(0, writes))} for _ in range(draw(st.integers(0, 5 - writes)))]
    found: list[Event] = []
    for kind in draw(st.permutations(kinds)):
        start = draw(st.integers(0, 6))
        found.append(Event(start, start + draw(st.integers(0, 6)), draw(st.integers(1, 3)), **kind))
    # The requests of one connection do not overlap, unless they were sent together.
    return sorted(found, key=lambda event: event.start)


def explains(order: tuple[Event, ...], given_order: list[Event]) -> bool:
    value = 0
    for index, event in enumerate(order):
        for later in order[index + 1 :]:
            together = later.connection == event.connection
            if later.end < event.start or (together and given_order.index(later) < given_order.index(event)):
                return False
        if event.writes:
            if event.writes != value + 1:
                return False
            value = event.writes
        elif event.reads != value:
            return False
    return True


@pytest.mark.slow
@settings(max_examples=500, deadline=None)
@given(registers())
def test_an_order_is_found_if_there_is_one(events: list[Event]) -> None:
    requests = [
        Timed(event.start, event.end, event.connection, [(event.writes,) * 2], event, event.writes)
        if event.writes
        else Timed(event.start, event.end, event.connection, [(event.reads,) * 2], event)
        for event in events
    ]
    try:
        place(requests)
        found = True
    except Violation:
        found = False
    assert found == any(explains(order, events) for order in permutations(events))


# times to live


def test_keys_end_when_their_time_is_over(story: Story) -> None:
    story.put("a", "1", ttl=3)
    story.get("a", "1")
    story.clock += 3
    story.change("EXPIRE", "a")
    story.get("a", "")
    story.accept()


def test_early_expiry_is_rejected(story: Story) -> None:
    story.put("a", "1", ttl=3)
    story.change("EXPIRE", "a", after=2.9)
    story.reject("0.095 s early")


def test_what_has_no_time_to_live_does_not_expire(story: Story) -> None:
    story.put("a", "1", ttl=1)
    story.put("a", "2")
    story.clock += 9
    story.change("EXPIRE", "a")
    story.reject("expired without a time to live")


def test_a_key_ends_once(story: Story) -> None:
    story.put("a", "1", ttl=1)
    story.change("EXPIRE", "a", after=2)
    story.accept()
    story.change("EXPIRE", "a", after=2)
    story.reject("there was no such key")


def test_touch_moves_the_end(story: Story) -> None:
    story.put("a", "1", ttl=1)
    story.do(Write("TOUCH", "a", ttl=5), Reply("OK"))
    story.change("EXPIRE", "a", after=5)
    story.accept()
    story.put("b", "2", ttl=1)
    story.do(Write("TOUCH", "b", ttl=5), Reply("OK"))
    story.change("EXPIRE", "b", after=4)
    story.reject("early")


def test_a_touch_of_unknown_outcome_may_move_the_end_or_not(story: Story) -> None:
    for key, after in (("a", 1.0), ("b", 9.0)):
        story.put(key, key, ttl=2)
        story.do(Write("TOUCH", key, ttl=9), None)
        story.change("EXPIRE", key, after=after)
    story.accept()


def test_a_key_may_be_gone_before_its_line_but_not_before_its_time(story: Story) -> None:
    story.put("a", "1", ttl=3)
    story.get("a", "1")
    story.clock += 2
    story.get("a", "")
    story.change("EXPIRE", "a")
    story.accept()
    story.put("b", "2", ttl=3)
    story.get("b", "")
    story.change("EXPIRE", "b", after=9)
    story.reject("not linearizable")


def test_a_key_that_was_gone_is_not_read_again(story: Story) -> None:
    story.history.add(Operation(1, Write("PUT", "a", "1", ttl=1), 0, 9, Reply("OK", 1)))
    story.change("SET", "a", "1", after=9)
    story.get("a", "1")
    story.get("a", "")
    story.change("EXPIRE", "a", after=9)
    story.accept()
    story.get("a", "1")
    story.reject("read after its end was seen")


def test_a_key_is_gone_when_its_time_is_over(story: Story) -> None:
    story.put("a", "1", ttl=1)
    story.clock += 2
    story.get("a", "1")
    story.change("EXPIRE", "a")
    story.reject("after its time was over")


@pytest.mark.parametrize("late", [False, True])
def test_a_listing_is_a_read_too(story: Story, *, late: bool) -> None:
    story.put("l/a", "1", ttl=2)
    story.put("l/b", "2", ttl=9)
    story.clock += late
    story.do(Read("LIST", "l/"), Reply("OK", 2, items=(Pair(1, "l/a", "1"), Pair(2, "l/b", "2"))))
    story.change("EXPIRE", "l/a", after=2)
    if late:
        story.reject("read 0.500 s after its time was over")
    else:
        story.accept()


@pytest.mark.parametrize("late", [False, True])
def test_a_touch_does_not_bring_a_key_back(story: Story, *, late: bool) -> None:
    story.put("a", "1", ttl=1)
    story.clock += late
    story.do(Write("TOUCH", "a", ttl=9), Reply("OK"))
    story.get("a", "1")
    if late:
        story.reject("touched 0.500 s after its time was over")
    else:
        story.accept()


@pytest.mark.parametrize("verb", ["SET", "DEL"])
def test_a_write_behind_a_deadline_finds_no_key(story: Story, verb: str) -> None:
    story.put("a", "1", ttl=2)
    story.do(Write(verb, "a", "2"), Reply("OK", 2))
    story.change(verb, "a", "2")
    story.accept()
    story.put("b", "3", ttl=1)
    story.clock += 1
    story.do(Write(verb, "b", "4"), Reply("OK", 4))
    story.change(verb, "b", "4")
    story.reject("there for a write 0.500 s after its time was over")


def test_who_finds_nothing_to_delete_has_seen_its_end(story: Story) -> None:
    story.history.add(Operation(1, Write("PUT", "a", "1", ttl=1), 0, 9, Reply("OK", 1)))
    story.change("SET", "a", "1", after=9)
    story.get("a", "1")
    story.do(Write("DEL", "a"), Reply("NONE"))
    story.change("EXPIRE", "a", after=9)
    story.accept()
    story.get("a", "1")
    story.reject("read after its end was seen")


def test_a_time_to_live_begins_when_the_write_is_done_which_may_be_after_uncertain_was_said(story: Story) -> None:
    story.do(Write("PUT", "a", "1", ttl=1), UNCERTAIN)
    story.change("SET", "a", "1", after=5)
    story.clock += 4
    story.get("a", "1")
    story.change("EXPIRE", "a", after=2)
    story.accept()


def test_a_key_that_expired_is_not_read_again(story: Story) -> None:
    story.put("a", "1", ttl=1)
    story.change("EXPIRE", "a", after=2)
    story.clock += 2
    story.get("a", "1")
    story.reject("not linearizable")


# watchers


@pytest.fixture
def three(story: Story) -> Story:
    for number in "123":
        story.put(f"k{number}", number)
    story.put("other", "4")
    return story


@pytest.mark.parametrize(
    ("revisions", "because"),
    [
        ([2, 3], ""),
        ([2], ""),
        ([], ""),
        ([3], "behind one that is missing"),
        ([2, 2, 3], "doubled or out of order"),
        ([3, 2], "behind one that is missing"),
        ([2, 3, 2], "doubled or out of order"),
        ([1, 2, 3], "doubled or out of order"),
        ([2, 3, 4], "behind one that is missing"),
    ],
)
def test_every_change_that_matches_once_and_in_order(three: Story, revisions: list[int], because: str) -> None:
    three.watch("WATCH", "k*", 1).events += three.seen(*revisions)
    if because:
        three.reject(because)
    else:
        three.accept()


@pytest.mark.parametrize("word", ["PROGRESS", "END", "UNWATCH", "FINAL"])
def test_positions_do_not_overtake_changes(three: Story, word: str) -> None:
    two, last = three.seen(2, 3)
    watch = three.watch("WATCH", "k*", 1)
    watch.events += [Mark("PROGRESS", 1), two, Mark("PROGRESS", 2), last, Mark(word, 4)]
    three.accept()
    watch.events[2:] = [Mark(word, 3)]
    three.reject(f"{word} 3 stands before")


def test_positions_do_not_go_back(three: Story) -> None:
    watch = three.watch("WATCH", "k*", 1)
    watch.events += [*three.seen(2, 3), Mark("PROGRESS", 2)]
    three.reject("stands after 3")


def test_a_watch_does_not_begin_in_the_future(three: Story) -> None:
    three.watch("WATCH", "k*", 9)
    three.accept()
    three.put("k9", "9")
    three.reject("not linearizable")


def test_resuming_leaves_no_gap(three: Story) -> None:
    three.watch("WATCH", "k*", 1).events += three.seen(2)
    three.watch("RESUME", "k*", 2).events += three.seen(3)
    three.accept()
    three.watch("RESUME", "k*", 4)
    three.reject("resumed from 4, but had seen 3")


def test_resume_answers_the_position_that_it_was_asked_for(three: Story) -> None:
    three.watch("WATCH", "k*", 1).events += three.seen(2, 3)
    three.watch("RESUME", "k*", 3).asked = 2
    three.reject("had asked for 2")


def test_nobody_sees_another_history(three: Story) -> None:
    with pytest.raises(Violation, match="one watcher saw"):
        three.history.see(Change(2, "SET", "k2", "something else"), 1)


def test_revisions_have_no_gaps(three: Story) -> None:
    del three.history.changes[3]
    three.reject("nobody saw the change of revision 3")


@pytest.mark.parametrize(
    ("copy", "because"),
    [
        ([Pair(2, "k2", "2"), Pair(4, "k3", "4")], ""),
        ([Pair(1, "k1", "1"), Pair(2, "k2", "2"), Pair(3, "k3", "3"), Pair(5, "k1", None), Pair(4, "k3", "4")], ""),
        ([Pair(1, "k1", "1"), Pair(2, "k2", "2"), Pair(4, "k3", "4")], "has .*k1"),
        ([Pair(2, "k2", "2"), Pair(3, "k3", "3")], "has .*k3"),
        ([Pair(2, "k2", "2")], "lacks .*k3"),
        ([Pair(2, "k2", "2"), Pair(4, "k3", "4"), Pair(3, "k3", "3")], "has revision 4 and then"),
        ([Pair(2, "k2", "2"), Pair(4, "k3", "4"), Pair(6, "other", "5")], "has .*other"),
    ],
)
def test_copies_are_exact(story: Story, copy: list[Pair], because: str) -> None:
    for number in "123":
        story.put(f"k{number}", number)
    story.put("k3", "4")
    story.delete("k1")
    story.put("other", "5")
    story.watch("SYNC", "k*", 5, *copy)
    if because:
        story.reject(because)
    else:
        story.accept()


def test_a_copy_may_lack_what_is_due(story: Story) -> None:
    story.put("a", "1", ttl=2)
    story.clock += 2
    story.watch("SYNC", "*", 1)
    story.change("EXPIRE", "a", after=1)
    story.accept()


# the end


@pytest.mark.parametrize(
    ("pairs", "because"),
    [
        ([Pair(2, "a", "2")], ""),
        ([], "lacks"),
        ([Pair(1, "a", "1")], "at the end has"),
        ([Pair(2, "a", "3")], "at the end has"),
        ([Pair(2, "a", "2"), Pair(3, "b", "3")], "at the end has"),
    ],
)
def test_the_store_is_what_its_changes_amount_to(story: Story, pairs: list[Pair], because: str) -> None:
    story.put("a", "1")
    story.put("a", "2")
    story.put("b", "3")
    story.delete("b")
    story.finish(*pairs)
    if because:
        story.reject(because)
    else:
        story.accept()


def test_nothing_is_done_behind_the_watchers_back(story: Story) -> None:
    story.put("a", "1")
    story.revision = 2
    story.finish(Pair(1, "a", "1"))
    story.reject("nobody saw more than 1")


# keys that the server makes


def append(story: Story, value: str, reply: Reply | None, number: int = 0) -> None:
    """A PUT q#/*, and its change, if it was done, with a number in its key."""
    story.do(Write("NEW", "q#/", value), reply)
    if number:
        story.change("SET", f"q#/{number:016}", value)


def test_numbered_keys_are_of_their_revisions(story: Story) -> None:
    story.put("a", "1")
    append(story, "x", Reply("OK", 2), 2)
    append(story, "y", None, 3)
    append(story, "z", UNAVAILABLE)
    append(story, "lost", UNCERTAIN)
    story.do(Read("GETS", "q#/0000000000000003"), Reply("OK", 3, "y"))
    story.do(Write("DEL", "q#/0000000000000002", condition=2), Reply("OK", 4))
    story.change("DEL", "q#/0000000000000002")
    story.finish(Pair(1, "a", "1"), Pair(3, "q#/0000000000000003", "y"))
    story.accept()


@pytest.mark.parametrize(
    ("reply", "number", "because"),
    [
        (Reply("OK", 1), 2, "the number in the key is not the revision"),
        (Reply("OK", 2), 1, "revision 2 should be"),
        (Reply("CONFLICT", 1), 0, "a conflict where the condition holds"),
        (UNAVAILABLE, 1, "refused, and done all the same"),
        (Reply("OK", 1), 0, "revision 1 should be"),
    ],
)
def test_a_numbered_key_that_is_another_is_found(story: Story, reply: Reply, number: int, because: str) -> None:
    append(story, "x", reply, number)
    story.reject(because)


def test_no_number_is_given_twice(story: Story) -> None:
    append(story, "x", Reply("OK", 1), 1)
    append(story, "y", Reply("OK", 1))
    story.reject("revision 1 should be")


# keys that live with others

OWNER = "f/one/1/1"


def family(story: Story, size: int = 2) -> None:
    story.put(OWNER, "o")
    for number in range(size):
        key = f"{OWNER}/{number}"
        story.do(Write("PUT", key, f"w{number}", owner=OWNER), Reply("OK", story.revision + 1))
        story.change("SET", key, f"w{number}")


def end_of_family(story: Story, *keys: str) -> None:
    """A DEL of the owner, and what goes in front of it."""
    story.do(Write("DEL", OWNER), Reply("OK", story.revision + len(keys) + 1))
    for key in (*keys, OWNER):
        story.change("DEL", key)


@pytest.mark.parametrize("told", [True, False])
def test_what_lives_with_a_key_goes_with_it(story: Story, *, told: bool) -> None:
    family(story)
    if told:
        end_of_family(story, f"{OWNER}/0", f"{OWNER}/1")
    else:
        story.do(Write("DEL", OWNER), None)
        for key in (f"{OWNER}/0", f"{OWNER}/1", OWNER):
            story.change("DEL", key)
    late = Write("PUT", f"{OWNER}/2", "w2", owner=OWNER)
    story.do(late, Reply("CONFLICT", key=OWNER))
    story.get(f"{OWNER}/0", "")
    story.get(OWNER, "")
    story.finish()
    story.accept()


def test_nothing_is_left_of_a_family(story: Story) -> None:
    family(story)
    end_of_family(story, f"{OWNER}/1")
    story.reject("has left behind what lived with it")


def test_nobody_leaves_a_family_alone(story: Story) -> None:
    family(story)
    story.change("DEL", f"{OWNER}/0")
    story.put("a", "1")
    story.reject("went without its owner")


def test_a_reader_sees_all_of_a_family_or_nothing(story: Story) -> None:
    family(story)
    end_of_family(story, f"{OWNER}/0", f"{OWNER}/1")
    story.get(f"{OWNER}/0", "")
    story.get(OWNER, "o")
    story.reject("not linearizable")


def test_a_family_that_is_there_refuses_nobody(story: Story) -> None:
    family(story)
    story.do(Write("PUT", f"{OWNER}/2", "w2", owner=OWNER), Reply("CONFLICT", key=OWNER))
    story.reject("not linearizable")


@pytest.mark.parametrize("verb", ["WATCH", "SYNC"])
def test_no_watch_begins_within_the_end_of_a_family(story: Story, verb: str) -> None:
    family(story)
    end_of_family(story, f"{OWNER}/0", f"{OWNER}/1")
    story.watch(verb, "none", 4)
    story.reject("begins at 4, within a transaction")
