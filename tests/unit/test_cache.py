"""The read cache: it never says what the store would not say, whatever overlaps."""

from collections import deque
from collections.abc import Collection

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvd.model import Record
from kvd.store.redis.cache import LARGEST_SHARE, MOST_WRITES, OVERHEAD, LocalCache, Reading
from tests.support.records import kept, record

LIMIT = 1024 * 1024


def keep(cache: LocalCache, key: bytes, value: bytes) -> None:
    cache.end_read(cache.begin_read([key]), [(key, record(value))])


class Simulated:
    """A store with a connection for reads and one for writes, each in order, and a cache before it."""

    def __init__(self) -> None:
        self.cache = LocalCache(LIMIT)
        self.values: dict[bytes, Record] = {}
        self.reads: deque[tuple[Reading, bytes]] = deque()
        self.found: deque[tuple[Reading, bytes, Record | None]] = deque()
        self.writes: deque[tuple[Collection[bytes], bytes, bytes]] = deque()
        self.done: deque[Collection[bytes]] = deque()

    def step(self, what: str, key: bytes, value: bytes) -> None:
        if what == "send read":
            self.reads.append((self.cache.begin_read([key]), key))
        elif what == "send write":
            self.writes.append((self.cache.begin_write([key]), key, value))
        elif what == "do read" and self.reads:
            reading, key = self.reads.popleft()
            self.found.append((reading, key, self.values.get(key)))
        elif what == "do write" and self.writes:
            mark, key, value = self.writes.popleft()
            self.values[key] = record(value)
            self.done.append(mark)
        elif what == "answer read" and self.found:
            reading, key, found = self.found.popleft()
            self.cache.end_read(reading, [(key, found)])
        elif what == "answer write" and self.done:
            self.cache.end_write(self.done.popleft())


STEPS = ["send read", "send write", "do read", "do write", "answer read", "answer write"]


@given(
    st.lists(st.tuples(st.sampled_from(STEPS), st.sampled_from([b"a", b"b"]), st.integers(0, 9)), max_size=200),
)
def test_what_is_kept_is_what_the_store_holds_at_this_moment(steps: list[tuple[str, bytes, int]]) -> None:
    simulated = Simulated()
    for what, key, number in steps:
        simulated.step(what, key, b"%d" % number)
        for known in (b"a", b"b"):
            found = simulated.cache.get(known)
            assert found is None or found.record() == simulated.values.get(known)


def test_a_quiet_read_is_kept_and_a_write_drops_it() -> None:
    cache = LocalCache(LIMIT)
    keep(cache, b"key", b"")
    assert cache.get(b"key") == kept(b"")
    mark = cache.begin_write([b"key"])
    assert cache.get(b"key") is None
    keep(cache, b"key", b"of the time of the write")
    assert cache.get(b"key") is None
    cache.end_write(mark)
    keep(cache, b"key", b"new")
    assert cache.get(b"key") == kept(b"new")


def test_no_more_is_kept_than_there_is_room_for_and_what_is_used_stays() -> None:
    cache = LocalCache(LIMIT)
    for number in range(100_000):
        keep(cache, b"key %d" % number, b"value")
        assert cache.get(b"key 0") == kept(b"value")
    cost = OVERHEAD + len(b"key 99999") + len(b"value")
    found = sum(cache.get(b"key %d" % number) is not None for number in range(100_000))
    assert LIMIT / 4 < found * cost <= LIMIT


def test_dropping_makes_room() -> None:
    cache = LocalCache(LIMIT)
    keep(cache, b"first", b"value")
    for _ in range(100_000):
        keep(cache, b"key", b"value")
        cache.end_write(cache.begin_write([b"key"]))
    assert cache.get(b"first") == kept(b"value")


def test_a_value_that_would_drive_out_too_many_is_not_kept() -> None:
    cache = LocalCache(LIMIT)
    keep(cache, b"key", b"x" * (LIMIT // LARGEST_SHARE))
    assert cache.get(b"key") is None


def test_a_slow_read_beside_many_writes_remembers_few_of_them() -> None:
    cache = LocalCache(LIMIT)
    reading = cache.begin_read([b"key"])
    for _ in range(10 * MOST_WRITES):
        cache.end_write(cache.begin_write([b"other"]))
    assert reading.writes is None
    cache.end_read(reading, [(b"key", record(b"value"))])
    assert cache.get(b"key") is None


@pytest.mark.parametrize("limit", [0, 1])
def test_without_room_nothing_is_kept(limit: int) -> None:
    cache = LocalCache(limit)
    mark = cache.begin_write(iter([b"key"]))
    assert not mark
    cache.end_write(mark)
    keep(cache, b"key", b"value")
    assert cache.get(b"key") is None
