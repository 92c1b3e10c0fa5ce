"""What serves, without sockets: a store, its change log, the hub, and the sessions on them."""

import asyncio
from collections.abc import Iterable
from functools import partial

from kvd import __version__
from kvd.process.tasks import run_together
from kvd.session.committing import Committing
from kvd.session.complaints import Complaints
from kvd.session.connection import Connection
from kvd.session.context import Context
from kvd.session.progress import ProgressTimer
from kvd.settings import Settings
from kvd.store.redis.store import Store
from kvd.watch.catching_up import CatchingUp
from kvd.watch.follower import Follower
from kvd.watch.hub import LEAST_INDEX_CHANGES, Hub
from kvd.watch.pages import Pages
from kvd.watch.snapshot import Copying
from kvd.wire import words
from kvd.wire.lines import max_line

PROTOCOL = 1
FEATURES = "resume sync progress transactions follow changes ranges sequence-keys checks watch-options"


class Service:
    """Keep `run` running, `open_session` for each connection, `close` it."""

    def __init__(self, store: Store, settings: Settings, *, embedded: bool) -> None:
        """embedded: whether the store is the daemon's own, with the limits that it was given."""
        self.store = store
        self.hub = Hub(index_changes=max(settings.history_changes, LEAST_INDEX_CHANGES))
        self.follower = Follower(partial(store.open_log, self.hub.wants_value), self.hub)
        self.catching_up = CatchingUp(store, self.hub)
        self._committing = Committing(store, self.follower, self.hub, self.catching_up)
        self._settings = settings
        self._embedded = embedded
        self._max_line = max_line(settings.max_value)
        self._complaints = Complaints.new()
        self._context = Context(
            store, self.follower, self.hub, self.catching_up, Copying(store, Pages(store, self.hub), self.hub),
            settings.max_value, self._max_line, settings.watch_buffer, self._describe, self._complaints,
            ProgressTimer(), self._committing,
        )  # fmt: skip

    def open_session(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Connection:
        """A session on a connection; who asks for it runs it."""
        return Connection(self._context, reader, writer)

    async def run(self) -> None:
        """Keep the store and its change log going until cancelled.  Raises Superseded."""
        await run_together(
            self._keep_index(), self.store.run(), self.follower.run(), self.catching_up.run(), self._committing.run()
        )

    async def _keep_index(self) -> None:
        if self._settings.change_index == "always":
            await self.follower.join()
            self.catching_up.fill_index()

    async def close(self) -> None:
        """Let go of the store."""
        self._complaints.flush()
        await self.store.close()

    async def _describe(self) -> Iterable[str]:
        position, floor = await self.store.history()
        facts = {
            "protocol": PROTOCOL,
            "version": __version__,
            "engine": await self.store.engine(),
            "features": FEATURES,
            "store": position.store.decode(),
            "revision": position.revision,
            "oldest": floor,
            "max-key": words.MAX_KEY,
            "max-value": self._settings.max_value,
            "max-line": self._max_line,
            **await self._describe_memory(),
        }
        return [f"{name} {value}" for name, value in facts.items()]

    async def _describe_memory(self) -> dict[str, int]:
        """Who may take how much; a store that is given with --store has limits of its own."""
        plan = self._settings.memory
        facts = {"memory": plan.available.size, "client-memory": plan.connections}
        if self._embedded:
            used, most = await self.store.memory()
            facts |= {"cache-memory": plan.caches, "max-memory": most, "used-memory": used}
        return facts
