"""Asks a daemon what it is doing, again and again, through its restarts."""

import asyncio
import time
from collections.abc import Callable

from kvd.cli.command import Arguments, how
from kvd.cli.escape import visible
from kvd.cli.screen.figures import Facts, Figures
from kvd.client import Client, connect
from kvd.errors import ConnectionLost, KvdError, Unavailable


class Looking:
    """The newest figures of a daemon.

    figures: None: there are none yet.  why: why the daemon does not answer, "": it does.
    since: of the monotonic clock, when that began, or when the look that has no answer yet did.
    """

    def __init__(self, args: Arguments) -> None:
        self.figures: Figures | None = None
        self.why = ""
        self.since = time.monotonic()
        self.interval: float = args["--interval"] or 1.0
        self._args = args
        self._client: Client | None = None
        self._seen: tuple[float, Facts] | None = None

    async def look(self) -> None:
        """Ask once; raise KvdError."""
        if not self._client:
            self._client = await connect(self._args["--addr"], reconnect=0, **how(self._args))
        facts = await self._client.info()
        now = time.monotonic()
        then, before = self._seen or (now, None)
        self._seen = now, facts
        self.figures = Figures.of(facts, before, now - then)

    async def run(self, looked: Callable[[], object]) -> None:
        """Look once every interval, until it is cancelled, and call after each look.

        Raises KvdError: what the daemon refuses for good.
        """
        while True:
            began = time.monotonic()
            if not self.why:
                self.since = began
            try:
                await self.look()
                self.why = ""
            except (ConnectionLost, Unavailable) as error:
                await self._lose(error)
            looked()
            await asyncio.sleep(max(began + self.interval - time.monotonic(), 0))

    async def _lose(self, error: KvdError) -> None:
        if not self.why:
            self.since = time.monotonic()
        self.why = visible(str(error))
        self._seen = None
        await self.close()

    async def close(self) -> None:
        """Close the connection."""
        client, self._client = self._client, None
        if client:
            await client.close()
