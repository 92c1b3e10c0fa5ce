"""SYNC's copy: page by page, each after what happened meanwhile to the keys of the pages before it.

A page is exact at its own position only.  So before a further page is taken over, the changes between the two
positions are, as far as they are of keys already copied: then the copy so far is exact at the later position.  The
pairs alone were measured to be wrong nearly always under load; and so the history is needed for one page's time only.
"""

from collections.abc import AsyncIterator
from typing import Any, Protocol

from kvd.errors import OtherStore
from kvd.model import Change, Patterns, Position, Record
from kvd.requests import KeyRange
from kvd.wire import replies


class Store(Protocol):
    """See `store.Store`.  Both raise Unavailable."""

    def pages(
        self, page: KeyRange, *, records: bool, due: bool
    ) -> AsyncIterator[tuple[Position, list[tuple[bytes, Any]]]]:
        """The keys that match, page by page; at least one page."""

    async def changes_after(self, position: Position, *, copying: bool) -> list[Change]:
        """The next page of the history.  Raises OtherStore, Future, Compacted."""


class _Copied:
    """The keys that are copied so far: all of some patterns, and of one more those up to a key."""

    def __init__(self, patterns: Patterns) -> None:
        self._patterns = patterns
        self._done: set[bytes] = set()
        self._pattern = b""
        self._last = b""

    def begin(self, pattern: bytes) -> None:
        """The next pattern's keys come; the one before it is done."""
        self._done.add(self._pattern)
        self._pattern, self._last = pattern, b""

    def reach(self, key: bytes) -> None:
        """All up to a key are copied."""
        self._last = key

    def __contains__(self, key: bytes) -> bool:
        pattern = self._patterns.find(key)
        return pattern in self._done or (pattern == self._pattern and key <= self._last)


async def copy(store: Store, patterns: Patterns) -> AsyncIterator[tuple[Position, list[bytes]]]:
    """SYNC's item lines in portions, each with the position at which the copy so far is exact.  Raises a `Refusal`."""
    copied = _Copied(patterns)
    position: Position | None = None
    for pattern in patterns.words:
        copied.begin(pattern)
        async for there, items in store.pages(KeyRange(pattern), records=True, due=True):
            while position and position != there:
                position, lines = await _step(store, position, there, copied)
                yield position, lines
            position = there
            yield position, [replies.pair(key, record) for key, record in items]
            if items:
                copied.reach(items[-1][0])


async def _step(store: Store, position: Position, there: Position, copied: _Copied) -> tuple[Position, list[bytes]]:
    """One page of what happened from a position on, not after another, to the keys copied so far."""
    changes = await store.changes_after(position, copying=True)
    changes = [change for change in changes if change.revision <= there.revision]
    if not changes:
        raise OtherStore("the store's history was replaced under the copy; begin again")
    lines = [_line(change) for change in changes if change.key in copied]
    return Position(changes[-1].revision, position.store), lines


def _line(change: Change) -> bytes:
    if change.verb != b"SET":
        return replies.gone(change.key, change.revision)
    return replies.pair(change.key, Record(b"%d" % change.revision, b"0", change.kind, change.value))
