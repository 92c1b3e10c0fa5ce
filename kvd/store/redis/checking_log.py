"""The change log: whether its entries are what was written, follow on each other, and are what the records say."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from typing import Any, NamedTuple
from zlib import crc32

from kvd.errors import StoreLost, Unavailable
from kvd.model import Change
from kvd.store.redis.connection import BIG, DATA, INDEX, LOG, META, command
from kvd.store.redis.digest import verify
from kvd.store.redis.entries import fill, key_of, read_entry, references
from kvd.store.redis.findings import Finding
from kvd.store.redis.records import unpack

PAGE_ENTRIES = 64
"""Entries that are read at once; each has up to 256 changes."""
PAGE_KEYS = 256

ANYWHERE = -1
"""In the place of a revision: any may follow."""

Ask = Callable[[bytes], Awaitable[Any]]


class Newest(NamedTuple):
    """What the log says last of a key.  value: a checksum of it, None for a key that is gone."""

    revision: int
    kind: bytes = b""
    value: int | None = None
    owner: bytes = b""

    @classmethod
    def of(cls, change: Change) -> "Newest":
        """What a change says."""
        if change.verb != b"SET":
            return cls(change.revision)
        return cls(change.revision, change.kind, crc32(change.value), change.owner)


class LogCheck:
    """`run` it once.

    changes: how many it has looked at.
    """

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self.changes = 0
        self._findings: list[Finding] = []
        self._newest: dict[bytes, Newest] = {}
        self._doubtful: list[tuple[bytes, int]] = []
        self._last = self._floor = 0

    async def run(self, size: int | None = None) -> list[Finding]:
        """What is wrong.  Raises what `ask` raises.

        size: bytes of entries from the end on to look at, None for all.
        """
        revision, floor, total = map(_number, await self._ask(command("HMGET", META, "revision", "floor", "bytes")))
        self._last = self._floor = floor
        tag = b""
        begin = "-" if size is None else await self._begin_of(size)
        async for raws in self._pages(begin):
            for raw in raws:
                tag = await self._take(raw)
        if self._last != revision or (tag and _number(tag.split(b" ")[-1]) != total):
            self._tell(self._last, f"it ends there, and the store is at {revision}")
        await self._compare()
        await self._doubt()
        return self._findings

    def unlogged(self, revisions: Mapping[bytes, bytes]) -> list[Finding]:
        """Of records those that a log which is whole would tell of, and does not.  revisions: of their keys."""
        if any(finding.word == "log" for finding in self._findings):
            return []
        return [
            Finding("unlogged", key, revision)
            for key, revision in revisions.items()
            if key not in self._newest and int(revision) > self._floor
        ]

    async def _begin_of(self, size: int) -> str:
        """Where the last entries begin that have so many bytes."""
        before = "+"
        while raws := await self._ask(command("XREVRANGE", LOG, before, "-", "COUNT", PAGE_ENTRIES)):
            before = f"({raws[-1][0].decode()}"
            size -= sum([len(field) for _, fields in raws for field in fields])
            if size <= 0:
                self._last = ANYWHERE
                return str(raws[-1][0].decode())
        return "-"

    async def _pages(self, after: str) -> AsyncIterator[list[Any]]:
        while raws := await self._ask(command("XRANGE", LOG, after, "+", "COUNT", PAGE_ENTRIES)):
            yield raws
            after = f"({raws[-1][0].decode()}"

    async def _take(self, raw: list[Any]) -> bytes:
        """Look at an entry; return its tag, b"" if it cannot be read."""
        identity, fields = raw
        last = _number(identity.partition(b"-")[0])
        try:
            if wanted := references(raw):
                fill(wanted, await self._ask(command("HMGET", BIG, *[revision for _, _, revision in wanted])))
            is_right = verify(raw)
            entry = read_entry(raw)
        except StoreLost:
            self._tell(last, "a large value is missing")
        except (ValueError, IndexError, KeyError, TypeError, StopIteration):
            self._tell(last, "it cannot be read")
        else:
            if is_right is False:
                self._tell(last, "it is not what was written (its digest is another one)")
                self._doubtful += [(key_of(reference), reference[2]) for reference in wanted]
            if self._last != ANYWHERE and entry.changes[0].revision != self._last + 1:
                self._tell(last, f"changes are missing, or come again, after {self._last}")
            if is_right is not False:
                self._newest.update((change.key, Newest.of(change)) for change in entry.changes)
            self.changes += len(entry.changes)
        self._last = last
        return fields[1] if len(fields) > 1 else b""

    def _tell(self, revision: int, what: str) -> None:
        self._findings.append(Finding("log", b"%d" % revision, what.encode()))

    async def _compare(self) -> None:
        """The records of the keys of which the log tells, and whether they are listed, with what it tells last."""
        keys = list(self._newest)
        for place in range(0, len(keys), PAGE_KEYS):
            some = keys[place : place + PAGE_KEYS]
            records = await self._ask(command("HMGET", DATA, *some))
            apart = await self._values(records)
            listed = await self._ask(command("ZMSCORE", INDEX, *some))
            for key, record, score in zip(some, records, listed, strict=True):
                newest = self._newest[key]
                if not _is_as(newest, record, apart):
                    self._findings.append(Finding("log-record", key, b"%d" % newest.revision))
                elif (record is None) != (score is None):
                    self._findings.append(Finding("index-extra" if record is None else "not-listed", key))

    async def _doubt(self) -> None:
        """Records that refer to a large value of an entry that is damaged: nothing else tells whether it is right."""
        for key, revision in self._doubtful:
            record = await self._ask(command("HGET", DATA, key))
            if record and _number(record.split(b" ", 1)[0]) == revision:
                self._findings.append(Finding("doubtful", key, b"%d" % revision))

    async def _values(self, records: Iterable[bytes | None]) -> dict[bytes, int]:
        """Checksums of the large values of records, by their revisions."""
        found: dict[bytes, int] = {}
        for record in records:
            parts = (record or b"").split(b" ", 3)
            if len(parts) == 4 and parts[2][:1] in (b"T", b"B"):
                value = await self._ask(command("HGET", BIG, parts[0]))
                found[parts[0]] = crc32(value or b"")
        return found


def _is_as(newest: Newest, record: bytes | None, apart: dict[bytes, int]) -> bool:
    """Whether a record is what the log says, or newer."""
    if record is None:
        return newest.value is None
    try:
        found = unpack(record)
    except Unavailable:
        return False
    revision = int(found.revision)
    if revision != newest.revision:
        return revision > newest.revision
    value = apart.get(found.revision, crc32(found.value))
    return (found.kind, value, found.owner) == (newest.kind, newest.value, newest.owner)


def _number(raw: bytes | None) -> int:
    return int(raw) if raw and raw.isdigit() else -1
