"""What a daemon asks another one, of whose store it serves a copy."""

from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Protocol

from kvd.model import Form, Position
from kvd.requests import DeleteRange
from kvd.store.api import Found, ReadDone


class Tunnel(Protocol):
    """A watch there."""

    @property
    def held(self) -> int:
        """Bytes that have come and were not passed on."""

    def tell(self, grown: Callable[[], None]) -> None:
        """Have somebody called when that has become more."""

    def pieces(self) -> AsyncGenerator[tuple[bytes, int], None]:
        """Lines, which may be none, and the revision up to which they are all.  Raises ConnectionLost."""

    def drop(self) -> None:
        """Let go of all that, at once: nothing more will be passed on."""

    async def close(self) -> None:
        """End it."""


class Elsewhere(Protocol):
    """Another daemon.  All raise what it refuses, and Unavailable."""

    def lives_then(
        self, wanted: Sequence[bool], keys: Sequence[bytes], done: ReadDone, *, fetch: bool = False
    ) -> None:  # fmt: skip
        """As `Store.read_then`, but of some keys only how long they live is asked, there.  wanted: of which."""

    async def lives(self, keys: Sequence[bytes], wanted: Sequence[bool]) -> Found:
        """The same, for one who waits."""

    async def reach(self, position: Position) -> None:
        """Return once what is served here is at a position, or later."""

    async def position(self) -> Position:
        """Where the store is now, once what is served here is there."""

    def relay(self, request: bytes) -> AsyncGenerator[bytes, None]:
        """The item lines of the reply to a request, many at a time, and at last its status line alone."""

    async def delete(self, wanted: DeleteRange) -> bytes:
        """Have keys deleted; the reply, once they are gone here as well.  Raises Uncertain, too."""

    def sync(self, form: Form, patterns: Sequence[bytes]) -> AsyncGenerator[bytes, None]:
        """The same of a SYNC."""

    async def tunnel(self, position: Position, form: Form, patterns: Sequence[bytes]) -> Tunnel:
        """A watch of what came after a position that is older than what is known here."""
