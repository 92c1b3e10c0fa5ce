"""Writes that are done together or not at all, gathered before anything is sent."""

from collections.abc import Sequence
from typing import Any

from kvd.client import replies, requests
from kvd.client.arguments import Seconds, Value
from kvd.client.lines import Reply
from kvd.client.requests import Request


class Transaction:
    """What is to be done together.

    revision: int, the last revision that it took, once it is done; 0 before.  Without a change it is the store's.
    """

    def __init__(self) -> None:
        self.revision = 0
        self._parts: list[Request[Any]] = []

    def check(self, pattern: str, *, if_revision: int | str | None = None, since: str | None = None) -> None:
        """Demand something, and change nothing: that the key is there.

        if_revision: that it has this revision; 0: that there is no such key, or none that matches.
        since: that nothing that matches has changed after this position.
        """
        self._parts.append(requests.check(pattern, if_revision, since))

    def set(
        self, key: str, value: Value, *, ttl: Seconds | None = None, owner: str | None = None,
        if_revision: int | str | None = None,
    ) -> None:  # fmt: skip
        """Set the key."""
        self._parts.append(requests.set(key, value, ttl, owner, if_revision))

    def append(self, prefix: str, value: Value, *, ttl: Seconds | None = None, owner: str | None = None) -> None:
        """Set a new key, after all that were made of this prefix; its revision is a part of its name."""
        self._parts.append(requests.append(prefix, value, ttl, owner))

    def delete(self, key: str, *, if_revision: int | str | None = None) -> None:
        """Delete the key, if it is there."""
        self._parts.append(requests.delete(key, if_revision))

    def touch(self, key: str, ttl: Seconds | None, *, if_revision: int | str | None = None) -> None:
        """Give the key another time to live, if it is there."""
        self._parts.append(requests.touch(key, ttl, if_revision))

    def incr(self, key: str, n: int = 1) -> None:
        """Add n to the number that the key holds."""
        self._parts.append(requests.incr(key, n))

    def _request(self) -> Request[int]:
        """All of it, to be sent in one piece: nothing of another caller comes between."""
        data = b"".join((b"BEGIN\n", *(part.data for part in self._parts), b"COMMIT\n"))
        return _Commit(
            data, replies.revision, is_write=any(part.is_write for part in self._parts), replies=len(self._parts) + 2
        )


def request_of(transaction: Transaction) -> Request[int]:
    """What does a transaction."""
    return transaction._request()


class _Commit(Request[int]):
    """BEGIN, what is queued, and COMMIT."""

    __slots__ = ()

    def result(self, came: Sequence[Reply]) -> int:
        """What COMMIT says; raises the first refusal of what was queued."""
        begun, *queued, committed = came
        replies.answer(begun, replies.ok)
        for reply in queued:
            replies.answer(reply, replies.queued)
        return replies.answer(committed, self.read)
