"""Whether a store is whole: its records, index, deadlines, owners, change log and large values against each other.

Nothing is changed.  Each key is looked at together with all that is told of it elsewhere, in one step (verify.lua).
What takes several steps, such as the change log, may be at odds for a moment while a daemon writes: so there a second
look is taken, and only what is still the same counts.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from kvd.errors import ForeignStore, StartError
from kvd.store.redis.checking_log import LogCheck
from kvd.store.redis.connection import ALL, BIG, DATA, INDEX, META, REPLACED, Connection, Rejected, command, script
from kvd.store.redis.engine import ask
from kvd.store.redis.findings import Finding
from kvd.store.redis.scripts import LAYOUT, REFUSED

PART_KEYS = 256
"""Keys that are looked at in one step: it keeps the store from other work for about a millisecond."""
OTHER_PARTS = ("ttl", "owned", "replaced")
"""What is looked at after the keys."""
TYPES = dict(zip(ALL, (b"hash", b"hash", b"zset", b"zset", b"stream", b"hash", b"zset", b"zset"), strict=True))
"""What each key of kvd's holds."""
NUMBERS = ("revision", "floor", "clock", "bytes")
"""Fields of meta that are numbers."""


class Report(NamedTuple):
    """keys, changes: int, how many were looked at.  findings: what is wrong, in the order in which it was found."""

    keys: int
    changes: int
    findings: list[Finding]


async def check(connection: Connection, advance: Callable[[int], object], *, is_written: bool) -> Report:
    """Look at all of a store.  is_written: whether others write to it meanwhile.

    advance: called with how many keys were looked at.  Raises StartError if it is none of this layout; StoreLost,
    TimeoutError.
    """
    report = await Check(connection, advance).run()
    if is_written and report.findings:
        again = await Check(connection, lambda _: None).run()
        both = set(again.findings)
        report = report._replace(findings=[finding for finding in report.findings if finding in both])
    return report


async def check_end(connection: Connection, size: int) -> list[Finding]:
    """Look at the last changes, of so many bytes, in a store to which nobody writes; one of an older layout has none.

    Raises as `check`.
    """
    look = Check(connection, lambda _: None)
    await look.see_that_it_is_kvds()
    if await look.ask(command("HGET", META, "layout")) != LAYOUT.encode():
        return []
    return await LogCheck(look.ask).run(size)


def _why_other_layout(layout: bytes | None) -> str:
    """What to do about a store whose layout is not this kvd's, "" if it is."""
    name = (layout or b"").decode(errors="backslashreplace")
    number = name.partition(" ")[0]  # one that is being taken over is "2 to 3"
    if name == LAYOUT or not number.isdecimal():
        return ""
    if int(number) > int(LAYOUT):
        return f"its layout is {name}, and this kvd knows those up to {LAYOUT}: use the newer kvd that wrote it"
    return (
        f"its layout is {name}, which is older than {LAYOUT}, this kvd's: start kvd on it once, which takes the data "
        "over, and check them after that"
    )


class Check:
    """One look at a store."""

    def __init__(self, connection: Connection, advance: Callable[[int], object]) -> None:
        self._connection = connection
        self._advance = advance
        self._findings: list[Finding] = []
        self._large: set[bytes] = set()
        # Of keys of which the log tells.
        self._revisions: dict[bytes, bytes] = {}

    async def run(self) -> Report:
        """Raises as `check`."""
        await self.see_that_it_is_kvds()
        await self._look_at_meta()
        keys = await self._look_at("data")
        if not await self._is_all_listed():
            await self._look_at("index")
        for part in OTHER_PARTS:
            await self._look_at(part)
        await self._look_for_extra_values()
        log = LogCheck(self.ask)
        of_log = await log.run()
        of_log += log.unlogged(self._revisions)
        known = {finding.key for finding in of_log if finding.word == "log-record"}
        # What the log has can be mended.
        lost = [finding for finding in self._findings if not (finding.word == "record" and finding.key in known)]
        return Report(keys, log.changes, list(dict.fromkeys([*lost, *of_log])))

    async def see_that_it_is_kvds(self) -> None:
        """Raises ForeignStore if a key of kvd's holds what kvd does not keep there, and as `check`."""
        for key, wanted in TYPES.items():
            found = await self.ask(command("TYPE", key))
            if found not in (wanted, b"none"):
                what = f"{key.decode()} is a {found.decode()}, not a {wanted.decode()}"
                raise ForeignStore(f"it cannot be checked: {what}: another program has written to it")

    async def _is_all_listed(self) -> bool:
        """Whether the index has all keys, and as many as there are: so no others."""
        listed, there = await self.ask(command("ZCARD", INDEX)), await self.ask(command("HLEN", DATA))
        return listed == there and not any(finding.word == "not-listed" for finding in self._findings)

    async def _look_at_meta(self) -> None:
        if not await self.ask(command("EXISTS", META)):
            raise StartError("there is no store of kvd's in it")
        if wrong := _why_other_layout(await self.ask(command("HGET", META, "layout"))):
            raise StartError(wrong)
        values = await self.ask(command("HMGET", META, "store", *NUMBERS))
        for name, value in zip(("store", *NUMBERS), values, strict=True):
            if not (value and (name == "store" or value.isdigit())):
                self._findings.append(Finding("meta", name.encode(), value or b""))

    async def _look_at(self, part: str) -> int:
        cursor, total = b"0", 0
        while True:
            reply = await self.ask(script("verify", ALL, [part, cursor, PART_KEYS]))
            cursor, count, large, flat, logged = reply
            total += int(count)
            self._large.update(large)
            self._revisions.update(zip(logged[::2], logged[1::2], strict=True))
            words = zip(flat[::3], flat[1::3], flat[2::3], strict=True)
            self._findings += [Finding(word.decode(), key, more) for word, key, more in words]
            if part == "data":
                self._advance(count)
            if cursor == b"0":
                return total

    async def _look_for_extra_values(self) -> None:
        """Large values that neither a record nor the change log refers to."""
        known = self._large | set(await self.ask(command("ZRANGE", REPLACED, 0, -1)))
        names = await self.ask(command("HKEYS", BIG))
        self._findings += [Finding("value-extra", name) for name in names if name not in known]

    async def ask(self, packed: bytes) -> Any:
        """Ask the store.  Raises as `check`."""
        try:
            return await ask(self._connection, packed)
        except Rejected as error:
            if error.word == REFUSED:
                raise StartError(f"it cannot be checked: {error}; or, if that is newer, start it first") from None
            raise StartError(f"it cannot be checked: {error}") from None
