"""What the sessions of one daemon share."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol

from kvd.errors import KvdError
from kvd.model import Outcome, Position, Record
from kvd.requests import KeyRange, SimpleSets, Transaction, Write
from kvd.session import watching
from kvd.session.complaints import Complaints
from kvd.session.progress import ProgressTimer
from kvd.session.watching import Log
from kvd.watch.catching_up import CatchingUp
from kvd.watch.hub import Hub
from kvd.watch.snapshot import Copying


class Store(watching.Store, Protocol):
    """What a session asks of the store; see `store.Store`.

    `read_then` and `write_then` give what was asked for at once or later, or the error in its place.
    """

    batch_items: int
    batch_bytes: int

    @property
    def kept(self) -> Callable[[bytes], Record | None]:
        """Gives the record of a key, if it is at hand."""

    def kept_all(self, keys: Sequence[bytes]) -> list[Record] | None:
        """The records of keys, if all are at hand."""

    def read_then(
        self, keys: Sequence[bytes], done: Callable[[tuple[list[Record | None], int] | KvdError], None], *,
        fetch: bool = False,
    ) -> None:  # fmt: skip
        """Records and the store's clock.  fetch: with its value, however large, if it is one key."""

    def ask_then(
        self, keys: Sequence[bytes], done: Callable[[tuple[list[Record | None], int] | KvdError], None], *,
        fetch: bool = False,
    ) -> None:  # fmt: skip
        """The same for keys that are not at hand."""

    def write_then(
        self, writes: Sequence[Write] | SimpleSets, size: int, done: Callable[[Sequence[Outcome] | KvdError], None]
    ) -> None:
        """Apply writes."""

    async def read(self, keys: Sequence[bytes]) -> tuple[list[Record | None], int]:
        """Records and the store's clock.  Raises Unavailable, as all below."""

    async def fetch(self, key: bytes) -> Record | None:
        """One record with its value, however large."""

    def pages(
        self, page: KeyRange, *, records: bool, due: bool
    ) -> AsyncIterator[tuple[Position, list[tuple[bytes, Any]]]]:
        """The keys that match, page by page."""

    async def count(self, pattern: bytes) -> int:
        """How many keys match."""

    async def transact(self, transaction: Transaction, size: int) -> Outcome:
        """Apply all of a transaction, or nothing."""


class Context(NamedTuple):
    """What the sessions of one daemon share.

    max_value, max_line: int, bytes.  push_limit: int, bytes that may wait for a slow watcher.
    describe: gives INFO's lines.  complaints: the log lines that peers cause.
    timer: for PROGRESS.
    """

    store: Store
    log: Log
    hub: Hub
    catching_up: CatchingUp
    copying: Copying
    max_value: int
    max_line: int
    push_limit: int
    describe: Callable[[], Awaitable[Iterable[str]]]
    complaints: Complaints
    timer: ProgressTimer
