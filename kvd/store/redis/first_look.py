"""The look at a store before it is used: whether it is there, and one that may be used."""

import asyncio
import logging
from collections.abc import Callable

from kvd.backoff import Backoff
from kvd.errors import ForeignData, ForeignStore, StartError, StoreLost, StoreUnusable, Superseded
from kvd.store.redis.attach import Attaching, End
from kvd.store.redis.connection import META, Rejected, command, lost_by
from kvd.store.redis.disk_space import FULL
from kvd.store.redis.engine import ask, check_server, engine_of, warn_of
from kvd.store.redis.parts import Parts

logger = logging.getLogger("kvd.store")


class FirstLook:
    """Of one daemon, as it starts."""

    def __init__(
        self, parts: Parts, attaching: Attaching, is_full: Callable[[], bool], end: End | None, loss: str,
        *, suspect: bool | None,
    ) -> None:  # fmt: skip
        """is_full: whether the store's disk has no space, not even for deletes.  The others: as of `Store.start`."""
        self._parts, self._attaching, self._is_full = parts, attaching, is_full
        self._end, self._loss, self._suspect = end, loss, suspect

    async def until_good(self, wait: float) -> str:
        """Look until the store is there; its engine, such as "Valkey 9.1.2".

        wait: seconds that it has to come.  Raises StartError if it does not, or must not be used.
        """
        loop = asyncio.get_running_loop()
        give_up = loop.time() + wait
        backoff = Backoff(jitter=True)
        while True:
            try:
                server = await self._look()
            except ForeignData as error:
                raise ForeignStore(f"cannot use the store: {error}") from None
            except StoreUnusable as error:
                raise StartError(f"cannot use the store: {error}") from None
            except Superseded as error:
                raise StartError(str(error)) from None
            except (StoreLost, TimeoutError) as lost:
                why = str(lost) or "it does not answer"
            else:
                break
            if self._is_full():
                raise StartError(f"cannot use the store: {why}; {FULL}")
            is_first, pause = backoff.is_fresh, backoff.next()
            if loop.time() + pause > give_up:
                raise StartError(f"cannot reach the store: {why}; is it running, and is its URL right?")
            if is_first:
                logger.warning("the store is unreachable: %s; waiting for up to %.10g s (--store-wait)", why, wait)
            await asyncio.sleep(pause)
        if not backoff.is_fresh:
            logger.info("the store is there")
        return server

    async def _look(self) -> str:
        """One attempt.  Raises StartError, StoreLost, TimeoutError, StoreUnusable, Superseded."""
        connection = await self._parts.attacher.open()
        try:
            server = engine_of(await check_server(connection))
            await self._parts.check(connection)
            if self._loss and not await ask(connection, command("EXISTS", META)):
                raise StartError(self._loss)
            await self._attaching.attach_first(connection, self._end, doubtful=self._suspect)
        except Rejected as error:
            raise lost_by(error) from None
        finally:
            await connection.close()
        if self._suspect is None and self._attaching.engine:
            warn_of(self._attaching.engine)
        return server
