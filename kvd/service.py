"""What serves, without sockets: a store, its change log, the hub, and the sessions on them."""

import asyncio
import time
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, cast

from kvd import __version__, metrics
from kvd.access.usage import usage
from kvd.access.users import Users
from kvd.counts import Start, Table
from kvd.measuring import Measuring, lines_of
from kvd.model import Position
from kvd.process.activity import Activity
from kvd.process.audit import Audit
from kvd.process.tasks import run_together
from kvd.session.auth import Access
from kvd.session.background import Background
from kvd.session.budget import Budget
from kvd.session.clients import Clients, Others
from kvd.session.committing import Committing
from kvd.session.complaints import Complaints
from kvd.session.connection import Connection
from kvd.session.context import Context
from kvd.session.counting import RequestCounts
from kvd.session.in_flight import InFlight
from kvd.session.limits import Limits, Sizes
from kvd.session.progress import ProgressTimer
from kvd.session.reaching import Reaching
from kvd.session.rounds import Rounds
from kvd.session.watching import Log
from kvd.settings import Settings
from kvd.store.redis.store import Store
from kvd.watch.catching_up import CatchingUp
from kvd.watch.follower import Follower
from kvd.watch.hub import LEAST_INDEX_CHANGES, Hub
from kvd.watch.memory import RECENT_BYTES, RecentChanges
from kvd.watch.pages import Pages
from kvd.watch.snapshot import Copying
from kvd.wire import words
from kvd.wire.lines import max_line

if TYPE_CHECKING:
    from kvd.edge.store import EdgeStore

PROTOCOL = 1
FEATURES = (
    "resume sync progress transactions follow changes ranges sequence-keys checks watch-options owners auth min "
    "clients edges metrics"
)


class Service:
    """Keep `run` running, `open_session` for each connection, `close` it."""

    def __init__(
        self, store: "Store | EdgeStore", settings: Settings, *, embedded: bool, start: Start | None = None,
        users: Users | None = None, others: Others | None = None, activity: Activity | None = None,
    ) -> None:  # fmt: skip
        """embedded: whether the store is the daemon's own, with the limits that it was given.

        start: of the daemon; None: just now, with an empty store.  users: None if everybody may do everything.
        others: the other processes of the daemon, None if there are none.  activity: of this one, None for a constant
        one.
        """
        # An edge's has all that is asked of it here.
        self.store = cast(Store, store)
        start = start or Start(time.monotonic(), Position(0, b""))
        table = self._table = Table(start.slot)
        self.counts = table.own
        self.store.count_in(self.counts)
        self.measuring = Measuring(self.store, table, start, settings)
        self._edge = None if isinstance(store, Store) else store
        self._features = f"{FEATURES} follows" if self._edge else FEATURES
        self._settings = settings
        self._embedded = embedded
        self._max_line = max_line(settings.max_value)
        # An edge has no change log beside it.
        recent = RecentChanges(settings.history_bytes if self._edge else RECENT_BYTES)
        most_indexed = max(settings.history_changes, LEAST_INDEX_CHANGES)
        self.hub = Hub(recent, index_changes=most_indexed, counts=self.counts, clock=store.now)
        activity = activity or Activity()
        activity.all_rest = self._all_rest
        self.follower = Follower(partial(store.open_log, self.hub.wants_value), self.hub, activity)
        log = self._edge.attach(self.hub) if self._edge else self.follower
        self.catching_up = CatchingUp(store, self.hub)
        self._committing = Committing(store, log, self.hub, self.catching_up)
        self._complaints = Complaints.new()
        self._access = None if users is None else Access(users, Audit(settings.audit) if settings.audit else None)
        self.limits = Limits(Sizes.of(settings), self.counts, self._complaints)
        self._budget = Budget(self.limits.sizes.memory, self.counts)
        self._rounds = Rounds(self._budget, self.limits)
        self.clients = Clients(others)
        self.context = self._shared(log)

    def _shared(self, log: Log) -> Context:
        """What the sessions share."""
        store, settings = self.store, self._settings
        return Context(
            store, log, self.hub, self.catching_up, Copying(store, Pages(store, self.hub), self.hub),
            settings.max_value, self._max_line, settings.watch_buffer, self._describe, self._complaints,
            ProgressTimer(), self._committing, self.counts, self._introduce,
            self.limits, self._budget, self._rounds, InFlight(self.limits, self._budget),
            Reaching(store, self.hub, settings.max_stale, self._edge), self.clients, RequestCounts(self.counts),
            Background(), self._access, self._edge,
        )  # fmt: skip

    def open_session(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Connection:
        """A session on a connection; who asks for it runs it."""
        return Connection(self.context, reader, writer)

    async def run(self) -> None:
        """Keep the store and its change log going until cancelled.  Raises Superseded."""
        await run_together(
            self._keep_index(), self.store.run(), self.follower.run(), self.catching_up.run(), self._committing.run(),
            self._rounds.run(),
        )  # fmt: skip

    def _all_rest(self) -> bool:
        return not self._table.sum(metrics.CONNECTIONS)

    async def _keep_index(self) -> None:
        if self._settings.change_index == "always":
            await self.context.follower.join()
            self.catching_up.fill_index()

    async def close(self) -> None:
        """Let go of the store."""
        self._complaints.flush()
        self.context.background.close()
        if self._access:
            self._access.close()
        await self.store.close()

    def change_users(self, users: Users | None) -> None:
        """Take other users, for all connections in one step; not none where there were some."""
        if self._access and users is not None:
            self._access.change(users)

    def _what_anybody_may_know(self) -> dict[str, int | str]:
        return {
            "protocol": PROTOCOL,
            "version": __version__,
            "features": self._features,
            "max-key": words.MAX_KEY,
            "max-value": self._settings.max_value,
            "max-line": self._max_line,
        }

    async def _introduce(self) -> Iterable[str]:
        return [f"{name} {value}" for name, value in self._what_anybody_may_know().items()]

    async def _describe(self, section: str) -> Iterable[str]:
        """INFO's lines, or those of a section of the metrics."""
        if section == metrics.QUOTAS:
            return usage(self._access.users, await self.store.counted()) if self._access else []
        if section:
            found = await self.measuring.all()
            return [
                line
                for metric in metrics.METRICS
                if metric in found and section in (metric.section, metrics.ALL_SECTIONS)
                for line in lines_of(metric, found[metric])
            ]
        position, floor = await self.store.history()
        known = self._what_anybody_may_know()
        # In the order of protocol.txt.
        facts = {
            **{name: known[name] for name in ("protocol", "version")},
            "engine": "",
            "features": self._features,
            "store": position.store.decode(),
            "revision": position.revision,
            "oldest": floor,
            **known,
            **await self._describe_memory(),
            **(self._edge.facts() if self._edge else {}),
        }
        facts |= {metric.name: value for metric, value in (await self.measuring.short()).items()}
        return [f"{name} {value}" for name, value in facts.items()]

    async def _describe_memory(self) -> dict[str, int]:
        """Who may take how much; a store that is given with --store has limits of its own."""
        plan = self._settings.memory
        facts = {"memory": plan.available.size, "client-memory": plan.connections}
        if self._embedded or self._edge:
            _, most = await self.store.memory()
            facts |= {"cache-memory": plan.caches, "max-memory": most}
        return facts
