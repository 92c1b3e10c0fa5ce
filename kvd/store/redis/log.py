"""The store's history: its log, read forwards from a place in it."""

import asyncio
import re
import secrets
from collections.abc import Callable, Sequence
from typing import Any

from kvd.errors import ANEW, Compacted, Future, OtherStore, StoreLost
from kvd.model import UNKNOWN, Change, Entry, Position
from kvd.store.redis.batching import REPLY_TIMEOUT
from kvd.store.redis.connection import BIG, LOG, META, Argument, Connection, Rejected, command, script
from kvd.store.redis.entries import SMALL, change_of, fill, key_of, moment_of, read_entry, references

PAGE_CHANGES = 1000
"""Changes in a page of the history, and
PAGE_BYTES: bytes in it, the last entry excepted: a page keeps Redis from other work for less than 5 ms."""
PAGE_BYTES = 512 * 1024
KEYS_ENTRIES = 1000
"""Log entries in a page of keys alone, and
KEYS_CHANGES: changes in it: many of one entry take Redis hardly more than few."""
KEYS_CHANGES = 4000

META_COMMAND = command("HMGET", META, "revision", "store", "floor")

_FLAGS = re.compile(rb" [^\n]*").sub


def read_meta(reply: list[Any]) -> tuple[Position, int]:
    """The position and the compaction floor from META_COMMAND's reply.  Raises StoreLost."""
    revision, store, floor = reply
    if store is None:
        raise StoreLost("the store is empty: kvd's keys were deleted")
    return Position(int(revision), store), int(floor)


def check(asked: Position, here: Position, floor: int) -> None:
    """Whether all that came after a position is kept.  Raises OtherStore, Future, Compacted."""
    if asked.store != here.store:
        raise OtherStore(f"the history is that of {here.store.decode()}{ANEW}")
    if asked.revision > here.revision:
        raise Future(f"the store is at {here.revision}, and has not come so far")
    if asked.revision < floor:
        raise _compacted(here.store, floor)


def _compacted(store: bytes, floor: int) -> Compacted:
    return Compacted(f"{floor}@{store.decode()} is the oldest that is kept{ANEW}")


def page_command(after: Position, *, values: bool) -> bytes:
    """Asks for the page of the history after a position.  values: also those that are kept apart."""
    arguments: list[Argument] = [after.revision, after.store, PAGE_CHANGES, PAGE_BYTES, int(values)]
    return script("history", [BIG, LOG, META], arguments)


def read_page(after: Position, reply: list[Any]) -> list[Change]:
    """The changes of a page.  Raises OtherStore, Future, Compacted."""
    _, store, revision, floor, *entries = reply
    check(after, Position(int(revision), store), int(floor))
    changes = [change for raw in entries for change in read_entry(raw).changes]
    # A position may lie within an entry.
    return changes if not changes or changes[0].revision > after.revision else _after(changes, after.revision)


def keys_command(store: bytes, revision: int) -> bytes:
    """Asks for the keys of the changes just before a revision."""
    return script("keys_before", [LOG, META], [revision, store, KEYS_ENTRIES, KEYS_CHANGES, PAGE_BYTES])


def read_keys(store: bytes, revision: int, reply: list[Any]) -> tuple[list[bytes], bytes]:
    """The keys of those changes in order, and a byte for each: 1 if the next one belongs to the same transaction.

    Raises OtherStore, and Compacted if there are none.
    """
    _, here, _, floor, *entries = reply
    check(Position(0, store), Position(0, here), 0)
    names = _FLAGS(b"", b"".join([entry[1] for entry in reversed(entries)])).split(b"\n")[:-1]
    if entries:
        last = int(entries[0][0].partition(b"-")[0])
        names = names[: max(len(names) - (last + 1 - revision), 0)]
    if not names:
        raise _compacted(store, int(floor))
    return [name[1:] for name in names], bytes([name[0] < SMALL for name in names])


def changes_command(store: bytes, revisions: Sequence[int], *, values: bool) -> bytes:
    """Asks for some changes.  values: also those that are kept apart."""
    return script("changes_at", [BIG, LOG, META], [store, PAGE_BYTES, int(values), *revisions])


def read_changes(store: bytes, revisions: Sequence[int], reply: list[Any]) -> list[Change]:
    """The first of those changes.  Raises OtherStore, and Compacted if not even one is kept."""
    word, here, last, floor, *flat = reply
    check(Position(0, store), Position(int(last), here), 0)
    if word == b"COMPACTED":
        raise _compacted(store, int(floor))
    changes = []
    moment = UNKNOWN
    for revision, name, value, transaction, entry in zip(
        revisions, flat[::4], flat[1::4], flat[2::4], flat[3::4], strict=False
    ):
        if entry:
            last, _, tag = entry.partition(b" ")
            moment = moment_of(int(last), tag)
        changes.append(change_of(revision, name, value, int(transaction or b"0"), moment))
    return changes


def _after(changes: list[Change], revision: int) -> list[Change]:
    return changes[revision + 1 - changes[0].revision :]


def rewind_command(store: bytes, run: str = "", *, synced: bool = False) -> bytes:
    """Gives the store another id, if it still has this one, and notes the engine's run, if given."""
    return script("rewind", [LOG, META], [store, secrets.token_hex(4), run, int(synced)])


def tag_command(revision: int) -> bytes:
    """Asks for the entry that ends at a revision."""
    return command("XRANGE", LOG, f"{revision}-0", f"{revision}-0")


def tag_of(reply: list[Any]) -> bytes | None:
    """The tag of that entry, None if it is not kept."""
    return reply[0][1][1] if reply else None


class ChangeLogConnection:
    """A connection of its own for `changes.Follower`, which may wait on it.  All raise StoreLost."""

    def __init__(
        self, connection: Connection, is_written: Callable[[], bool], seen: Callable[[int], None],
        wants_value: Callable[[bytes], bool],
    ) -> None:  # fmt: skip
        """is_written: whether this daemon has writes in flight.  seen: told of every revision that is read.

        wants_value: whether anybody wants the values of a key that are kept apart.
        """
        self._connection = connection
        self._seen = seen
        self._wants_value = wants_value
        self.is_written = is_written

    async def read_log(self, after: int, count: int, block: int) -> list[Entry]:
        """At most `count` entries after a revision; waits `block` ms for one."""
        packed = command("XREAD", "COUNT", count, "BLOCK", block, "STREAMS", LOG, f"{after}-0")
        reply = await self._call(packed, block / 1000)
        if reply:
            self._seen(int(reply[0][1][-1][0].partition(b"-")[0]))
        return await self._entries(reply[0][1]) if reply else []

    async def _entries(self, raws: list[Any]) -> list[Entry]:
        """Log entries as Redis gives them, once those values that they refer to and that are wanted are in them."""
        found = [reference for raw in raws for reference in references(raw)]
        wanted = [one for one in found if self._wants_value(key_of(one))]
        if wanted:
            fill(wanted, await self._call(command("HMGET", BIG, *[revision for _, _, revision in wanted])))
        return [read_entry(raw) for raw in raws]

    async def tag_at(self, revision: int) -> bytes | None:
        """The tag of the entry that ends at a revision, if it is kept."""
        return tag_of(await self._call(tag_command(revision)))

    async def where(self) -> Position:
        """The store's position."""
        return read_meta(await self._call(META_COMMAND))[0]

    async def replace_history(self, store: bytes) -> None:
        """Give the store another id, if it still has this one: its history was rewound."""
        await self._call(rewind_command(store))

    async def close(self) -> None:
        """Close the connection."""
        await self._connection.close()

    async def _call(self, packed: bytes, longer: float = 0) -> Any:
        try:
            async with asyncio.timeout(REPLY_TIMEOUT + longer):
                return await self._connection.call(packed)
        except (Rejected, TimeoutError) as error:
            raise StoreLost(str(error) or f"no answer within {REPLY_TIMEOUT:.0f} s") from None
