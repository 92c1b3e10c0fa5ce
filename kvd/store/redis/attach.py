"""Looking at a store before it is used: whether it is kvd's, and still has all that it acknowledged.

A store that was started anew may lack the last writes that it acknowledged, unless it has each of them on disk before.
Its data hold the run of the engine in which they were last known to be whole.  In another run every daemon that wrote
shortly before must find what it knows; those that cannot, because they are gone as well, leave it unknown, and the
history is taken for another one.  On the embedded store that is settled for all that was written before one came.
"""

import asyncio
import logging
import secrets
from collections.abc import Callable
from typing import Any, NamedTuple

from kvd.errors import StoreLost
from kvd.model import Position
from kvd.process.log_lines import facts
from kvd.store.redis.batching import REPLY_TIMEOUT
from kvd.store.redis.clock import Clock, elapsed
from kvd.store.redis.connection import ALL, META, Argument, Connection, Rejected, lost_by, script
from kvd.store.redis.engine import Engine, ask, look_at
from kvd.store.redis.log import META_COMMAND, read_meta, rewind_command, tag_command, tag_of
from kvd.store.redis.unsynced import UnsyncedMark

logger = logging.getLogger("kvd.store")

OTHERS_WAIT = 3.0
"""Seconds that other daemons have to find their last writes in a store that was started anew: three times the longest
pause between their attempts to connect; and
OTHERS_PAUSE: seconds between looks whether they have."""
OTHERS_PAUSE = 0.05
SURE = 2
"""That a store has all that it acknowledged, but for what is seen to lack, and
_SURE: where among its arguments attach.lua takes that."""
_SURE = 5


class End(NamedTuple):
    """Where the history stood: its position, and the tag of the entry that ends there, b"" if none does."""

    position: Position
    tag: bytes


async def read_end(connection: Connection) -> End:
    """Where the history stands.  Raises Rejected, StoreLost, TimeoutError."""
    position, _ = read_meta(await ask(connection, META_COMMAND))
    return End(position, tag_of(await ask(connection, tag_command(position.revision))) or b"")


class Attaching:
    """What one daemon knows of its store; call `attach` on a new connection, before anything is written.

    others_wait: float, seconds that other daemons have to find their last writes.
    trusts: whether those of who does not say are taken to be there.
    engine: as it was when it was last looked at, None before that.
    unsynced: whether the store has answered before it had synced; with a place on disk if it is given another one.
    """

    others_wait: float
    trusts = False

    def __init__(self, clock: Clock, daemon: str, fsync: str, is_full: Callable[[], bool]) -> None:
        """daemon: the name that its batches go by.  fsync: the engine's appendfsync, "" to ask for it.

        is_full: whether nothing can be written, so that a store is only read.
        """
        self._clock = clock
        self._daemon = daemon
        self._fsync = fsync
        self._is_full = is_full
        self.others_wait = OTHERS_WAIT
        self._known: Position | None = None
        self.engine: Engine | None = None
        self.unsynced = UnsyncedMark(None)

    @property
    def known(self) -> Position:
        """Where the store was when it was last looked at; at revision 0 of no store before that."""
        return self._known or Position(0, b"")

    def know(self, revision: int) -> None:
        """A revision was seen of the history of now."""
        if self._known and revision > self._known.revision:
            self._known = self._known._replace(revision=revision)

    async def attach(self, connection: Connection, batch: int) -> int:
        """Make sure that this is a store of kvd's, or make it one.  Raises StoreLost, Superseded, TimeoutError.

        batch: int, the last of our batches that was acknowledged.
        Returns the last of those that the store has: that the others are lost is settled, and not to be found again.
        """
        try:
            engine = self.judged(await self._look_at(connection))
            sure = self._sure(engine)
            _, kept = await self._settle(connection, engine, sure, batch, self._known, vouches=True, takes=False)
        except Rejected as error:
            raise lost_by(error) from None
        return min(batch, kept)

    async def attach_first(self, connection: Connection, end: End | None, *, doubtful: bool | None) -> None:
        """The same for a daemon that starts, which alone takes over a store of an older layout.

        end: where the history stood when the last daemon here ended in order, None if that is not known.
        doubtful: whether the history may have been rewound, as far as that is known elsewhere.
        """
        try:
            engine = self.judged(await self._look_at(connection))
            sure = self._sure(engine) if doubtful is None else SURE
            known = end.position if end and await _is_kept(connection, end) else None
            # Nobody else writes to the embedded store yet.  Who did is not needed to find it again: all of it stands in
            # the file before the note of that, and who writes from now on is not noted.
            store, _ = await self._settle(
                connection, engine, sure, 0, known, vouches=known is not None, takes=True, settles=bool(self._fsync)
            )
            if doubtful:
                await self._renew(connection, engine, store)
        except Rejected as error:
            raise lost_by(error) from None

    async def _look_at(self, connection: Connection) -> Engine:
        """The engine at the other end.  Raises Rejected, StoreLost, TimeoutError."""
        return await look_at(connection, self._fsync)

    def judged(self, engine: Engine) -> Engine:
        """An engine as far as it is of use: one that did not sync before has all on disk when its file is written."""
        is_begun = self.unsynced.is_set and engine.is_rewriting
        return engine._replace(keeps_file=False) if is_begun else engine

    def _sure(self, engine: Engine) -> int:
        """Whether another run of the engine has all that it acknowledged, as attach.lua takes it."""
        return int(engine.synced and not engine.is_promoted and not self.unsynced.is_set)

    async def _settle(
        self, connection: Connection, engine: Engine, sure: int, batch: int, known: Position | None, *,
        vouches: bool, takes: bool, settles: bool = False,
    ) -> tuple[bytes, int]:  # fmt: skip
        """The store's id, once it is known to be whole, or was given another; and the last of our batches it has."""
        give_up = asyncio.get_running_loop().time() + self.others_wait
        arguments: list[Argument] = [
            int(takes), secrets.token_hex(4), self._daemon, engine.run, int(engine.synced), sure,
            int(vouches), batch, known.store if known else "", known.revision if known else 0,
            int(not self._is_full()), int(settles),
        ]  # fmt: skip
        found: list[bytes] = []
        # Nothing is found while the layout is being changed.
        while not found or (found[4] == b"OTHERS" and asyncio.get_running_loop().time() < give_up):
            if found:
                await asyncio.sleep(OTHERS_PAUSE)
            asked = elapsed()
            found = await ask(connection, script("attach", ALL, arguments))
        if found[4] != b"WHOLE" and self.trusts:
            # Only what we know ourselves tells against it.
            asked = elapsed()
            found = await ask(connection, script("attach", ALL, [*arguments[:_SURE], SURE, *arguments[_SURE + 1 :]]))
        store, revision, has, clock, state = found
        kept = int(has)
        async with asyncio.timeout(REPLY_TIMEOUT):
            await self._clock.resume(connection)
        self._clock.see(int(clock), asked)
        if not self._is_full():
            # Before the first write: the time that passes until the next start is to be counted, however soon that is.
            await ask(connection, script("clock", [META], self._clock.place()))
        self.engine = engine
        self._known = Position(int(revision), store)
        if state != b"WHOLE" or kept < batch:
            self._explain(state, kept, batch, known)
        if not engine.synced:
            self.unsynced.put(is_set=True)
        if state != b"WHOLE":
            store = await self._renew(connection, engine, store)
        # What it may have lost before is settled.
        self.unsynced.put(is_set=not engine.synced)
        return store, kept

    @staticmethod
    def _explain(state: bytes, kept: int, batch: int, known: Position | None) -> None:
        if kept < batch:
            logger.error("the store lost acknowledged writes: of our batches it knows %d, not %d", kept, batch)
        elif state == b"OTHERS":
            logger.warning(
                "the store was started anew, and a daemon that wrote to it before is gone: whether its last writes "
                "are kept is not known; the history is taken for another"
            )
        elif known:
            logger.error("the store lost acknowledged writes: it had come to revision %d", known.revision)
        else:
            logger.warning(
                "the store was started anew, and may have lost writes that nobody is left to know of: "
                "the history is taken for another"
            )

    async def _renew(self, connection: Connection, engine: Engine, store: bytes) -> bytes:
        """Give the store another id, if it still has this one; the one that it has now."""
        reply: list[Any] = await ask(connection, rewind_command(store, engine.run, synced=engine.synced))
        self._known = Position(int(reply[1]), bytes(reply[0]))
        logger.warning(
            "the history was renewed: the store has a new id from here on, and watches begin anew",
            extra=facts(before=store.decode(), store=self._known.store.decode(), revision=self._known.revision),
        )  # fmt: skip
        return self._known.store


async def _is_kept(connection: Connection, end: End) -> bool:
    """Whether the history has come to an end that it had, and that is still the same."""
    try:
        here, floor = read_meta(await ask(connection, META_COMMAND))
    except StoreLost:
        return False
    if here.store != end.position.store or here.revision < end.position.revision:
        return False
    tag = tag_of(await ask(connection, tag_command(end.position.revision))) or b""
    return tag == end.tag or floor >= end.position.revision
