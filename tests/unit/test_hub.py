"""kvd.watch.hub: every watcher gets each change that matches, once and in order, or is told up to where it did."""

import gc
import sys
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from kvd.counts import Counts
from kvd.model import BYTES, PLAIN, Change, Form, Moment, Patterns, Position, Sink
from kvd.watch.hub import PUSH_BYTES, Hub, Step
from kvd.watch.memory import CHANGE_OVERHEAD, FetchedChanges, RecentChanges
from kvd.watch.watcher import Watcher
from kvd.wire import replies

STORE = b"s"


class Client:
    """A watcher, and what it was given."""

    def __init__(self, *patterns: str, after: int = 0, form: Form = PLAIN) -> None:
        self.patterns = [pattern.encode() for pattern in patterns]
        self.form = form
        self.taken: list[str] = []
        self.calls = 0
        self.room = True
        self.began = after
        self.aside = 0
        self.end = ""
        self.watcher = Watcher(
            Patterns(self.patterns), self._sink, self._set_aside, self._full, self._ended, after, form
        )  # fmt: skip

    def _sink(self, data: bytes) -> bool:
        self.calls += 1
        if self.room:
            self.taken += data.decode().splitlines()
        return self.room

    def _set_aside(self) -> None:
        self.aside += 1

    def _full(self) -> None:
        raise AssertionError("said by `catch_up`")

    def _ended(self, line: bytes) -> None:
        assert not self.end
        self.end = line.decode().rstrip("\n")


def line(change: Change) -> str:
    return replies.change(change, STORE).decode()[:-1]


def sets(*keys: str, first: int = 1, value: bytes = b"v") -> list[Change]:
    """Changes of keys, at consecutive revisions."""
    return [Change(first + i, b"SET", key.encode(), b"t", value) for i, key in enumerate(keys)]


def serving(*clients: Client, recent_bytes: int = 1 << 20) -> Hub:
    hub = Hub(RecentChanges(recent_bytes))
    hub.start(Position(0, STORE))
    for client in clients:
        hub.add(client.watcher)
    return hub


# ---- patterns


@pytest.mark.parametrize(
    ("patterns", "keys"),
    [
        (["*"], ["a", "a/x", "a/y", "ab", "b"]),
        (["a"], ["a"]),
        (["a*"], ["a", "a/x", "a/y", "ab"]),
        (["a/*"], ["a/x", "a/y"]),
        (["a/x*"], ["a/x"]),
        (["a", "b"], ["a", "b"]),
        (["a", "a*", "*", "a"], ["a", "a/x", "a/y", "ab", "b"]),
        (["a/x", "a/*"], ["a/x", "a/y"]),
        (["A", "a/", "a/x/"], []),
    ],
)
def test_a_watcher_gets_what_one_of_its_patterns_matches_once(patterns: list[str], keys: list[str]) -> None:
    client = Client(*patterns)
    hub = serving(client)
    changes = sets("a", "a/x", "a/y", "ab", "b")
    hub.publish(STORE, changes)
    assert client.taken == [line(change) for change in changes if change.key.decode() in keys]


@given(st.lists(st.from_regex(r"[ab/]{0,4}\*|[ab/]{1,4}", fullmatch=True)), st.text("ab/", min_size=1, max_size=5))
def test_one_of_many_patterns_is_found_for_what_any_of_them_matches(words: list[str], key: str) -> None:
    given_words = [word.encode() for word in words]
    patterns = Patterns(given_words)
    assert patterns.match(key.encode()) == matches(given_words, key.encode())
    found = [word for word in patterns.words if matches([word], key.encode())]
    assert found == ([patterns.find(key.encode())] if patterns.match(key.encode()) else [])
    assert (patterns.find(key.encode()) is None) == (not found)
    assert set(patterns.words) <= set(given_words)


def test_every_kind_of_change_is_handed_on() -> None:
    client = Client("*")
    changes = [
        Change(1, b"SET", b"k", b"t", b"a b"), Change(2, b"SET", b"k", BYTES, b"\x00"), Change(3, b"DEL", b"k"),
        Change(4, b"EXPIRE", b"k"),
    ]  # fmt: skip
    serving(client).publish(STORE, changes)
    assert client.taken == [
        "CHANGE 1@s SET k a b",
        "CHANGE 2@s SET64 k AA==",
        "CHANGE 3@s DEL k",
        "CHANGE 4@s EXPIRE k",
    ]


def test_a_batch_is_one_call_of_a_sink() -> None:
    client = Client("a*")
    serving(client).publish(STORE, sets("a", "b", "ab", "ac"))
    assert (client.calls, len(client.taken)) == (1, 3)


def test_a_line_is_rendered_once_for_all() -> None:
    lines: list[bytes] = []
    hub = serving()
    for pattern in (b"k", b"*", b"k*"):
        hub.add(Watcher(Patterns([pattern]), into(lines), _never, _never, _never))
    hub.publish(STORE, sets("k"))
    assert len(lines) == 3
    assert lines[0] is lines[1] is lines[2]


def into(taken: list[bytes]) -> Sink:
    """A sink that always has room."""

    def take(data: bytes) -> bool:
        taken.append(data)
        return True

    return take


def _never(*_: object) -> None:
    raise AssertionError("not to be called")


def caught_up(hub: Hub, client: Client) -> Step:
    """Catch up, as far as memory and room allow."""
    step = Step.MORE
    while step is Step.MORE:
        step = hub.catch_up(client.watcher)
    return step


# ---- coming and going


def test_a_watcher_that_is_ahead_of_the_hub_gets_nothing_from_before() -> None:
    """The position that WATCH answers is the store's, and the hub may lag it."""
    client = Client("*", after=2)
    hub = serving(client)
    changes = sets("a", "b", "c", "d")
    hub.publish(STORE, changes[:1])
    hub.publish(STORE, changes[1:])
    assert client.taken == [line(change) for change in changes[2:]]


def test_a_watcher_that_is_behind_the_hub_is_set_aside_and_catches_up() -> None:
    hub = serving()
    changes = sets("a", "b", "c", "d")
    hub.publish(STORE, changes[:3])
    client = Client("*", after=1)
    hub.add(client.watcher)
    assert (client.aside, client.taken) == (1, [])
    hub.publish(STORE, changes[3:])
    assert caught_up(hub, client) is Step.LIVE
    assert client.taken == [line(change) for change in changes[1:]]


def test_a_watcher_that_was_removed_gets_nothing_more() -> None:
    client, other = Client("a", "a*", "*"), Client("a", "a*", "*")
    hub = serving(client, other)
    hub.remove(client.watcher)
    hub.remove(client.watcher)
    hub.publish(STORE, sets("a"))
    assert (client.taken, len(other.taken), len(hub)) == ([], 1, 1)
    assert caught_up(hub, client) is Step.LIVE
    assert client.taken == []


def test_nothing_is_left_of_watchers_that_went() -> None:
    clients = [Client("a", "b/*", "c*"), Client("a", "a*", "b/*", "*"), Client("b/c/*"), Client("a")]
    hub = serving(*clients)
    (group,) = hub._groups.values()
    for client in clients:
        hub.remove(client.watcher)
    assert (len(hub), hub._groups) == (0, {})
    assert (group._by_single_pattern, group._by_pattern_set, group._lengths, group._ordered) == ({}, {}, {}, [])


# ---- watchers without room


def test_a_sink_without_room_sets_its_watcher_aside_and_holds_back_nobody() -> None:
    slow, quick = Client("*"), Client("*")
    hub = serving(slow, quick)
    changes = sets("a", "b", "c")
    slow.room = False
    for change in changes:
        hub.publish(STORE, [change])
    assert (slow.aside, slow.calls, slow.taken) == (1, 1, [])
    assert quick.taken == [line(change) for change in changes]
    assert caught_up(hub, slow) is Step.FULL
    slow.room = True
    assert caught_up(hub, slow) is Step.LIVE
    assert slow.taken == quick.taken
    more = sets("d", first=4)
    hub.publish(STORE, more)
    assert slow.taken == quick.taken
    assert (slow.aside, slow.taken[-1]) == (1, line(more[0]))


def test_a_watcher_that_is_ahead_and_has_no_room_catches_up_from_its_own_beginning() -> None:
    client = Client("*", after=2)
    hub = serving(client)
    client.room = False
    changes = sets("a", "b", "c", "d")
    hub.publish(STORE, changes)
    client.room = True
    assert caught_up(hub, client) is Step.LIVE
    assert client.taken == [line(change) for change in changes[2:]]


def test_catching_up_needs_no_room_for_what_does_not_match() -> None:
    hub = serving()
    hub.publish(STORE, sets("b", "b"))
    client = Client("a")
    client.room = False
    hub.add(client.watcher)
    assert caught_up(hub, client) is Step.LIVE
    assert (client.watcher.live, client.calls) == (True, 0)


def test_catching_up_passes_what_does_not_match() -> None:
    client = Client("a")
    hub = serving(client)
    client.room = False
    hub.publish(STORE, sets("a"))
    hub.publish(STORE, sets(*"bcdef", first=2))
    client.room = True
    assert caught_up(hub, client) is Step.LIVE
    assert client.taken == ["CHANGE 1@s SET a v"]
    assert hub.complete_to(client.watcher) == Position(6, STORE)


def test_catching_up_goes_in_steps_of_bounded_size() -> None:
    client = Client("*")
    hub = serving(client, recent_bytes=8 << 20)
    client.room = False
    value = b"x" * 1000
    changes = sets(*["k"] * 2000, value=value)
    hub.publish(STORE, changes)
    client.room = True
    steps: list[bytes] = []
    client.watcher.sink = into(steps)
    assert caught_up(hub, client) is Step.LIVE
    assert max(map(len, steps)) < PUSH_BYTES + 2000
    assert b"".join(steps).decode().splitlines() == [line(change) for change in changes]


def test_what_a_crowd_has_missed_is_rendered_once() -> None:
    pushed: list[bytes] = []
    hub = serving()
    hub.publish(STORE, sets("k/a", "other", "k/b"))

    def come_back() -> bytes:
        pushed.clear()
        crowd = [Watcher(Patterns([b"k/*"]), into(pushed), _ignored, _never, _never) for _ in range(3)]
        for watcher in crowd:
            hub.add(watcher)
        while [watcher for watcher in crowd if hub.catch_up(watcher) is not Step.LIVE]:
            pass
        assert len(pushed) == 3
        assert pushed[0] is pushed[1] is pushed[2]
        return pushed[0]

    assert come_back().count(b"\n") == 2
    # What was made before a change lacks it.
    hub.publish(STORE, sets("k/c", first=4))
    assert come_back().count(b"\n") == 3


def _ignored() -> None:
    pass


def test_a_watcher_whose_place_is_gone_from_memory_needs_what_matches() -> None:
    client, quick = Client("a"), Client("a")
    hub = serving(client, quick, recent_bytes=3 * (CHANGE_OVERHEAD + 2))
    log = [*sets("a", "a", "b", "b", "b"), *sets("a", first=6)]
    hub.publish(STORE, log[:1])
    client.room = False
    hub.publish(STORE, log[1:2])
    hub.publish(STORE, log[2:5])
    assert caught_up(hub, client) is Step.NOT_IN_MEMORY
    assert hub.missing(client.watcher) == [2]
    hub.fetched.add(log[1:2])
    assert caught_up(hub, client) is Step.FULL
    client.room = True
    assert caught_up(hub, client) is Step.LIVE
    hub.publish(STORE, log[5:])
    assert client.taken == quick.taken == [line(change) for change in log if change.key == b"a"]


def test_a_watcher_that_needs_nothing_is_live_however_far_it_was_behind() -> None:
    client = Client("b/*")
    hub = serving(recent_bytes=0)
    for first in range(1, 3001, 1000):
        hub.publish(STORE, sets(*["a"] * 1000, first=first))
    hub.add(client.watcher)
    assert hub.catch_up(client.watcher) is Step.LIVE
    assert hub.complete_to(client.watcher) == Position(3000, STORE)


def test_a_transaction_is_pushed_in_one_piece() -> None:
    client = Client("*")
    hub = serving(client, recent_bytes=8 << 20)
    client.room = False
    big = [change._replace(more=change.revision % 5 != 0) for change in sets(*["k"] * 100, value=b"x" * 20_000)]
    hub.publish(STORE, big)
    steps: list[bytes] = []
    client.watcher.sink = into(steps)
    assert caught_up(hub, client) is Step.LIVE
    assert {step.count(b"\n") for step in steps} == {5}


def test_a_transaction_is_pushed_in_one_piece_although_the_index_has_dropped_it() -> None:
    client = Client("k")
    hub = Hub(RecentChanges(8 << 20), index_changes=20)
    hub.start(Position(0, STORE))
    hub.add(client.watcher)
    client.room = False
    big = [change._replace(more=change.revision % 5 != 0) for change in sets(*"kakak" * 4, value=b"x" * 40_000)]
    hub.publish(STORE, big)
    assert hub.catch_up(client.watcher) is Step.FULL
    hub.publish(STORE, sets(*["other"] * 100, first=21))
    assert not hub.index.covers(20)
    steps: list[bytes] = []
    client.watcher.sink = into(steps)
    while hub.catch_up(client.watcher) is Step.MORE:
        pass
    assert [step.count(b"\n") for step in steps] == [3] * 4


def test_progress_says_up_to_where_all_was_given() -> None:
    live, aside, ahead = Client("a"), Client("a"), Client("a", after=9)
    hub = serving(live, aside, ahead)
    aside.room = False
    hub.publish(STORE, sets("a", "b"))
    aside.room = True
    for client in (live, aside, ahead):
        hub.progress(client.watcher)
    assert [client.taken[-1] for client in (live, aside, ahead)] == ["PROGRESS 2@s", "PROGRESS 0@s", "PROGRESS 9@s"]


def test_a_watcher_keeps_its_place_as_long_as_the_next_change_is_there() -> None:
    client = Client("a")
    hub = serving(client, recent_bytes=3 * (CHANGE_OVERHEAD + 2))
    client.room = False
    hub.publish(STORE, sets("a"))
    hub.publish(STORE, sets("b", "a", first=2))
    client.room = True
    assert caught_up(hub, client) is Step.LIVE
    assert client.taken == ["CHANGE 1@s SET a v", "CHANGE 3@s SET a v"]


# ---- ends


def test_the_end_says_up_to_where_all_was_given() -> None:
    live, ahead, aside = Client("a"), Client("*", after=9), Client("*")
    hub = serving(live, ahead, aside)
    hub.publish(STORE, sets("a", "b"))
    aside.room = False
    hub.publish(STORE, sets("a", "b", first=3))
    hub.end_all("store", "why it is")
    assert [client.end for client in (live, ahead, aside)] == [
        "END 4@s store why it is", "END 9@s store why it is", "END 2@s store why it is",
    ]  # fmt: skip
    assert len(hub) == 0
    hub.publish(STORE, sets("a", first=5))
    assert (len(live.taken), len(aside.taken)) == (2, 2)


def test_a_history_that_begins_anew_keeps_nothing_of_the_old_one() -> None:
    hub = serving()
    hub.publish(STORE, sets("a", "b"))
    hub.start(Position(10, b"new"))
    client = Client("*", after=9)
    hub.add(client.watcher)
    assert caught_up(hub, client) is Step.NOT_INDEXED


# ---- forms


def test_the_lines_of_each_form_are_rendered_once_for_all_who_want_it() -> None:
    pushed: dict[Form, list[bytes]] = {form: [] for form in (PLAIN, Form(keys=True), Form(time=True, batches=True))}
    hub = serving()

    def join() -> list[Watcher]:
        crowd = [
            Watcher(Patterns([b"k*"]), into(taken), _ignored, _never, _never, 0, form)
            for form, taken in pushed.items()
            for _ in range(3)
        ]
        for watcher in crowd:
            hub.add(watcher)
        return crowd

    join()
    changes = [change._replace(moment=Moment(3, 1234)) for change in in_transaction(sets("k/a", "other", "k/b"))]
    hub.publish(STORE, changes)
    for _ in range(2):
        assert {form: taken[0].decode().splitlines() for form, taken in pushed.items()} == {
            PLAIN: ["CHANGE 1@s SET k/a v", "CHANGE 3@s SET k/b v"],
            Form(keys=True): ["CHANGE 1@s SIZE k/a 1", "CHANGE 3@s SIZE k/b 1"],
            Form(time=True, batches=True): ["TIME 1234", "BATCH 2", "CHANGE 1@s SET k/a v", "CHANGE 3@s SET k/b v"],
        }
        for taken in pushed.values():
            assert len(taken) == 3
            assert taken[0] is taken[1] is taken[2]
            taken.clear()
        # The same for those who come back.
        crowd = join()
        while [watcher for watcher in crowd if hub.catch_up(watcher) is not Step.LIVE]:
            pass


def test_time_is_told_once_for_all_changes_of_an_entry() -> None:
    client, some = Client("*", form=Form(time=True)), Client("a", form=Form(time=True))
    hub = serving(client, some)
    first, second = Moment(2, 1000), Moment(4, 1000)
    changes = sets("a", "b", "b", "a")
    hub.publish(STORE, [c._replace(moment=first if c.revision < 3 else second) for c in changes])
    texts = [line(change) for change in changes]
    assert client.taken == ["TIME 1000", *texts[:2], "TIME 1000", *texts[2:]]
    assert some.taken == ["TIME 1000", texts[0], "TIME 1000", texts[3]]


def test_no_key_that_was_just_set_lives_longer_than_it_was_told_to() -> None:
    """Another daemon may have written it, whose clock is later than what this one knows."""
    hub = Hub(clock=lambda: 1000)
    client = Client("*", form=Form(ttl=True))
    hub.add(client.watcher)
    change = Change(1, b"SET", b"k", deadline=1040 + 1 + 300, moment=Moment(1, 1040))
    hub.publish(STORE, [change])
    assert client.taken == ["CHANGE 1@s SET k ", "TTL 0.3 k"]


def test_what_is_left_of_a_life_is_told_as_of_now_also_to_who_comes_later() -> None:
    clock = [1000]
    hub = Hub(RecentChanges(1 << 20), clock=lambda: clock[0])
    hub.start(Position(0, STORE))
    (change,) = sets("a")
    hub.publish(STORE, [change._replace(deadline=3001), *sets("b", first=2)])
    for now, seconds in ((1000, "2"), (1500, "1.5"), (2999, "0.001"), (9000, "0.001")):
        clock[0] = now
        client = Client("*", form=Form(ttl=True))
        hub.add(client.watcher)
        assert caught_up(hub, client) is Step.LIVE
        assert client.taken == ["CHANGE 1@s SET a v", f"TTL {seconds} a", "CHANGE 2@s SET b v"]
        hub.remove(client.watcher)


def test_a_value_that_nobody_wanted_when_the_change_was_read_is_fetched_first() -> None:
    whole, ahead, late = Client("*"), Client("b", after=1), Client("*", after=2)
    some, sizes = Client("b", "c"), Client("*", form=Form(keys=True))
    clients = [whole, ahead, late, some, sizes]
    hub = serving(*clients)
    changes = sets("a", "b", "c", value=b"x" * 500)
    read = [changes[0], without_value(changes[1]), changes[2]]
    hub.publish(STORE, read)
    assert [client.watcher.live for client in clients] == [False, False, False, False, True]
    assert sizes.taken == [f"CHANGE {n}@s SIZE {key} 500" for n, key in enumerate("abc", 1)]
    # What is fetched for those who want no values does not do for the others.
    hub.fetched.add([read[1]])
    for client in (whole, some):
        assert caught_up(hub, client) is Step.NOT_IN_MEMORY
        assert hub.missing(client.watcher) == [2]
    hub.fetched.add([changes[1]])
    assert {caught_up(hub, client) for client in clients} == {Step.LIVE}
    texts = [line(change) for change in changes]
    assert [client.taken for client in clients[:4]] == [texts, texts[1:2], texts[2:], texts[1:]]


def test_who_is_sent_nothing_needs_no_room() -> None:
    client = Client("*", form=Form(only=frozenset([b"DEL"])))
    hub = serving(client)
    client.room = False
    hub.publish(STORE, sets("a", "b"))
    assert (client.calls, client.watcher.live, hub.complete_to(client.watcher)) == (0, True, Position(2, STORE))


# ---- cost


def events(action: Callable[[], Any]) -> int:
    """How many calls Python makes for an action: its cost, without a clock, nor what the garbage collector calls."""
    count = 0

    def step(*_: object) -> None:
        nonlocal count
        count += 1

    before = sys.getprofile()
    gc.disable()
    sys.setprofile(step)
    try:
        action()
    finally:
        sys.setprofile(before)
        gc.enable()
    return count


def cost_among(others: int) -> tuple[int, list[Client]]:
    crowd = [Client(f"other/{n}", f"some/{n:06}/*", f"a/{n:06}*") for n in range(others)]
    one = Client("a/x")
    hub = serving(*crowd, one)
    changes = sets("a/x", "a/x")
    cost = events(lambda: hub.publish(STORE, changes))
    assert len(one.taken) == 2
    return cost, crowd


def test_a_change_costs_nothing_for_watchers_that_do_not_match() -> None:
    few, _ = cost_among(10)
    many, crowd = cost_among(1000)
    assert many == few
    assert not any(client.calls for client in crowd)


def test_recent_changes_are_bounded_in_bytes() -> None:
    hub = serving(recent_bytes=10_000)
    for number in range(100):
        hub.publish(STORE, sets("k", "kk", first=2 * number + 1, value=b"x" * (number * 37 % 500)))
        assert held(hub) <= 10_000
    assert len(hub._recent) > 10
    # One that is larger than all is not kept.
    hub.publish(STORE, sets("k", first=201, value=b"x" * 10_001))
    assert held(hub) == 0
    hub.publish(STORE, sets("k", first=202))
    assert list(hub._recent._changes) == [202]


def held(hub: Hub) -> int:
    return sum(len(change.key) + len(change.value) + CHANGE_OVERHEAD for change in hub._recent._changes.values())


# ---- against a model

KEYS = ["a", "b", "a/x", "a/y", "ab", "a/x/1"]
PATTERNS = ["a", "b", "*", "a*", "a/*", "a/x", "a/x*", "b*", "ab*", "c"]
RECENT = 6 * (CHANGE_OVERHEAD + 10)
"""Room for a few changes, so that places get lost."""


FORMS = st.builds(
    Form,
    st.booleans(),
    st.sampled_from([PLAIN.only, frozenset([b"SET"]), frozenset([b"DEL", b"EXPIRE"])]),
    st.booleans(),
    st.just(False),
    st.booleans(),
    st.just(False),
) | st.just(PLAIN)


class HubModel(RuleBasedStateMachine):
    """A store ahead of the hub, and clients whose sockets are full now and then."""

    INDEX = 8
    """Changes in the index, so that it, too, loses its beginning."""

    def __init__(self) -> None:
        super().__init__()
        self.counts = Counts()
        self.hub = Hub(RecentChanges(RECENT), index_changes=self.INDEX, counts=self.counts)
        # As in a daemon, it holds the largest transaction, which is pushed whole: four long changes.
        self.hub.fetched = FetchedChanges(4 * (CHANGE_OVERHEAD + 600))
        self.store = b"s0"
        self.base = 0
        self.written: list[Change] = []
        self.published = 0
        self.clients: list[Client] = []

    @initialize(revision=st.integers(0, 3))
    def begin(self, revision: int) -> None:
        self.base = revision
        self.hub.start(Position(revision, self.store))

    @rule(
        keys=st.lists(st.tuples(st.sampled_from(KEYS), st.booleans()), min_size=1, max_size=4),
        long=st.booleans(),
        transaction=st.booleans(),
    )
    def write(self, keys: list[tuple[str, bool]], long: bool, transaction: bool) -> None:
        first = self.base + len(self.written) + 1
        changes = sets(*[key for key, _ in keys], first=first, value=b"x" * 500 if long else b"v")
        for place, (_, deletes) in enumerate(keys):
            if deletes:
                changes[place] = Change(first + place, b"DEL", changes[place].key)
        if transaction:
            changes = in_transaction(changes)
        self.written += changes

    @precondition(lambda self: self.published < len(self.written))
    @rule(count=st.integers(1, 6))
    def publish(self, count: int) -> None:
        changes = self.written[self.published : self.published + count]
        while changes[-1].more:
            changes.append(self.written[self.published + len(changes)])
        self.published += len(changes)
        # Long values come only if somebody wants them, as far as was known when they were read.
        self.hub.publish(self.store, [c if self.hub.wants_value(c.key) else without_value(c) for c in changes])

    @rule(
        patterns=st.lists(st.sampled_from(PATTERNS), min_size=1, max_size=4),
        form=FORMS,
        behind=st.integers(0, 4),
        room=st.booleans(),
    )
    def join(self, patterns: list[str], form: Form, behind: int, room: bool) -> None:
        client = Client(*patterns, after=max(0, self.base + len(self.written) - behind), form=form)
        client.room = room
        self.clients.append(client)
        self.hub.add(client.watcher)

    @precondition(lambda self: self.clients)
    @rule(data=st.data(), room=st.booleans())
    def change_room(self, data: st.DataObject, room: bool) -> None:
        data.draw(st.sampled_from(self.clients)).room = room

    @precondition(lambda self: self.clients)
    @rule(data=st.data())
    def catch_up(self, data: st.DataObject) -> None:
        client = data.draw(st.sampled_from(self.clients))
        self.give(client, caught_up(self.hub, client), data.draw(st.integers(1, 5)))

    @precondition(lambda self: self.clients)
    @rule(data=st.data())
    def lose_place(self, data: st.DataObject) -> None:
        """The log, too, no longer has what comes next."""
        client = data.draw(st.sampled_from(self.clients))
        if caught_up(self.hub, client) in (Step.NOT_INDEXED, Step.NOT_IN_MEMORY):
            self.hub.end(client.watcher, "compacted", "it fell behind")

    def give(self, client: Client, step: Step, count: int) -> None:
        """Give the hub what a client needs from the store's log, as far as that reaches."""
        index = self.hub.index
        if step is Step.NOT_IN_MEMORY:
            wanted = self.hub.missing(client.watcher)[:count]
            found = [self.written[revision - self.base - 1] for revision in wanted]
            self.hub.fetched.add(found if client.form.wants_values else map(without_value, found))
        elif step is Step.NOT_INDEXED and index.floor == self.base:
            self.hub.end(client.watcher, "compacted", "the log begins later")
        elif step is Step.NOT_INDEXED:
            older = self.written[: index.floor - self.base][-count:]
            index.prepend([change.key for change in older], [change.more for change in older])

    @precondition(lambda self: len(self.clients) > 3)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        client = data.draw(st.sampled_from(self.clients))
        self.clients.remove(client)
        self.hub.remove(client.watcher)
        self.check(client, self.hub.complete_to(client.watcher).revision)

    @precondition(lambda self: self.published > 8)
    @rule(ahead=st.integers(1, 3))
    def replace_history(self, ahead: int) -> None:
        self.hub.end_all("store", "it was replaced")
        self.check_ended()
        assert not self.clients
        self.base += len(self.written) + ahead
        self.written, self.published = [], 0
        self.store = b"s%d" % self.base
        self.hub.start(Position(self.base, self.store))

    @invariant()
    def nobody_missed_or_got_twice(self) -> None:
        self.check_ended()
        for client in self.clients:
            self.check(client, self.hub.complete_to(client.watcher).revision)
            if client.watcher.live:
                self.check(client, max(client.watcher.after, self.base + self.published))

    @invariant()
    def watchers_are_counted(self) -> None:
        served = [client.watcher for client in self.clients if self.hub.serves(client.watcher)]
        assert self.counts.watchers == len(self.hub) == len(served)
        assert self.counts.catching_up == sum(not watcher.live for watcher in served)

    @invariant()
    def memory_is_bounded(self) -> None:
        assert held(self.hub) <= RECENT
        assert self.hub._recent._held == held(self.hub)

    def teardown(self) -> None:
        for client in self.clients:
            client.room = True
            while (step := caught_up(self.hub, client)) is not Step.LIVE:
                self.give(client, step, 3)
        self.nobody_missed_or_got_twice()

    def check_ended(self) -> None:
        """An END says up to where all was given; nothing is given after it."""
        for client in [client for client in self.clients if client.end]:
            self.clients.remove(client)
            position = client.end.split(" ")[1]
            assert position.endswith("@" + self.store.decode())
            self.check(client, int(position.partition("@")[0]))

    def check(self, client: Client, upto: int) -> None:
        """A client was given just what matches, after its beginning and up to a revision."""
        sent = [
            change
            for change in self.written
            if client.began < change.revision <= upto
            and matches(client.patterns, change.key)
            and change.verb in client.form.only
        ]
        wanted: list[str] = []
        told = 0
        for change in sent:
            if client.form.batches and change.transaction not in (0, told):
                told = change.transaction
                wanted.append(f"BATCH {[other.transaction for other in sent].count(told)}")
            render = replies.change_size if client.form.keys and change.verb == b"SET" else replies.change
            wanted.append(render(change, self.store).decode()[:-1])
        assert client.taken == wanted


def in_transaction(changes: list[Change]) -> list[Change]:
    """The same changes, made at once."""
    last = changes[-1].revision
    if changes[0].revision == last:
        return changes
    return [change._replace(more=change.revision < last, transaction=last) for change in changes]


def without_value(change: Change) -> Change:
    """The same change, as it comes to those who do not want values that the store keeps apart."""
    long = len(change.value) > len(b"v")
    return change._replace(value=b"", apart=len(change.value)) if long else change


def matches(patterns: Iterable[bytes], key: bytes) -> bool:
    """As protocol.txt says it."""
    return any(key.startswith(pattern[:-1]) if pattern.endswith(b"*") else key == pattern for pattern in patterns)


TestHubModel = HubModel.TestCase
TestHubModel.settings = settings(max_examples=300, stateful_step_count=30)
