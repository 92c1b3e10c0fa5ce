"""Mending what a check has found, in a store to which nobody else writes.

Whatever is mended, watchers may have had copies that lacked it: so the history is replaced by a new one, and they begin
anew.
"""

from collections.abc import Callable
from typing import Any

from kvd.errors import StoreLost
from kvd.model import Change
from kvd.store.redis import flags
from kvd.store.redis.checking import Report, check
from kvd.store.redis.connection import (
    BIG,
    DATA,
    INDEX,
    LOG,
    META,
    OWNED,
    REPLACED,
    TTL,
    Argument,
    Connection,
    command,
)
from kvd.store.redis.digest import LARGE
from kvd.store.redis.engine import ask
from kvd.store.redis.entries import fill, read_entry, references
from kvd.store.redis.findings import Finding
from kvd.store.redis.log import META_COMMAND, read_meta, rewind_command
from kvd.store.redis.records import pack

ROUNDS = 4
"""Of checks and mending, at the most: what is mended may show what else there is."""
_EXTRA = {"index-extra": INDEX, "ttl-extra": TTL, "owned-extra": OWNED, "replaced-extra": REPLACED}


async def mend(connection: Connection, advance: Callable[[int], object]) -> tuple[list[Finding], Report]:
    """Mend what can be.  What was mended, and what a last look says.  Raises as `check`, and Rejected."""
    mended: list[Finding] = []
    report = await check(connection, advance, is_written=False)
    # With the log that tells of them goes what tells that they are doubtful.
    doubtful = [finding for finding in report.findings if finding.word in ("doubtful", "unlogged")]
    for _ in range(ROUNDS):
        found = [finding for finding in report.findings if finding.mending]
        if not found:
            break
        for finding in found:
            await _Mending(connection).mend(finding)
        position, _ = read_meta(await ask(connection, META_COMMAND))
        await ask(connection, rewind_command(position.store))
        mended += found
        report = await check(connection, lambda _: None, is_written=False)
    return mended, report._replace(findings=list(dict.fromkeys([*report.findings, *doubtful])))


class _Mending:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def mend(self, finding: Finding) -> None:
        word, key, more = finding
        if word in _EXTRA:
            await self._do("ZREM", _EXTRA[word], key)
        match word:
            case "not-listed":
                await self._do("ZADD", INDEX, 0, key)
            case "deadline" if more == b"0":
                await self._do("ZREM", TTL, key)
            case "deadline":
                await self._do("ZADD", TTL, more, key)
            case "not-owned":
                await self._do("ZADD", OWNED, 0, more + b" " + key)
            case "orphan":
                await self._free(key, more)
            case "unmarked":
                await self._reflag(key, lambda given: {**given, flags.OTHERS: b""})
            case "value-extra":
                await self._do("HDEL", BIG, key)
            case "ahead":
                await self._go_on_after(int(more))
            case "log-record":
                await self._write_as_logged(key, int(more))

    async def _free(self, key: bytes, owner: bytes) -> None:
        await self._reflag(key, lambda given: {name: of for name, of in given.items() if name != flags.OWNER})
        await self._do("ZREM", OWNED, owner + b" " + key)
        await self._do("ZREM", TTL, key)

    async def _reflag(self, key: bytes, change: Callable[[dict[bytes, bytes]], dict[bytes, bytes]]) -> None:
        revision, deadline, kind, payload = (await self._do("HGET", DATA, key)).split(b" ", 3)
        given = change(flags.read(kind[1:]))
        kind = kind[:1] + b"".join(b";" + name + value for name, value in given.items())
        await self._do("HSET", DATA, key, b" ".join((revision, deadline, kind, payload)))

    async def _go_on_after(self, revision: int) -> None:
        here = await self._do("HGET", META, "revision")
        if revision > int(here or b"0"):
            await self._do("HSET", META, "revision", revision)

    async def _write_as_logged(self, key: bytes, revision: int) -> None:
        change = await self._change(revision)
        if change is None:
            return
        if change.verb != b"SET":
            await self._do("HDEL", DATA, key)
            await self._do("ZREM", INDEX, key)
            return
        record = pack(b"%d" % revision, change.deadline, change.kind, change.value, change.owner)
        if len(change.value) > LARGE:
            await self._do("HSET", BIG, revision, change.value)
            await self._do("ZREM", REPLACED, revision)
        await self._do("HSET", DATA, key, record)

    async def _change(self, revision: int) -> Change | None:
        """That of a revision; None if an earlier round has dropped the log."""
        raws = await self._do("XRANGE", LOG, f"{revision}-0", "+", "COUNT", 1)
        for raw in raws:
            if wanted := references(raw):
                try:
                    fill(wanted, await self._do("HMGET", BIG, *[found for _, _, found in wanted]))
                except StoreLost:
                    return None
            return next((change for change in read_entry(raw).changes if change.revision == revision), None)
        return None

    async def _do(self, *words: Argument) -> Any:
        return await ask(self._connection, command(*words))
