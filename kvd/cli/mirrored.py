"""The store into which mirror writes: what it writes is done together with the position up to which it is done."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from kvd.backoff import Backoff
from kvd.cli.output import say
from kvd.cli.status import REFUSED, USAGE, Failure
from kvd.client import Client, Conflict, Copy, Event, ProtocolError
from kvd.errors import ConnectionLost, Unavailable, Uncertain

Result = TypeVar("Result")

OWN = "kvctl-mirror/"
"""What the keys begin with in which positions are kept; they are never mirrored."""
MOST = 120
"""Writes in a transaction, beside that of the position: 128 may be in one."""
MOST_BYTES = 900_000
"""Of keys and values in a transaction, in which a mebibyte may be."""
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 10.0
"""Seconds before it is tried again."""


class Mirrored:
    """A destination.

    position: str or None, that of the source up to which all is done here, as this mirror has it in the store.

    The key that holds it also says whose it is: each mirror claims it before it writes anything.  From then on what an
    earlier one has sent, which was killed, or still goes on, does not come to be done any more.
    """

    def __init__(self, kv: Client, pattern: str) -> None:
        self._kv, self._pattern = kv, pattern
        self._key = OWN + pattern.replace("%", "%25").replace("*", "%2A")
        self._claim = secrets.token_hex(8)
        self._revision = 0
        self.position: str | None = None

    async def begin(self, *, replace: bool) -> None:
        """Find where an earlier mirror has come to, and go on for it.

        replace: bool, whether a first copy may change what is there.  Raises Failure, KvdError.
        """
        while True:
            item = await self._kv.gets(self._key)
            if item is None and not replace:
                await self._check_empty()
            self._revision = item.revision if item else 0
            position = item.value.decode(errors="replace").partition(" ")[0] if item else ""
            self.position = position or None
            if await self._is_committed([], position):
                return

    async def _check_empty(self) -> None:
        async for key in self._kv.keys(self._pattern):
            if not key.startswith(OWN):
                raise Failure(
                    USAGE, f"there are keys that match {self._pattern} in the destination, such as {key};"
                    " with --replace they are made what the source has, and the others deleted",
                )  # fmt: skip

    async def copy(self, copy: Copy) -> int:
        """Make what matches the same as a copy; return how many writes that takes."""
        writes = await _insist(lambda: self._missing(copy))
        for some in portions(writes):
            await self._commit(some, None)
        await self._commit([], copy.position)
        return len(writes)

    async def _missing(self, copy: Copy) -> list[Event]:
        """What is to be written, so that it is the same."""
        left = {key: item.value for key, item in copy.items.items() if not key.startswith(OWN)}
        writes: list[Event] = []
        async for key, value, *_ in self._kv.list(self._pattern):
            if key.startswith(OWN):
                continue
            if key not in left:
                writes.append(Event("", 0, "DEL", key, None))
            elif left[key] == value:
                del left[key]
        return writes + [Event("", 0, "SET", key, value) for key, value in left.items()]

    async def apply(self, changes: Sequence[Event]) -> int:
        """Do changes, and move the position on; return how many of them there were."""
        count = 0
        for some in portions(changes):
            writes = [change for change in some if not change.key.startswith(OWN)]
            await self._commit(writes, some[-1].position)
            count += len(writes)
        return count

    async def move(self, position: str) -> None:
        """Move the position on: nothing that matches has changed."""
        await self._commit([], position)

    async def _commit(self, writes: Sequence[Event], position: str | None) -> None:
        """Do it, however long it takes.  Raises Failure, Refusal.  position: None, to leave it."""
        if not await self._is_committed(writes, position):
            raise Failure(REFUSED, f"another mirror writes here, too: it has changed {self._key}")

    async def _is_committed(self, writes: Sequence[Event], position: str | None) -> bool:
        """Do it, however long it takes, unless somebody else has changed the position: then return False."""
        return await _insist(lambda: self._try(writes, position))

    async def _try(self, writes: Sequence[Event], position: str | None) -> bool:
        """Of all attempts one is done at the most, for each finds the position's revision another."""
        if len(writes) == 1 and size(writes[0]) > MOST_BYTES:
            await self._kv.set(writes[0].key, writes[0].value or b"")
            writes = []
            if position is None:
                return True
        try:
            async with self._kv.transaction() as together:
                together.check(self._key, if_revision=self._revision)
                for write in writes:
                    if write.value is None:
                        together.delete(write.key)
                    else:
                        together.set(write.key, write.value)
                if position is not None:
                    together.set(self._key, self._value(position))
        except Conflict:
            return await self._was_done(position)
        if position is not None:
            self._done(together.revision, position)
        return True

    async def _was_done(self, position: str | None) -> bool:
        """Whether an attempt of unknown outcome was done after all."""
        item = await self._kv.gets(self._key)
        if position is None or item is None or item.value != self._value(position).encode():
            return False
        self._done(item.revision, position)
        return True

    def _value(self, position: str) -> str:
        return f"{position} {self._claim}"

    def _done(self, revision: int, position: str) -> None:
        self._revision, self.position = revision, position or None


async def _insist(attempt: Callable[[], Awaitable[Result]]) -> Result:
    """Attempt it until no connection is lost over it.  Raises Failure, Refusal, ProtocolError."""
    pauses = Backoff(FIRST_PAUSE, LONGEST_PAUSE, jitter=True)
    while True:
        try:
            return await attempt()
        except ProtocolError:
            raise
        except (ConnectionLost, Unavailable, Uncertain) as error:
            say(f"{error}; trying again")
            await asyncio.sleep(error.retry or pauses.next())


def size(write: Event) -> int:
    """Bytes of a key and its value."""
    return len(write.key.encode()) + len(write.value or b"")


def portions(writes: Sequence[Event]) -> list[list[Event]]:
    """Part writes into those that fit into a transaction; a value of the greatest length stands alone."""
    parts: list[list[Event]] = []
    room = count = 0
    for write in writes:
        if not count or size(write) > room:
            parts.append([])
            room, count = MOST_BYTES, MOST
        parts[-1].append(write)
        room, count = room - size(write), count - 1
    return parts
