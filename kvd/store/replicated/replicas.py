"""The replicas that follow the primary, and those of them that the change log can be read from.

What a replica has is what its primary had, as long as both are of the same run, which the replication id tells: that
changes with each promotion, and with each start of a primary.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from random import shuffle

from kvd.errors import StoreLost, Superseded
from kvd.group_url import CLUSTER, GroupUrl
from kvd.store.redis.connection import TTL, Connection, Rejected, command, info_of, open_by
from kvd.store.redis.engine import ask
from kvd.store.redis.library import Library
from kvd.store.replicated.confirmed import REVISION
from kvd.store.replicated.connecting import PrimaryConnection
from kvd.store.replicated.guard import Guard
from kvd.store.replicated.primary import Address, shown

logger = logging.getLogger("kvd.store")

PATIENCE = 0.5
"""Seconds that a replica has to answer, and to come to where its primary was: which then is late by less than others
take to notice."""
PAUSE = 0.005
"""Seconds between looks whether it has come there."""
AVOIDED = 5.0
"""Seconds for which one that was late, or away, is not tried again; and that the log is read from the primary if no
replica is left."""

INFO = command("INFO", "replication")
ONLINE = "online"
"""The state of a replica that follows.  (Before it: wait_bgsave, send_bulk.)"""
_READONLY = command("READONLY")
_FIRST_DUE = command("ZRANGE", TTL, 0, 0, "WITHSCORES")


class Replica:
    """One of them."""

    def __init__(
        self, address: Address, connection: Connection, run: str, open_more: Callable[[], Awaitable[Connection]],
        late: Callable[[], None],
    ) -> None:  # fmt: skip
        """connection: on which it is asked what takes no time.  run: the replication id of its primary.

        open_more: opens another connection to it.  late: called when it did not come to a revision in time.
        """
        self.address = address
        self.connection = connection
        self.open_more = open_more
        self._run = run
        self._late = late

    async def check(self) -> None:
        """Whether all that it has is of its primary.  Raises StoreLost, also if it does not say so soon."""
        try:
            async with asyncio.timeout(PATIENCE):
                await _check(self.connection, self._run)
        except TimeoutError:
            self._late()
            raise StoreLost(f"the replica {shown(self.address)} does not answer") from None

    async def is_nothing_due(self, now: int) -> bool:
        """Whether it has no key whose deadline has passed, by its primary's clock; False if it does not say so."""
        try:
            async with asyncio.timeout(PATIENCE):
                first = await self.connection.call(_FIRST_DUE)
        except (StoreLost, Rejected, TimeoutError):
            return False
        return not first or float(first[1]) > now

    async def reach(self, revision: int) -> None:
        """Returns when it has a revision.  Raises StoreLost if that takes too long."""
        try:
            async with asyncio.timeout(PATIENCE):
                while int(await self.connection.call(REVISION) or 0) < revision:  # noqa: ASYNC110  # it is asked for
                    await asyncio.sleep(PAUSE)
                await _check(self.connection, self._run)
        except Rejected as error:
            raise StoreLost(str(error)) from None
        except TimeoutError:
            self._late()
            raise StoreLost(f"the replica {shown(self.address)} is behind its primary") from None


class Replicas:
    """Opens connections to them."""

    def __init__(self, url: GroupUrl, guard: Guard) -> None:
        self._url = url
        self._guard = guard
        self._avoided: dict[Address, float] = {}

    async def find(self, primary: Connection, count: int) -> list[Replica]:
        """So many of those that follow the primary at the other end, in any order; fewer if there are no more.

        They are given up with the primary, as soon as there is doubt of that.  Raises StoreLost.
        """
        try:
            info = info_of(await ask(primary, INFO))
        except (Rejected, TimeoutError) as error:
            raise StoreLost(str(error) or "the primary does not answer") from None
        now = asyncio.get_running_loop().time()
        self._avoided = {one: until for one, until in self._avoided.items() if until > now}
        addresses = [one for one in online(info) if one not in self._avoided]
        # Daemons that read from one primary spread over its replicas.
        shuffle(addresses)
        found: list[Replica] = []
        while addresses and len(found) < count:
            address = addresses.pop()
            try:
                found.append(await self._open(address, info.get("master_replid", ""), self._guard.address_of(primary)))
            except (StoreLost, Superseded) as error:
                logger.info("the replica %s is left out: %s", shown(address), error)
                self._avoid(address)
        return found

    def _avoid(self, address: Address) -> None:
        self._avoided[address] = asyncio.get_running_loop().time() + AVOIDED

    async def _open(self, address: Address, run: str, primary: Address) -> Replica:
        library = Library(self._url.of_data(*address), PATIENCE)

        async def greet(connection: Connection) -> None:
            if self._url.kind == CLUSTER:
                await connection.call(_READONLY)
            await _check(connection, run)

        async def open_one() -> Connection:
            connection = await open_by(library, library.make(), PrimaryConnection, greet, PATIENCE)
            self._guard.watch(connection, primary)
            return connection

        return Replica(address, await open_one(), run, open_one, partial(self._avoid, address))


async def _check(connection: Connection, run: str) -> None:
    """Raises StoreLost if the other end does not follow that run."""
    try:
        info = info_of(await connection.call(INFO))
    except Rejected as error:
        raise StoreLost(str(error)) from None
    if (info.get("role"), info.get("master_replid"), info.get("master_link_status")) != ("slave", run, "up"):
        raise StoreLost("it does not follow the primary any more")


def online(info: dict[str, str]) -> list[Address]:
    """Those that follow a primary now, by what its INFO says."""
    return [address for address, state in _states(info) if state == ONLINE]


def is_copying(info: dict[str, str]) -> bool:
    """Whether a primary sends a copy to one that will follow it, or is about to."""
    return any(state != ONLINE for _, state in _states(info))


def _states(info: dict[str, str]) -> list[tuple[Address, str]]:
    found = []
    for name, value in info.items():
        # slave0:ip=127.0.0.1,port=6380,state=online,offset=...
        if name.startswith("slave") and name[5:].isdigit():
            words = dict(part.partition("=")[::2] for part in value.split(","))
            found.append(((words["ip"], int(words["port"])), words.get("state", "")))
    return found
