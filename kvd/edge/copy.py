"""The copy: every key with its record, in the order of the keys' bytes.  Pure and synchronous."""

from collections.abc import Callable, Sequence
from typing import Any

from sortedcontainers import SortedList

from kvd.model import Change, Record
from kvd.requests import KeyRange

PAGE_KEYS = 200
"""Keys in a page, and
PAGE_BYTES: bytes of their values, the last one excepted."""
PAGE_BYTES = 256 * 1024
PAGE_LOOKS = 2000
"""Keys that are looked at for a page: about a millisecond."""
KEY_BYTES = 400
"""Memory of a key beyond its own bytes and its value."""
_AFTER_ALL = b"\xff"

Bound = tuple[bytes, bool]
"""A key, and whether it is within."""


def within(wanted: KeyRange) -> tuple[Bound, Bound]:
    """Between which bounds the keys of a range are."""
    least, most = bounds(wanted.pattern)
    after, prefix = wanted.after, len(wanted.pattern.removesuffix(b"*"))
    if wanted.fold and after.find(wanted.fold, prefix) == len(after) - len(wanted.fold) >= prefix:
        # It stands for all keys that begin with it.
        after += _AFTER_ALL
    if after and after >= least[0]:
        least = after, False
    if wanted.before and wanted.before <= most[0]:
        most = wanted.before, False
    return least, most


def bounds(pattern: bytes) -> tuple[Bound, Bound]:
    """Those of a pattern: keys are UTF-8, in which there is no byte 0xFF."""
    if pattern.endswith(b"*"):
        return (pattern[:-1], True), (pattern[:-1] + _AFTER_ALL, False)
    return (pattern, True), (pattern, True)


class Copy:
    """Keys and their records.

    size: int, bytes that it takes, roughly.
    """

    def __init__(self) -> None:
        self._records: dict[bytes, Record] = {}
        self._keys: SortedList[bytes] = SortedList()
        self._is_sorted = True
        self.size = 0
        self.get: Callable[[bytes], Record | None] = self._records.get

    def __len__(self) -> int:
        return len(self._records)

    # ---- what it is made of

    def begin(self) -> None:
        """Many keys will come, in any order."""
        self._is_sorted = False

    def end(self) -> None:
        """They have come."""
        self._keys = SortedList(self._records)
        self._is_sorted = True

    def put(self, key: bytes, record: Record) -> None:
        """Set a key."""
        before = self._records.get(key)
        self._records[key] = record
        if before is None:
            self.size += KEY_BYTES + 2 * len(key) + len(record.value)
            if self._is_sorted:
                self._keys.add(key)
        else:
            self.size += len(record.value) - len(before.value)

    def remove(self, key: bytes) -> None:
        """Remove a key; nothing happens if it is not there."""
        before = self._records.pop(key, None)
        if before is not None:
            self.size -= KEY_BYTES + 2 * len(key) + len(before.value)
            if self._is_sorted:
                self._keys.remove(key)

    def apply(self, changes: Sequence[Change]) -> None:
        """Do what changes say."""
        for change in changes:
            if change.verb == b"SET":
                revision, owner = b"%d" % change.revision, change.owner
                self.put(change.key, Record(revision, b"0", change.kind, change.value, owner=owner))
            else:
                self.remove(change.key)

    # ---- what is asked of it

    def count(self, pattern: bytes) -> int:
        """How many keys match."""
        if not pattern.endswith(b"*"):
            return int(pattern in self._records)
        if pattern == b"*":
            return len(self._records)
        return self._keys.bisect_left(pattern[:-1] + _AFTER_ALL) - self._keys.bisect_left(pattern[:-1])

    def page(
        self, wanted: KeyRange, least: Bound, most: Bound, limit: int, *, records: bool
    ) -> tuple[list[tuple[bytes, Any]], bytes]:
        """Some keys between bounds, `limit` at the most; and the place after which the next ones are, b"" at the end.

        A folded line has no record.
        """
        items: list[tuple[bytes, Any]] = []
        size = looks = 0
        prefix = len(wanted.pattern.removesuffix(b"*"))
        limit = min(limit, PAGE_KEYS)
        while True:
            folded = b""
            for key in self._keys.irange(least[0], most[0], (least[1], most[1]), reverse=wanted.reverse):
                looks += 1
                record = self._records[key]
                if wanted.owner and record.owner != wanted.owner:
                    if looks >= PAGE_LOOKS:
                        return items, key
                    continue
                folded = _folded(key, wanted.fold, prefix)
                items.append((folded or key, record if records and not folded else None))
                size += len(record.value) if records else 0
                if len(items) >= limit or size >= PAGE_BYTES or looks >= PAGE_LOOKS:
                    return items, folded + _AFTER_ALL if folded and not wanted.reverse else folded or key
                if folded:
                    break
            if not folded:
                return items, b""
            least, most = (least, (folded, False)) if wanted.reverse else ((folded + _AFTER_ALL, False), most)

    def records(self, keys: Sequence[bytes]) -> list[tuple[bytes, Record | None]]:
        """The records of the first of some keys, at least one."""
        items: list[tuple[bytes, Record | None]] = []
        size = 0
        for key in keys:
            record = self.get(key)
            items.append((key, record))
            size += len(record.value) if record else 0
            if size >= PAGE_BYTES:
                break
        return items


def _folded(key: bytes, fold: bytes, prefix: int) -> bytes:
    """What a key begins with, up to the end of the first of a text that comes after a prefix; b"" if it does not."""
    place = key.find(fold, prefix) if fold else -1
    return key[: place + len(fold)] if place >= 0 else b""
