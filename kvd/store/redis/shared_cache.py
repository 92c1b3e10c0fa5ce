"""The read cache of one of several workers: each says in memory that all of them share which keys it writes to.

Keys fall into buckets.  Each worker counts how often it has begun to write to a bucket, and how often such a write was
acknowledged (or is certain not to be done); the counts of all workers are the bucket's version.  What was read is kept
under the version of before the read was sent, if no write was in flight then, and is found until any worker begins to
write there, which changes the version.  It is what the Linux kernel calls a sequence counter, with the reader's retry
left to the store.
"""

import mmap
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple
from zlib import crc32

from kvd.model import Kept, Record
from kvd.process.shared_bytes import share
from kvd.store.redis.cache import Cache

BUCKETS = 65_536
"""Of keys.  A write makes the workers forget a whole bucket; a full cache has a few keys in each."""
COUNT_BYTES = 8
"""Of one count; it is written as a whole."""


class WorkerSlot(NamedTuple):
    """Where a worker counts, in words that can be handed to its process.

    descriptor: int, a file of the shared memory.  number: int, which of `workers` it is, from 0.
    """

    descriptor: int
    workers: int
    number: int


def share_versions(workers: int) -> list[WorkerSlot]:
    """Memory for the versions, which lives as long as a process has it open; the slots of all workers."""
    descriptor = share("kvd-versions", BUCKETS * 2 * COUNT_BYTES * workers)
    return [WorkerSlot(descriptor, workers, number) for number in range(workers)]


class Versions:
    """The versions of all buckets, as one worker sees and makes them.

    A worker that died while it wrote has left counts that differ, for its last bytes may still be on their way to the
    store: what is in those buckets, as many as it wrote keys at that moment, is not kept again until all start anew.
    """

    def __init__(self, slot: WorkerSlot) -> None:
        self._memory = mmap.mmap(slot.descriptor, 0)
        self._counts = memoryview(self._memory).cast("Q")
        self._begun = slot.number
        self._ended = slot.workers + slot.number
        self._half = COUNT_BYTES * slot.workers
        self._width = 2 * self._half

    def of(self, key: bytes) -> bytes:
        """The version of a key's bucket: how many writes each worker has begun there, and then, has ended."""
        start = crc32(key) % BUCKETS * self._width
        return self._memory[start : start + self._width]

    def is_quiet(self, version: bytes) -> bool:
        """Whether no write was in flight."""
        return version[: self._half] == version[self._half :]

    def begin(self, buckets: Iterable[int]) -> None:
        """Count writes that begin."""
        self._count(buckets, self._begun)

    def end(self, buckets: Iterable[int]) -> None:
        """Count writes that have ended."""
        self._count(buckets, self._ended)

    def buckets(self, keys: Iterable[bytes]) -> Collection[int]:
        """Those that keys fall into."""
        return {crc32(key) % BUCKETS for key in keys}

    def _count(self, buckets: Iterable[int], place: int) -> None:
        row = self._width // COUNT_BYTES
        for bucket in buckets:
            self._counts[bucket * row + place] += 1


class SharedCache(Cache):
    """That of a process beside others that write to the same store.

    A value is kept by its bucket's version and its key.  So it is found until the version changes, and nobody has to
    drop it.
    """

    def __init__(self, limit: int, versions: Versions) -> None:
        super().__init__(limit)
        self._versions = versions

    def get(self, key: bytes) -> Kept | None:
        """What is kept of a key."""
        return super().get(self._versions.of(key) + key)

    def begin_read(self, keys: Iterable[bytes]) -> Mapping[bytes, bytes]:
        """See `Cache`."""
        return {key: self._versions.of(key) for key in keys}

    def end_read(self, reading: Mapping[bytes, bytes], found: Iterable[tuple[bytes, Record | None]] = ()) -> None:
        """See `Cache`."""
        for key, record in found:
            if record is not None and self._versions.is_quiet(reading[key]):
                self._keep(reading[key] + key, record)

    def begin_write(self, keys: Iterable[bytes]) -> Collection[int]:
        """See `Cache`."""
        buckets = self._versions.buckets(keys)
        self._versions.begin(buckets)
        return buckets

    def end_write(self, writing: Collection[int]) -> None:
        """See `Cache`."""
        self._versions.end(writing)
