"""Knows the primary, and closes connections to one that may be none any more.

Those who watch over the primary are asked every INTERVAL, and at once when something that was written waits for that:
it counts only if nobody had doubts after it was replicated.
"""

import asyncio
import logging
from contextlib import suppress

from kvd.errors import StoreLost
from kvd.store.redis.connection import Connection
from kvd.store.replicated.primary import Address, Primary, Witnesses, shown

logger = logging.getLogger("kvd.store")

INTERVAL = 0.02
"""Seconds between questions.  With 0.1 a primary that woke up was noticed too late, and thousands of writes lost."""
LEARNING = 15.0
"""Seconds in which all who watch over the primary are to agree on its replicas; a Sentinel looks every ten."""


class Guard:
    """Keep `run` running; `close` it.

    connections that `watch` was told of are closed when their server may be no primary any more.
    replicas: int, the most that were known since they were last learned.
    """

    def __init__(self, witnesses: Witnesses) -> None:
        self.witnesses = witnesses
        self.replicas = 0
        self._connections: dict[Connection, Address] = {}
        self._serving = asyncio.Event()
        self._served: Address | None = None
        self._doubted: asyncio.Future[None] | None = None
        self._verifying: list[asyncio.Future[None]] = []
        self._hurry = asyncio.Event()
        self._heard = 0.0
        self._learns_until = 0.0

    def learn_replicas(self) -> None:
        """Take the number of replicas anew, once all who watch over the primary agree on it: one may be gone for good.

        What fewer of them say does not count, for one that was away may come back, and be promoted by who knows of it.
        """
        self._learns_until = asyncio.get_running_loop().time() + LEARNING

    # ---- who connects

    async def find(self) -> Primary:
        """The primary, as soon as nothing speaks against it.  Raises StoreLost if none is known."""
        while (primary := await self._ask()).doubt:  # noqa: ASYNC110  # it is asked for
            await asyncio.sleep(INTERVAL)
        return primary

    async def served(self) -> None:
        """Returns when the primary was looked at, and may be used."""
        await self._serving.wait()

    def doubted(self) -> asyncio.Future[None]:
        """Done when there is doubt of the primary of now."""
        if self._doubted is None:
            self._doubted = asyncio.get_running_loop().create_future()
        return self._doubted

    def watch(self, connection: Connection, address: Address) -> None:
        """Close a connection when its server may be no primary any more."""
        self._connections[connection] = address
        connection.lost.add_done_callback(lambda _: self._connections.pop(connection, None))

    def address_of(self, connection: Connection) -> Address:
        """The server at the other end of one that is watched.  Raises StoreLost if it is lost."""
        if connection not in self._connections:
            raise StoreLost("the connection was closed")
        return self._connections[connection]

    def serve(self, connection: Connection) -> None:
        """The primary at the other end was looked at: all may use it."""
        if not connection.lost.done() and not self._serving.is_set():
            self._served = self.address_of(connection)
            logger.info("the primary is %s", shown(self._served))
            self._serving.set()

    def pause(self) -> None:
        """It is to be looked at anew before others connect to it."""
        self._serving.clear()

    # ---- who asks

    async def verify(self, connection: Connection) -> None:
        """Returns when all have been asked once more, and nothing speaks against the primary at the other end.

        Raises StoreLost if something does.
        """
        while not connection.lost.done():
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._verifying.append(future)
            self._hurry.set()
            try:
                await future
            except StoreLost:
                # Too few answer: perhaps only now.
                await asyncio.sleep(INTERVAL)
            else:
                break
        if connection.lost.done():
            raise StoreLost("the connection was closed")

    async def run(self) -> None:
        """Ask until cancelled."""
        self._heard = asyncio.get_running_loop().time()
        patience = 0.0
        while True:
            self._hurry.clear()
            waiting, self._verifying = self._verifying, []
            try:
                primary = await self._ask()
            except StoreLost as lost:
                if asyncio.get_running_loop().time() - self._heard > patience:
                    await self._doubt(str(lost))
                _answer(waiting, lost)
            else:
                patience = primary.patience
                await self._take(primary)
                _answer(waiting, StoreLost(primary.doubt) if primary.doubt else None)
            with suppress(TimeoutError):
                async with asyncio.timeout(INTERVAL):
                    await self._hurry.wait()

    async def _ask(self) -> Primary:
        primary = await self.witnesses.find()
        self._heard = asyncio.get_running_loop().time()
        if self._learns_until:
            self._learn(primary)
        self.replicas = max(self.replicas, primary.replicas)
        return primary

    def _learn(self, primary: Primary) -> None:
        if primary.is_agreed and not primary.doubt:
            logger.info("%d replicas are known, and were %d before", primary.replicas, self.replicas)
            self.replicas = primary.replicas
        elif self._heard < self._learns_until:
            return
        else:
            logger.warning(
                "%d replicas stay known: not all who watch over the primary agree that they are fewer", self.replicas
            )
        self._learns_until = 0.0

    async def _take(self, primary: Primary) -> None:
        if primary.doubt:
            await self._doubt(f"{primary}: {primary.doubt}")
        elif any(address != primary.address for address in self._connections.values()):
            await self._doubt(f"the primary is {primary} now", spared=primary.address)

    async def _doubt(self, why: str, spared: Address | None = None) -> None:
        """Close all connections but those to one server."""
        closed = [connection for connection, address in self._connections.items() if address != spared]
        if closed and self._serving.is_set():
            logger.warning("seeking the primary: %s", why)
        if spared is None or spared != self._served:
            self._serving.clear()
            if self._doubted and not self._doubted.done():
                self._doubted.set_result(None)
            self._doubted = None
        for connection in closed:
            connection.fail(StoreLost(why))
            await connection.close()

    async def close(self) -> None:
        """Ask no longer."""
        await self.witnesses.close()


def _answer(waiting: list[asyncio.Future[None]], error: StoreLost | None) -> None:
    for future in waiting:
        if future.done():
            continue
        if error:
            future.set_exception(StoreLost(str(error)))
        else:
            future.set_result(None)
