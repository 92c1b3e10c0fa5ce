"""Groups that write and read: first all writes go to the store together, and when they are done all reads.

So a read sees what was written before it, on whatever connection.  What it must not see, because it comes after it, is
in another group: a write of the same key, or one that may change more than its own key.  When each change from reads to
writes began a new group, 16 requests in a chunk waited for the store eight times.
"""

from collections import deque
from collections.abc import Sequence
from typing import Any

from kvd.requests import NUMBERED, Increment, Put
from kvd.verbs import Kind, Verb

Parsed = tuple[Verb, Any]
"""A verb and its request."""


class Mixture:
    """What a group has that writes and reads, as far as that decides what else may belong to it."""

    def __init__(self, group: Sequence[Parsed]) -> None:
        """group: requests that only write, or only read."""
        self._keys: set[bytes] = set()
        self._any_ttl = False
        for verb, request in group:
            if verb.kind is Kind.READ:
                self._add(verb, request)

    def takes(self, kind: Kind | None, verb: Verb, request: Any) -> bool:
        """Whether a request belongs to the group, too.  kind: to the groups of which kind it may belong at all."""
        if kind is Kind.READ:
            self._add(verb, request)
            return True
        return kind is Kind.WRITE and (not self._keys or self._may_come_first(request))

    def _add(self, verb: Verb, request: Any) -> None:
        self._keys.add(request.key)
        self._any_ttl |= not verb.wants_value

    def _may_come_first(self, write: Any) -> bool:
        """Whether all reads of the group give the same when a write is done before them."""
        # A key that others live with gives them its time to live, and takes them along when it goes.
        is_of_one_key = isinstance(write, Increment) or (
            isinstance(write, Put) and not write.owner and write.condition != NUMBERED
        )
        return is_of_one_key and not self._any_ttl and write.key not in self._keys


class Mixed:
    """The group of one connection that is being answered, if it writes and reads."""

    def __init__(self) -> None:
        self._group: Sequence[Parsed] = ()
        # For each of its requests that is not answered yet the reply, None for one that reads.
        self._replies: deque[bytes | None] = deque()

    def begin(self, group: Sequence[Parsed]) -> list[Parsed]:
        """Its writes, which are to be done first."""
        self._group = group
        return [one for one in group if one[0].kind is Kind.WRITE]

    def reads(self, written: Sequence[bytes]) -> list[Parsed]:
        """Its reads, which are to be done now; none, if it only writes.  written: the replies to the writes."""
        group, self._group = self._group, ()
        given = iter(written if group else ())
        self._replies.extend([next(given) if verb.kind is Kind.WRITE else None for verb, _ in group])
        return [one for one in group if one[0].kind is Kind.READ]

    def weave(self, given: Sequence[bytes]) -> Sequence[bytes]:
        """Replies to the next reads, and those to the writes before them; after the last one all."""
        if not self._replies:
            return given
        woven: list[bytes] = []
        for reply in given:
            self._take_writes(woven)
            self._replies.popleft()
            woven.append(reply)
        if None not in self._replies:
            self._take_writes(woven)
        return woven

    def _take_writes(self, woven: list[bytes]) -> None:
        while self._replies and (reply := self._replies[0]) is not None:
            woven.append(reply)
            self._replies.popleft()
