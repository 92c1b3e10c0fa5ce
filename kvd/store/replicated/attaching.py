"""Whether a primary has all that was confirmed, before anybody uses it.

Which run of the engine it is, is told by its replication id: that changes with each promotion.
"""

from collections.abc import Callable

from kvd.model import Position
from kvd.store.redis.attach import Attaching
from kvd.store.redis.clock import Clock
from kvd.store.redis.connection import META, Connection, Rejected, command, info_of, lost_by
from kvd.store.redis.engine import Engine, ask, look_at
from kvd.store.redis.log import tag_command, tag_of
from kvd.store.replicated.confirmed import Confirmed

OTHERS_WAIT = 1.0
"""Seconds that other daemons have to find what they had confirmed, before what they do not say is taken for granted."""


class GuardedAttaching(Attaching):
    """With acknowledged writes on one server alone: in another one every daemon that wrote lately must find its own."""

    async def _look_at(self, connection: Connection) -> Engine:
        engine = await look_at(connection, self._fsync)
        replication = info_of(await ask(connection, command("INFO", "replication")))
        run = replication.get("master_replid", "")
        return engine._replace(run=run if run.isalnum() else "")

    def _sure(self, engine: Engine) -> int:  # noqa: ARG002
        """A primary that was started anew may be one that was promoted before that."""
        return 0


class ConfirmedAttaching(GuardedAttaching):
    """With acknowledged writes on replicas: a primary has them, unless one of us knows better."""

    trusts = True

    def __init__(
        self, clock: Clock, daemon: str, fsync: str, is_full: Callable[[], bool], confirmed: Confirmed
    ) -> None:
        super().__init__(clock, daemon, fsync, is_full)
        self._confirmed = confirmed
        self.others_wait = OTHERS_WAIT

    async def attach(self, connection: Connection, batch: int) -> int:
        """See `Attaching`."""
        if self._known:
            # What was there when it was looked at last may not have been confirmed.
            self._known = Position(self._confirmed.revision, self._known.store)
        before = self._known
        kept = await super().attach(connection, batch)
        if before and self.engine and self._known and self._known.store == before.store:
            try:
                if not await self._has_seen_entry(connection):
                    self._explain(b"LOST", batch, batch, before)
                    await self._renew(connection, self.engine, before.store)
            except Rejected as error:
                raise lost_by(error) from None
        if before and self._known and self._known.store != before.store:
            self._confirmed.begin(0)
        return kept

    async def _has_seen_entry(self, connection: Connection) -> bool:
        """Whether the entry that was shown last is still the same, if it is kept."""
        revision, seen = self._confirmed.tag
        if not seen or await ask(connection, command("HGET", META, "store")) is None:
            return True
        tag = tag_of(await ask(connection, tag_command(revision)))
        return tag is None or tag == seen
