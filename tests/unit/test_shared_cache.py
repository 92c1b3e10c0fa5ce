"""The read caches of workers: none of them ever says what the store would not say, whatever overlaps, whoever dies."""

import os
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvd.model import Record
from kvd.store.redis import shared_cache
from kvd.store.redis.shared_cache import SharedCache, Versions, WorkerSlot, share_versions
from kvd.workers import pool
from tests.support.records import kept, record

LIMIT = 1024 * 1024
WORKERS = 3
KEYS = [b"a", b"b", b"c"]


@pytest.fixture
def slots() -> Iterator[list[WorkerSlot]]:
    slots = share_versions(WORKERS)
    yield slots
    os.close(slots[0].descriptor)


def keep(cache: SharedCache, key: bytes, value: bytes) -> None:
    cache.end_read(cache.begin_read([key]), [(key, record(value))])


class Worker:
    """One worker with a connection for reads and one for writes, each in order."""

    def __init__(self, slot: WorkerSlot) -> None:
        self.cache = SharedCache(LIMIT, Versions(slot))
        self.reads: deque[tuple[Mapping[bytes, bytes], bytes]] = deque()
        self.found: deque[tuple[Mapping[bytes, bytes], bytes, Record | None]] = deque()
        self.writes: deque[tuple[Collection[int], bytes, bytes]] = deque()
        self.done: deque[Collection[int]] = deque()


class Simulated:
    """A store, and workers before it that die and are started again; what a dead one sent is done late, or never."""

    def __init__(self, slots: list[WorkerSlot]) -> None:
        self.slots = slots
        self.workers = [Worker(slot) for slot in slots]
        self.values: dict[bytes, Record] = {}
        self.orphans: deque[tuple[bytes, bytes]] = deque()

    def step(self, what: str, number: int, key: bytes, value: bytes) -> None:
        worker = self.workers[number]
        if what == "send read":
            worker.reads.append((worker.cache.begin_read([key]), key))
        elif what == "send write":
            worker.writes.append((worker.cache.begin_write([key]), key, value))
        elif what == "do read" and worker.reads:
            reading, key = worker.reads.popleft()
            worker.found.append((reading, key, self.values.get(key)))
        elif what == "do write" and worker.writes:
            mark, key, value = worker.writes.popleft()
            self.values[key] = record(value)
            worker.done.append(mark)
        elif what == "answer read" and worker.found:
            reading, key, found = worker.found.popleft()
            worker.cache.end_read(reading, [(key, found)])
        elif what == "answer write" and worker.done:
            worker.cache.end_write(worker.done.popleft())
        elif what == "die":
            self.orphans.extend((key, value) for _, key, value in worker.writes)
            self.workers[number] = Worker(self.slots[number])
        elif what == "do orphan" and self.orphans:
            key, value = self.orphans.popleft()
            self.values[key] = record(value)


STEPS = ["send read", "send write", "do read", "do write", "answer read", "answer write"]


@pytest.mark.slow
@pytest.mark.parametrize("buckets", [1, 2, shared_cache.BUCKETS])
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from([*STEPS * 3, "die", "do orphan"]),
            st.integers(0, WORKERS - 1), st.sampled_from(KEYS), st.integers(0, 9),
        ),
        max_size=200,
    ),
)  # fmt: skip
def test_what_any_worker_keeps_is_what_the_store_holds_at_this_moment(
    buckets: int, steps: list[tuple[str, int, bytes, int]]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shared_cache, "BUCKETS", buckets)
        slots = share_versions(WORKERS)
        try:
            simulated = Simulated(slots)
            for what, number, key, value in steps:
                simulated.step(what, number, key, b"%d" % value)
                for worker in simulated.workers:
                    for known in KEYS:
                        found = worker.cache.get(known)
                        assert found is None or found.record() == simulated.values.get(known)
        finally:
            os.close(slots[0].descriptor)


@pytest.mark.parametrize("writes", [0, 1])
def test_a_quiet_read_is_kept_until_any_worker_writes(slots: list[WorkerSlot], writes: int) -> None:
    caches = one, two = [SharedCache(LIMIT, Versions(slot)) for slot in slots[:2]]
    keep(one, b"key", b"old")
    keep(two, b"key", b"old")
    assert one.get(b"key") == two.get(b"key") == kept(b"old")
    mark = caches[writes].begin_write([b"key"])
    assert one.get(b"key") is two.get(b"key") is None
    keep(one, b"key", b"of the time of the write")
    assert one.get(b"key") is None
    caches[writes].end_write(mark)
    assert one.get(b"key") is None
    keep(one, b"key", b"new")
    assert one.get(b"key") == kept(b"new")


@pytest.mark.parametrize("write_begins_first", [False, True])
@pytest.mark.parametrize("write_ends_first", [False, True])
def test_a_read_beside_a_write_is_not_kept(
    slots: list[WorkerSlot], write_begins_first: bool, write_ends_first: bool
) -> None:
    reader, writer = (SharedCache(LIMIT, Versions(slot)) for slot in slots[:2])
    if write_begins_first:
        writing = writer.begin_write([b"key"])
        reading = reader.begin_read([b"key"])
    else:
        reading = reader.begin_read([b"key"])
        writing = writer.begin_write([b"key"])
    if write_ends_first:
        writer.end_write(writing)
        reader.end_read(reading, [(b"key", record(b"value"))])
    else:
        reader.end_read(reading, [(b"key", record(b"value"))])
        writer.end_write(writing)
    assert reader.get(b"key") is None


def test_what_a_dead_worker_was_writing_is_not_kept_again(slots: list[WorkerSlot]) -> None:
    one, two = (SharedCache(LIMIT, Versions(slot)) for slot in slots[:2])
    two.begin_write([b"key"])
    two = SharedCache(LIMIT, Versions(slots[1]))
    for cache in (one, two):
        cache.end_write(cache.begin_write([b"key", b"other"]))
    for cache in (one, two):
        keep(cache, b"key", b"value")
        keep(cache, b"other", b"value")
        assert cache.get(b"key") is None
        assert cache.get(b"other") == kept(b"value")


@pytest.mark.slow
def test_no_more_is_kept_than_there_is_room_for_though_nobody_drops_what_was_replaced(slots: list[WorkerSlot]) -> None:
    cache = SharedCache(LIMIT, Versions(slots[0]))
    for _ in range(20_000):
        cache.end_write(cache.begin_write([b"key"]))
        keep(cache, b"key", b"value")
        keep(cache, b"other", b"value")
        assert cache.get(b"key") == cache.get(b"other") == kept(b"value")
    assert len(cache._young) + len(cache._old) < LIMIT / 200


def test_without_shared_memory_the_workers_keep_nothing_and_say_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(count: int) -> None:
        raise OSError(f"no memory for {count}")

    monkeypatch.setattr(pool, "share_versions", fail)
    assert pool._slots(2, ExitStack()) == [None, None]
    assert "no memory for 2" in caplog.text
