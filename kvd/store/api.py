"""What sessions and watches ask of a store, whichever back end it is."""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, NamedTuple, Protocol

from kvd.errors import KvdError
from kvd.model import AtHand, Change, Outcome, Position, Record
from kvd.requests import AnyWrite, KeyRange, Limited, Simple, Transaction

Found = tuple[list[Record | None], int]
"""The records of keys, None for those that are not there, and the store's clock in milliseconds."""
ReadDone = Callable[[Found | KvdError], None]
"""Takes what was read, or why it was not."""
WriteDone = Callable[[Sequence[Outcome] | KvdError], None]
"""Takes the outcome of each write, or why there are none."""


class Page(NamedTuple):
    """Keys as of one position, each with its Record, or None where only keys were asked for."""

    position: Position
    items: list[tuple[bytes, Any]]


class Vitals(NamedTuple):
    """How the store is doing, as far as its server tells: for metrics.

    resident: bytes of its process.  backlog: keys that have expired and are not deleted yet.

    lag: milliseconds since the first of them did.  sync_delays: how often a write waited for a sync.
    """

    resident: int
    backlog: int
    lag: int
    sync_delays: int


class Store(Protocol):
    """One store.  What may fail raises Unavailable, a write also Uncertain; `done` is given the error instead.

    batch_items: int, keys or writes in one call at the most.  batch_bytes: int, bytes of their values in one call, a
    single value excepted.
    """

    batch_items: int
    batch_bytes: int

    # ---- single keys

    @property
    def kept(self) -> Callable[[bytes], AtHand | None]:
        """Gives the record of a key, if it is at hand."""

    def kept_all(self, keys: Sequence[bytes]) -> Sequence[AtHand] | None:
        """The records of keys, if all are at hand."""

    def kept_texts(self, keys: Sequence[bytes]) -> list[bytes] | None:
        """The values of keys, if all are at hand and are texts."""

    def read_then(self, keys: Sequence[bytes], done: ReadDone, *, fetch: bool = False) -> None:
        """Have `done` called with the records of keys, at once or later.

        Values of large records are left out.  fetch: with its value, however large, if it is one key.
        """

    def ask_then(self, keys: Sequence[bytes], done: ReadDone, *, fetch: bool = False) -> None:
        """The same for keys that are not at hand."""

    async def read(self, keys: Sequence[bytes]) -> Found:
        """The records of keys; values of large ones are left out."""

    async def fetch(self, key: bytes) -> Record | None:
        """One record with its value, however large."""

    def write_then(self, writes: Sequence[AnyWrite] | Simple, size: int, done: WriteDone) -> None:
        """Apply writes in their order, and have `done` called with an outcome for each.

        Other writes may come between them.  size: int, bytes of their values.
        """

    async def write(self, writes: Sequence[AnyWrite], size: int) -> list[Outcome]:
        """The same as `write_then`, awaited."""

    async def transact(self, transaction: Transaction | Limited, size: int) -> Outcome:
        """Apply all of a transaction, or nothing."""

    # ---- ranges of keys

    def pages(self, wanted: KeyRange, *, records: bool) -> AsyncIterator[Page]:
        """The keys that match, page by page; at least one page."""

    async def page(self, pattern: bytes, after: bytes, *, values: bool = True) -> tuple[Page, bytes]:
        """For a copy: some of the keys that match, from one on, with their records; and the last key that was looked
        at, b"" at the end.  Also expired keys whose end is not in the change log yet.

        values: whether with large ones; else the records say only how many bytes these have."""

    async def records(self, keys: Sequence[bytes], *, values: bool = True) -> Page:
        """For a copy: the records of the first of some keys, at least one, None for those that are not there.  Also
        expired ones whose end is not in the change log yet.  values: as of `page`."""

    async def count(self, pattern: bytes) -> int:
        """How many keys match."""

    # ---- the change log

    def now(self) -> int:
        """The store's clock as far as it is known here, in milliseconds."""

    async def history(self) -> tuple[Position, int]:
        """Where the store is now, and the revision after which all changes are kept."""

    async def check(self, position: Position) -> int:
        """Whether all changes after a position are kept; the revision after which all are.

        Raises OtherStore, Future, Compacted.
        """

    async def changes_after(self, position: Position, *, values: bool = True) -> list[Change]:
        """The next page of the change log; empty if there is none yet.  Raises OtherStore, Future, Compacted.

        values: whether with large ones; else the changes say only how many bytes these have."""

    async def keys_before(self, store: bytes, revision: int) -> tuple[list[bytes], bytes]:
        """The keys of some of the changes just before one, in order, and a byte for each: 1 if the next one belongs to
        the same transaction.  Raises OtherStore, and Compacted if none of them are kept."""

    async def changes_at(self, store: bytes, revisions: Sequence[int], *, values: bool = True) -> list[Change]:
        """The first of some changes, at least one.  Raises OtherStore, and Compacted if that is not kept any more.

        values: as of `changes_after`."""
