"""Filling an empty store with the keys of a backup.

meta, without which there is no store, comes last: one that is not whole is never taken for a store.  The change log is
empty, and revisions jump as after any other loss of history (rewind.lua): none is used twice, whatever the store of
the backup came to after it.
"""

import asyncio
import secrets
import time
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

from kvd.backup_file import Entry
from kvd.errors import StartError
from kvd.model import TEXT
from kvd.store.redis import flags
from kvd.store.redis.connection import BIG, DATA, INDEX, META, OWNED, TTL, Argument, Connection, Rejected, command
from kvd.store.redis.digest import LARGE
from kvd.store.redis.engine import ask
from kvd.store.redis.records import pack
from kvd.store.redis.scripts import LAYOUT
from kvd.wire.words import kind_of

STEP = 4_000_000_000
"""Of revisions, as in rewind.lua."""
REVISIONS = 2**53
REWRITE_PAUSE = 0.05
"""Seconds between looks whether the append-only file is written anew."""


class Restoring:
    """One empty store: `put` all keys, those that live with others last, and `finish`."""

    def __init__(self, connection: Connection, advance: Callable[[int], object]) -> None:
        self._connection = connection
        self._advance = advance

    async def put(self, entries: Sequence[Entry]) -> None:
        """Write keys.  Raises StartError if one lives with a key that is not there; StoreLost, TimeoutError."""
        now = time.time_ns() // 1_000_000
        records: list[Argument] = []
        apart: list[Argument] = []
        deadlines: list[Argument] = []
        owned: list[Entry] = []
        for entry in entries:
            deadline = now + 1 + entry.life if entry.life else 0
            kind = TEXT if entry.is_plain else kind_of(entry.value)
            records += entry.key, pack(entry.revision, deadline, kind, entry.value, entry.owner)
            if len(entry.value) > LARGE:
                apart += entry.revision, entry.value
            if deadline:
                deadlines += deadline, entry.key
            if entry.owner:
                owned.append(entry)
        index = chain.from_iterable((0, key) for key in records[::2])
        await self._do("HSET", DATA, records)
        await self._do("ZADD", INDEX, list(index))
        await self._do("HSET", BIG, apart)
        await self._do("ZADD", TTL, deadlines)
        if owned:
            await self._join(owned)
        self._advance(len(entries))

    async def _join(self, entries: Sequence[Entry]) -> None:
        """Note with what keys live, and when that ends."""
        owners = list(dict.fromkeys(entry.owner for entry in entries))
        found = dict(zip(owners, await self._ask("HMGET", DATA, *owners), strict=True))
        ends: dict[bytes, bytes] = {}
        marked: list[Argument] = []
        for owner, record in found.items():
            if record is None:
                raise StartError(f"the backup is damaged: keys live with {owner.decode()}, which is not in it")
            revision, deadline, kind, payload = record.split(b" ", 3)
            ends[owner] = deadline
            if flags.OTHERS not in flags.read(kind[1:]):
                marked += owner, b" ".join((revision, deadline, kind + b";" + flags.OTHERS, payload))
        timed = [(ends[entry.owner], entry.key) for entry in entries if ends[entry.owner] != b"0"]
        await self._do("HSET", DATA, marked)
        await self._do("ZADD", OWNED, list(chain.from_iterable((0, b"%b %b" % (e.owner, e.key)) for e in entries)))
        await self._do("ZADD", TTL, list(chain.from_iterable(timed)))

    async def finish(self, revision: int, store: str) -> None:
        """Make it a store, with all on disk.  revision, store: the backup's position.  Raises as `put`."""
        jumped = (revision // STEP + 2) * STEP
        if jumped >= REVISIONS:
            raise StartError("the revisions of this store are used up, so that it cannot be restored")
        new = secrets.token_hex(4)
        while new == store:
            new = secrets.token_hex(4)
        # From now on it syncs before it answers, and so all that was written before.
        await self._ask("CONFIG", "SET", "appendfsync", "always")
        clock = time.time_ns() // 1_000_000
        await self._do(
            "HSET", META,
            ["layout", LAYOUT, "store", new, "revision", jumped, "floor", jumped, "clock", clock, "bytes", 0, "run", "",
             "synced", 1],
        )  # fmt: skip
        # With meta in it: else an end that is lost would take the whole store with it.
        await self._write_file_anew()

    async def _write_file_anew(self) -> None:
        """As one snapshot, over which the engine keeps a checksum."""
        asked = False
        while True:
            info = (await self._ask("INFO", "persistence")).decode()
            if "rewrite_in_progress:0" in info and "rewrite_scheduled:0" in info:
                if asked:
                    break
                await self._ask("BGREWRITEAOF")
                asked = True
            await asyncio.sleep(REWRITE_PAUSE)
        if "aof_last_bgrewrite_status:ok" not in info:
            raise StartError("the append-only file could not be written whole: is the disk full?")

    async def _do(self, name: str, key: bytes, arguments: Sequence[Argument]) -> None:
        if arguments:
            await self._ask(name, key, *arguments)

    async def _ask(self, *words: Argument) -> Any:
        try:
            return await ask(self._connection, command(*words))
        except Rejected as error:
            raise StartError(f"the store does not take what is restored: {error}") from None
