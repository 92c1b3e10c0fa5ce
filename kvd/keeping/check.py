"""Whether the data of a directory are whole, of one on which a daemon runs or of one on which none does."""

import sys
from pathlib import Path

from kvd.embedded import engines
from kvd.embedded.aof import AppendOnlyFile
from kvd.embedded.reading import Reading, data_of, running_on, see_that_it_holds_store, why_damaged
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
        self._damage = "" if self._repairs else why_damaged(data)
        if self._damage:
            sys.stdout.write(f"{self._damage}; --repair: what it holds is taken as it is, with a new history\n")
        if self._repairs:
            await self._repair(data)
        elif url:
            self._tell(await self._checked(url, is_written=True))
        else:
            self._server = Reading(data, self._engine, self._settings.max_value)
            await self._server.start()
            self._tell(await self._checked(self._server.url, is_written=False))

    async def _checked(self, url: str, *, is_written: bool) -> Report:
        connection = await Connector(url, direct=True).open()
        try:
            return await check(connection, lambda _: None, is_written=is_written)
        finally:
            await connection.close()

    async def _repair(self, data: Path) -> None:
        chosen = self._settings
        see_that_it_holds_store(AppendOnlyFile(data))  # before anything is written there
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
            sys.stdout.write(f"{len(mended)} things were mended; the history is a new one, so watches begin anew\n")
        self._tell(report)

    def _tell(self, report: Report) -> None:
        _show([_said(finding) for finding in report.findings])
        self.is_whole = not (report.findings or self._damage)
        what = f"{report.keys} keys and {report.changes} changes were looked at: "
        count = len(report.findings) + bool(self._damage)
        sys.stdout.write(what + ("all is well\n" if self.is_whole else f"{count} things are wrong\n"))

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


def _show(lines: list[str]) -> None:
    for line in lines[:MOST_SHOWN]:
        sys.stdout.write(f"{line}\n")
    if len(lines) > MOST_SHOWN:
        sys.stdout.write(f"... and {len(lines) - MOST_SHOWN} more\n")
