"""Requests that are not answered before this daemon shows a position: `min=`."""

import asyncio
from collections.abc import Callable

from kvd.errors import KvdError, OtherStore, Unavailable
from kvd.model import Position
from kvd.session.elsewhere import Elsewhere
from kvd.store.api import Store
from kvd.watch.hub import Hub

PAUSE = 0.02
"""Seconds between looks at a store whose change log nobody follows; all who wait look together, in one task: thousands
may wait."""
AT_ONCE = 16
"""Those who go on before others have their turn."""

Waiter = asyncio.Future[None]


class Reaching:
    """Waits for positions."""

    def __init__(self, store: Store, hub: Hub, longest: float, elsewhere: Elsewhere | None = None) -> None:
        """longest: float, seconds that one waits.  elsewhere: as `Context` has it."""
        self._elsewhere = elsewhere
        self._store = store
        self._hub = hub
        self._longest = longest
        # What each of them waits for, and how to ask whether it is to wait no longer.
        self._waiting: dict[Waiter, tuple[Position, Callable[[], bool]]] = {}
        self._task: asyncio.Task[None] | None = None
        # Set when one of them may go on, where the change log is followed.
        self._reached = asyncio.Event()

    async def reach(self, wanted: Position, is_stopping: Callable[[], bool]) -> None:
        """Return once the store shows a position, or a later one.  Raises OtherStore, Unavailable."""
        loop = asyncio.get_running_loop()
        give_up = loop.time() + self._longest
        here, _ = await self._store.history()
        if self._elsewhere and here.store != wanted.store:
            # The history may have been replaced a moment ago.
            await self._elsewhere.position()
            here, _ = await self._store.history()
        if _is_there(wanted, here):
            return
        try:
            async with asyncio.timeout_at(give_up):
                await self._wait(wanted, is_stopping)
        except TimeoutError:
            raise Unavailable(
                f"this daemon has not seen {bytes(wanted).decode()} within {self._longest:.10g} s"
            ) from None

    async def _wait(self, wanted: Position, is_stopping: Callable[[], bool]) -> None:
        waiter: Waiter = asyncio.get_running_loop().create_future()
        self._waiting[waiter] = wanted, is_stopping
        self._expect()
        self._task = self._task or asyncio.create_task(self._look())
        try:
            await waiter
        finally:
            del self._waiting[waiter]
            if not self._waiting:
                self._hub.wait_no_longer(self._reached.set)
                self._task.cancel()
                self._task = None

    def _expect(self) -> None:
        """Be told when the first of them may go on."""
        revision = min(wanted.revision for wanted, _ in self._waiting.values())
        self._hub.when_reached(revision, self._reached.set)

    async def _look(self) -> None:
        """Until nobody waits."""
        while True:
            try:
                async with asyncio.timeout(PAUSE):
                    await self._reached.wait()
            except TimeoutError:
                pass
            self._reached.clear()
            try:
                here: Position | KvdError = (await self._store.history())[0]
            except KvdError as error:
                here = error
            await self._tell(here)
            if self._waiting:
                self._expect()

    async def _tell(self, here: Position | KvdError) -> None:
        """Have those go on who need not wait any longer."""
        told = 0
        for waiter, (wanted, is_stopping) in list(self._waiting.items()):
            if waiter.done() or not _settle(waiter, wanted, is_stopping, here):
                continue
            told += 1
            if told % AT_ONCE == 0:
                await asyncio.sleep(0)


def _settle(waiter: Waiter, wanted: Position, is_stopping: Callable[[], bool], here: Position | KvdError) -> bool:
    """Tell one who waits, if there is something to tell."""
    try:
        if isinstance(here, KvdError):
            # Each raises one of its own, for tracebacks grow.
            raise type(here)(*here.args)
        if _is_there(wanted, here):
            waiter.set_result(None)
        elif is_stopping():
            raise Unavailable("the daemon stops")
    except KvdError as error:
        waiter.set_exception(error.with_traceback(None))
    return waiter.done()


def _is_there(wanted: Position, here: Position) -> bool:
    """Raises OtherStore."""
    if here.store != wanted.store:
        raise OtherStore("min= is a position of another store, or of a history that was replaced; read without it")
    return here.revision >= wanted.revision
