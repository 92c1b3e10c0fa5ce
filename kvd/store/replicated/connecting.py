"""Connections to the primary, whichever it is."""

import asyncio
import re
from typing import Any

from kvd.errors import StoreLost
from kvd.group_url import GroupUrl
from kvd.store.redis.connection import CONNECT_TIMEOUT, Connection, Connector, Rejected, command, load_scripts, open_by
from kvd.store.redis.library import Library
from kvd.store.replicated.guard import Guard
from kvd.store.replicated.primary import Primary

ELSEWHERE = ("MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN", "READONLY", "MASTERDOWN", "UNBLOCKED", "LOADING")
"""First words of errors that say that the server is no primary, or not yet, or not for us: whatever was asked is to be
asked of another one."""
_ROLE = command("ROLE")
# Redis 6.2 puts where in the script it was before it.
_WITHIN = re.compile(rf"^Error running script .* -?({'|'.join(ELSEWHERE)}) ").match


class PrimaryConnection(Connection):
    """A connection that is lost when the other end says that it is no primary."""

    def _rejected(self, error: Exception) -> Rejected:
        rejected = super()._rejected(error)
        if rejected.word in ELSEWHERE or _WITHIN(str(error).removeprefix("ERR ")):
            raise StoreLost(str(rejected))
        return rejected


class PrimaryConnector(Connector):
    """Opens connections to the primary.

    attaches: to one that nobody has looked at yet; else only when that was done.
    """

    def __init__(self, url: GroupUrl, guard: Guard, *, attaches: bool) -> None:
        """Raises StartError if the URL is none."""
        self._url = url
        self._guard = guard
        self._attaches = attaches
        self._libraries: dict[Any, Library] = {}
        # Now, and not when it is opened, it is to be said that the URL is none.
        Library(url.of_data(*url.nodes[0]), CONNECT_TIMEOUT)

    async def open(self) -> Connection:
        """See `Connector`."""
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                if not self._attaches:
                    await self._guard.served()
                return await self._open(await self._guard.find())
        except TimeoutError:
            raise StoreLost("no primary is known of which nothing says that it is down") from None

    async def _open(self, primary: Primary) -> Connection:
        """A connection to it, given up as soon as there is doubt of it.  Raises StoreLost."""
        library = self._libraries.get(primary.address)
        if library is None:
            library = self._libraries[primary.address] = Library(self._url.of_data(*primary.address), CONNECT_TIMEOUT)
        opening = asyncio.create_task(open_by(library, library.make(), PrimaryConnection, _greet))
        try:
            either: set[asyncio.Future[Any]] = {opening, self._guard.doubted()}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not opening.done():
                raise StoreLost(f"there is doubt of {primary}")
        except BaseException:
            opening.cancel()
            await asyncio.wait({opening})
            # Who is cancelled may be so at the moment when it is open.
            if not (opening.cancelled() or opening.exception()):
                await opening.result().close()
            raise
        connection = opening.result()
        self._guard.watch(connection, primary.address)
        return connection


async def _greet(connection: Connection) -> None:
    role, *_ = await connection.call(_ROLE)
    if role != b"master":
        raise StoreLost(f"it is a {role.decode(errors='replace')}, not the primary")
    await load_scripts(connection)
