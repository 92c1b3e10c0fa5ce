"""Whether the data of a directory are whole, of one on which a daemon runs or of one on which none does."""

import asyncio
import sys
from pathlib import Path

from kvd.embedded import engines
from kvd.embedded.aof import AppendOnlyFile
from kvd.embedded.directory import RESTORING, not_whole
from kvd.embedded.reading import Reading, data_of, running_on, see_that_it_holds_store, why_damaged
from kvd.embedded.repair import no_store_before, torn_bytes
from kvd.embedded.server import EmbeddedServer
from kvd.errors import StartError, StoreLost
from kvd.settings import Settings
from kvd.store.redis.checking import Report, check
from kvd.store.redis.connection import Connector, Rejected
from kvd.store.redis.findings import Finding
from kvd.store.redis.mending import mend

MOST_SHOWN = 100
"""Findings that are told one by one."""


class Check:
    """A service that is over when it has started: `start` it, and `close` it in any case.

    is_whole: whether nothing is wrong, or not any more.
    """

    def __init__(self, settings: Settings, *, repairs: bool) -> None:
        """repairs: whether what is wrong is mended.  Raises StartError if there is no such engine."""
        self._settings = settings
        self._repairs = repairs
        self._engine = engines.choose(settings.engine)
        self._server: EmbeddedServer | Reading | None = None
        self._damage = ""
        self.is_whole = False

    async def start(self) -> None:
        """Look at the data.  Raises StartError."""
        data = data_of(self._settings.data)
        if not data.is_dir():
            raise StartError(f"there is no directory {data}")
        try:
            await self._look(data)
        except (StoreLost, TimeoutError, Rejected) as error:
            raise StartError(f"the store was lost while it was checked: {error}") from None
        except OSError as error:
            raise StartError(f"cannot read {error.filename or data}: {error.strerror or error}") from None

    async def _look(self, data: Path) -> None:
        url = running_on(data)
        if url and self._repairs:
            raise StartError(f"a daemon runs on {data}: stop it before anything is repaired")
        if (data / RESTORING).exists():
            raise StartError(f"a backup is being restored into {data}: wait for its end" if url else not_whole(data))
        if self._repairs:
            await self._repair(data)
        elif url:
            self._tell_damage(await asyncio.to_thread(why_damaged, data))
            self._tell(await self._checked(url, is_written=True))
        else:
            self._server = Reading(data, self._engine, self._settings.max_value)
            await self._server.start()
            self._tell_damage(await asyncio.to_thread(why_damaged, data))
            self._tell(await self._checked(self._server.url, is_written=False))

    def _tell_damage(self, damage: str) -> None:
        """damage: of a file that can be read all the same, as --repair does."""
        self._damage = damage
        if damage:
            sys.stdout.write(f"{damage}; --repair: what it holds is taken as it is, with a new history\n")

    async def _checked(self, url: str, *, is_written: bool) -> Report:
        connection = await Connector(url, direct=True).open()
        try:
            return await check(connection, lambda _: None, is_written=is_written)
        finally:
            await connection.close()

    async def _repair(self, data: Path) -> None:
        chosen = self._settings
        # Before anything is written there.
        aof = AppendOnlyFile(data)
        see_that_it_holds_store(aof)
        torn = await asyncio.to_thread(torn_bytes, self._engine.binary, aof, chosen.max_value)
        if torn and not aof.holds_store(less=torn):
            raise StartError(no_store_before(aof, torn))
        self._server = server = EmbeddedServer(
            chosen.data, "always", chosen.max_value, engine=chosen.engine, accepts=True
        )
        await server.start()
        connection = await Connector(server.url, direct=True).open()
        try:
            mended, report = await mend(connection, lambda _: None)
        finally:
            await connection.close()
        _show([f"{finding.text}: {finding.mending}" for finding in mended])
        if mended:
            what = "1 thing was" if len(mended) == 1 else f"{len(mended)} things were"
            sys.stdout.write(f"{what} mended; the history is a new one, so watches begin anew\n")
        self._tell(report)

    def _tell(self, report: Report) -> None:
        _show([_said(finding) for finding in report.findings])
        self.is_whole = not (report.findings or self._damage)
        what = f"{_many(report.keys, 'key')} and {_many(report.changes, 'change')} were looked at: "
        count = len(report.findings) + bool(self._damage)
        sys.stdout.write(
            what
            + ("all is well\n" if self.is_whole else f"{count} {'thing is' if count == 1 else 'things are'} wrong\n")
        )

    async def run(self) -> None:
        """Nothing is left to do."""

    async def drain(self) -> None:
        """Nothing is in flight."""

    async def close(self) -> None:
        """End the engine."""
        if self._server:
            await self._server.stop()


def _said(finding: Finding) -> str:
    return f"{finding.text}; --repair: {finding.mending or 'cannot mend that: restore a backup, or write it again'}"


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _show(lines: list[str]) -> None:
    for line in lines[:MOST_SHOWN]:
        sys.stdout.write(f"{line}\n")
    if len(lines) > MOST_SHOWN:
        sys.stdout.write(f"... and {len(lines) - MOST_SHOWN} more\n")
