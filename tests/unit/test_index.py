"""kvd.watch.index: which changes match and which keys have changed, against a list of all changes."""

from collections.abc import Iterable

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from kvd.model import Change, Patterns
from kvd.watch import index
from kvd.watch.index import ChangeIndex

KEYS = [b"a", b"a/", b"a/x", b"a/y", b"ab", b"b", b"b/1", "é".encode()]
WORDS = [b"*", b"a*", b"a/*", b"a/x", b"ab", b"b*", b"c*", b"c", "é*".encode()]
PATTERNS = st.lists(st.sampled_from(WORDS), min_size=1, max_size=3)


def sets(keys: Iterable[bytes], first: int, *, transaction: bool = False) -> list[Change]:
    found = [Change(revision, b"SET", key, b"t", b"v", transaction) for revision, key in enumerate(keys, first)]
    return [*found[:-1], found[-1]._replace(more=False)]


def filled(keys: Iterable[bytes], most: int = 1 << 20) -> ChangeIndex:
    found = ChangeIndex(most)
    found.append(sets(keys, 1))
    return found


class IndexModel(RuleBasedStateMachine):
    """An index that grows at its end and at its beginning, and loses its beginning."""

    MOST = 12

    def __init__(self) -> None:
        super().__init__()
        self.all: list[Change] = []
        self.index = ChangeIndex(self.MOST)
        self.told: list[int] = []
        self.index.keepers.add(self.told.append)

    @rule(keys=st.lists(st.sampled_from(KEYS), min_size=1, max_size=5), transaction=st.booleans())
    def append(self, keys: list[bytes], transaction: bool) -> None:
        changes = sets(keys, len(self.all) + 1, transaction=transaction)
        self.all += changes
        self.index.append(changes)

    @precondition(lambda self: self.index.floor)
    @rule(count=st.integers(1, 6))
    def prepend(self, count: int) -> None:
        older = self.all[: self.index.floor][-count:]
        self.index.prepend([change.key for change in older], [change.more for change in older])

    @rule(count=st.integers(0, 4))
    def drop(self, count: int) -> None:
        self.told.clear()
        self.index.drop_to(self.index.floor + count)
        assert self.told in ([], [self.index.floor])

    @rule(words=PATTERNS, back=st.integers(0, 20), most=st.integers(1, 5), walk=st.integers(1, 9))
    def find(self, words: list[bytes], back: int, most: int, walk: int) -> None:
        after = max(len(self.all) - back, self.index.floor)
        before, index.WALK_CHANGES = index.WALK_CHANGES, walk
        try:
            self.check_find(Patterns(words), after, most)
        finally:
            index.WALK_CHANGES = before

    def check_find(self, patterns: Patterns, after: int, most: int) -> None:
        wanted = [change for change in self.all[after:] if patterns.match(change.key)]
        found: list[int] = []
        while after < len(self.all):
            part, until = self.index.find(patterns, after, most)
            assert len(part) <= most + 5  # a transaction is not cut
            assert all(after < revision <= until for revision in part)
            if part and until < len(self.all):
                rest = [change.revision for change in wanted if change.revision > until]
                assert not rest or not all(change.more for change in self.all[part[-1] - 1 : rest[0] - 1])
            if until == after:
                break
            found += part
            after = until
        assert found == [change.revision for change in wanted]

    @rule(word=st.sampled_from([*WORDS, *KEYS]), back=st.integers(0, 20), walk=st.integers(1, 9))
    def newest(self, word: bytes, back: int, walk: int) -> None:
        after = max(len(self.all) - back, self.index.floor)
        match = Patterns([word]).match
        before, index.WALK_CHANGES = index.WALK_CHANGES, walk
        try:
            found, end = 0, len(self.all)
            while end > after and not found:
                found, begin = self.index.newest(word, after, end)
                assert begin < end
                end = begin
        finally:
            index.WALK_CHANGES = before
        assert found == max((change.revision for change in self.all[after:] if match(change.key)), default=0)
        assert not found or self.index.key_of(found) == self.all[found - 1].key

    @invariant()
    def all_is_covered(self) -> None:
        floor = self.index.floor
        assert self.index.last == len(self.all)
        assert len(self.index) == len(self.all) - floor
        for key in KEYS:
            revisions = [change.revision for change in self.all[floor:] if change.key == key]
            assert self.index.last_of(key) == max(revisions, default=0)
        assert self.index.keys_after(floor, self.index.last) == {change.key for change in self.all[floor:]}

    @rule(word=st.sampled_from(WORDS), after=st.sampled_from([b"", *KEYS]), last=st.sampled_from([b"", *KEYS]))
    def keys(self, word: bytes, after: bytes, last: bytes) -> None:
        inside = [key for key in KEYS if Patterns([word]).match(key)]
        if (after and after not in inside) or (last and last not in inside):
            return
        revision = (self.index.floor + self.index.last) // 2
        assert self.index.keys_of(word, after, last, revision) == sorted(
            key for key in inside
            if key > after and (not last or key <= last) and self.index.last_of(key) > revision
        )  # fmt: skip


TestIndexModel = IndexModel.TestCase
TestIndexModel.settings = settings(max_examples=200, stateful_step_count=30)


@given(st.integers(1, 300))
def test_what_is_dropped_is_kept_nowhere(count: int) -> None:
    found = filled([b"%d" % number for number in range(count)])
    found.drop_to(count)
    assert (len(found), found._revisions or found._older, list(found._sorted), found._more) == (0, {}, [], bytearray())


def test_one_look_is_at_so_many_keys_only() -> None:
    keys = 3 * index.WALK_CHANGES
    found = filled([b"k/%d" % number for number in range(keys)] + [b"other"] * keys)
    _, until = found.find(Patterns([b"k/*"]), keys - 1, 10)
    # It went by revision: to look at all the keys would have said at once that there is one.
    assert until == keys - 1 + index.WALK_CHANGES


def test_the_number_of_changes_is_bounded() -> None:
    found = ChangeIndex(1000)
    for first in range(1, 20_001, 10):
        found.append(sets([b"%d" % (first + i) for i in range(10)], first))
        assert len(found) <= 1000 + index.DROP_CHANGES
    assert len(found) >= 1000


def test_a_history_that_begins_anew_is_another_generation() -> None:
    found = filled([b"a", b"b"])
    before = found.generation
    found.start(10)
    assert (found.generation != before, found.floor, found.last, found.last_of(b"a")) == (True, 10, 10, 0)
