"""The part of a store that reads its change log, for those who do not follow it."""

from collections.abc import Sequence

from kvd.asked_once import AskedOnce
from kvd.errors import StoreLost, Unavailable
from kvd.model import Change, Position
from kvd.store.redis.attach import Attaching
from kvd.store.redis.channel import Channel
from kvd.store.redis.log import (
    META_COMMAND,
    changes_command,
    check,
    keys_command,
    page_command,
    read_changes,
    read_keys,
    read_meta,
    read_page,
)
from kvd.store.redis.parts import Parts


class LoggedChanges:
    """Changes by their revisions, and where the store is."""

    def __init__(self, parts: Parts, control: Channel, backlog: Channel, attaching: Attaching) -> None:
        """control: for calls that show nobody what the store holds; backlog: for those that do."""
        self._parts = parts
        self._control, self._backlog = control, backlog
        self._attaching = attaching
        self._history = AskedOnce(self._ask_history)

    async def changes_after(self, position: Position, *, values: bool = True) -> list[Change]:
        """The next page of the changes after a position; empty if there are none yet.

        values: whether with large ones.
        Raises Unavailable, and OtherStore, Future, Compacted if not all of them are kept.
        """
        return read_page(position, await self._backlog.call(page_command(position, values=values)))

    async def check(self, position: Position) -> int:
        """Whether all that came after a position is kept; the revision after which all is.

        Raises OtherStore, Future, Compacted, Unavailable.
        """
        here, floor = await self.history()
        check(position, here, floor)
        return floor

    async def keys_before(self, store: bytes, revision: int) -> tuple[list[bytes], bytes]:
        """The keys of some of the changes just before one, in order, and a byte for each: 1 if the next one belongs to
        the same transaction.  Raises Unavailable, OtherStore, and Compacted if none of them are kept."""
        return read_keys(store, revision, await self._backlog.call(keys_command(store, revision)))

    async def changes_at(self, store: bytes, revisions: Sequence[int], *, values: bool = True) -> list[Change]:
        """The first of some changes, at least one.  values: whether with large ones.

        Raises Unavailable, OtherStore, Compacted.
        """
        packed = changes_command(store, revisions, values=values)
        return read_changes(store, revisions, await self._backlog.call(packed))

    async def history(self) -> tuple[Position, int]:
        """Where the store is now, and the revision after which all changes are kept.  Raises Unavailable."""
        return await self._history.ask()

    async def _ask_history(self) -> tuple[Position, int]:
        try:
            position, floor = read_meta(await self._control.call(META_COMMAND))
        except StoreLost as error:
            raise Unavailable(str(error)) from None
        await self._parts.confirm(position.revision)
        self._attaching.know(position.revision)
        return position, floor
