"""SYNC's copy: page by page, each behind what happened meanwhile to the keys of the pages before it.

A page is exact at its own position only.  So before a further page is taken over, the changes between the two
positions are, as far as they are of keys already copied: then the copy so far is exact at the later position.  The
pairs alone were measured to be wrong nearly always under load; and so the history is needed for one page's time only.
"""

from collections.abc import AsyncIterator
from typing import Any, Protocol

from kvd.errors import OtherStore
from kvd.model import Change, Page, Patterns, Position, Record
from kvd.wire import replies


class Store(Protocol):
    """See `store.Store`.  Both raise Unavailable."""

    def pages(self, page: Page, *, records: bool, due: bool) -> AsyncIterator[tuple[Position, list[tuple[bytes, Any]]]]:
        """The keys that match, page by page; at least one page."""

    async def changes_after(self, position: Position, *, copying: bool) -> list[Change]:
        """The next page of the history.  Raises OtherStore, Future, Compacted."""


async def copy(store: Store, patterns: tuple[bytes, ...]) -> AsyncIterator[tuple[Position, list[bytes]]]:
    """SYNC's item lines in portions, each with the position at which the copy so far is exact.  Raises a `Refusal`."""
    done = Patterns(())
    position: Position | None = None
    for pattern in disjoint(patterns):
        last = b""
        async for there, items in store.pages(Page(pattern), records=True, due=True):
            while position and position != there:
                position, lines = await _step(store, position, there, done, pattern, last)
                yield position, lines
            position = there
            yield position, [replies.pair(key, record) for key, record in items]
            if items:
                last = items[-1][0]
        done = done.also(pattern)


async def _step(
    store: Store, position: Position, there: Position, done: Patterns, pattern: bytes, last: bytes
) -> tuple[Position, list[bytes]]:
    """One page of what happened from a position on, not behind another, to the keys copied so far."""
    changes = await store.changes_after(position, copying=True)
    changes = [change for change in changes if change.revision <= there.revision]
    if not changes:
        raise OtherStore("the store's history was replaced under the copy; begin again")
    now = Patterns((pattern,))
    lines = [
        _line(change) for change in changes if done.match(change.key) or (change.key <= last and now.match(change.key))
    ]
    return Position(changes[-1].revision, position.store), lines


def _line(change: Change) -> bytes:
    if change.verb != b"SET":
        return replies.gone(change.key, change.revision)
    return replies.pair(change.key, Record(b"%d" % change.revision, b"0", change.kind, change.value))


def disjoint(patterns: tuple[bytes, ...]) -> list[bytes]:
    """The patterns without those that another one covers, so that no key is copied twice."""
    prefixes = sorted({pattern[:-1] for pattern in patterns if pattern.endswith(b"*")})
    shortest: list[bytes] = []
    for prefix in prefixes:
        if not shortest or not prefix.startswith(shortest[-1]):
            shortest.append(prefix)
    covered = tuple(shortest)
    exact = {pattern for pattern in patterns if not pattern.endswith(b"*") and not pattern.startswith(covered)}
    return sorted(prefix + b"*" for prefix in shortest) + sorted(exact)
