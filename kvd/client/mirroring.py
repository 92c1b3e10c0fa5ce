"""A live copy of what matches, for either face."""

import ssl
import threading
from collections.abc import ItemsView, Iterator, Mapping, Sequence, ValuesView

from kvd.client import arguments, limits
from kvd.client.arguments import Seconds
from kvd.client.dialing import Addresses
from kvd.client.faces import Alarm, Face
from kvd.client.following import Following
from kvd.client.limits import CONNECT_TIMEOUT, TIMEOUT
from kvd.client.lines import revision_of
from kvd.client.tls import File
from kvd.client.words import Copy, Event, Item, WatchOptions
from kvd.errors import ConnectionLost


class Mirroring:
    """Follows, and keeps what there is.  A transaction's changes are applied together.

    position: what is applied is the store at this position, as far as it matches.
    """

    def __init__(self, face: Face, following: Following) -> None:
        self._face, self._following = face, following
        following.moved = self._move
        self._items: dict[str, Item] = {}
        self._batch: list[Event] = []
        self._waiting: list[tuple[int, Alarm]] = []
        self._guard = threading.Lock()
        self._error: Exception | None = None
        self._is_open = False
        self.position = ""

    async def open(self) -> None:
        """Begin, and wait for the first copy.  Raises Unreachable, Refusal."""
        await self._following.open()
        while not self.position:
            self._apply(await self._following.next())
        self._is_open = True
        self._join = self._face.spawn(self._run)

    async def _run(self) -> None:
        try:
            while True:
                self._apply(await self._following.next())
        except Exception as error:  # who waits learns of it
            self._error = error
            with self._guard:
                for _, alarm in self._waiting:
                    alarm.set()

    async def close(self) -> None:
        """End it; what was there stays."""
        await self._following.close()
        if self._is_open:
            self._is_open = False
            await self._join()

    def snapshot(self) -> tuple[dict[str, Item], str]:
        """All items by their keys, and the position of which they are."""
        with self._guard:
            return dict(self._items), self.position

    def get(self, key: str) -> Item | None:
        """One item."""
        return self._items.get(key)

    async def reach(self, position: int | str, seconds: float | None) -> None:
        """Wait until all changes up to a revision or position are applied.  Raises TimeoutError, ConnectionLost."""
        revision = revision_of(position) if isinstance(position, str) else position
        alarm = self._face.alarm()
        with self._guard:
            if self._revision() >= revision:
                return
            self._waiting.append((revision, alarm))
        try:
            self._following.hurry()
            self._check()
            if not await alarm.wait(seconds):
                raise TimeoutError
            self._check()
        finally:
            with self._guard:
                self._waiting.remove((revision, alarm))
                is_awaited = bool(self._waiting)
            if not is_awaited:
                self._following.relax()

    def _check(self) -> None:
        if self._error:
            raise ConnectionLost(f"the mirror has ended: {self._error}") from self._error

    def _revision(self) -> int:
        return revision_of(self.position) if self.position else -1

    def _apply(self, change: Event | Copy) -> None:
        if isinstance(change, Copy):
            with self._guard:
                self._items = dict(change.items)
            self._batch.clear()
        else:
            self._batch.append(change)
            if change.left:
                return
            with self._guard:
                for event in self._batch:
                    self._change(event)
            self._batch.clear()
        self._move(change.position)

    def _change(self, event: Event) -> None:
        if event.value is None:
            self._items.pop(event.key, None)
        else:
            self._items[event.key] = Item(event.key, event.value, event.revision)

    def _move(self, position: str) -> None:
        with self._guard:
            self.position = position
            for revision, alarm in self._waiting:
                if self._revision() >= revision:
                    alarm.set()


class Mirrored(Mapping[str, bytes]):
    """What a mirror holds, as a mapping of keys to values.  Subclasses name their face, and wait."""

    _face: type[Face]

    def __init__(
        self,
        address: str | Sequence[str],
        *patterns: str,
        connect_timeout: Seconds = CONNECT_TIMEOUT,
        timeout: Seconds | None = TIMEOUT,
        tls: bool | ssl.SSLContext = False,
        ca: File | None = None,
        cert: File | None = None,
        key: File | None = None,
        user: str | None = None,
        password: str | None = None,
    ) -> None:
        """tls, ca, cert, key, user, password: as `connect` takes them.

        Raises TypeError, ValueError, BadAddress and Refusal.
        """
        face, addresses = self._face(), Addresses(arguments.addresses(address))
        waits = limits.checked(
            connect_timeout, timeout, tls=tls, ca=ca, cert=cert, key=key, user=user, password=password
        )
        options = WatchOptions(batches=True)
        following = Following(face, addresses, waits, patterns, None, None, True, None, options)
        self._mirroring = Mirroring(face, following)

    def __getitem__(self, key: str) -> bytes:
        item = self._mirroring.get(key)
        if item is None:
            raise KeyError(key)
        return item.value

    def __iter__(self) -> Iterator[str]:
        return iter(self._mirroring.snapshot()[0])

    def __len__(self) -> int:
        return len(self._mirroring.snapshot()[0])

    def items(self) -> ItemsView[str, bytes]:
        """The keys with their values, as they are at one position."""
        return {key: item.value for key, item in self._mirroring.snapshot()[0].items()}.items()

    def values(self) -> ValuesView[bytes]:
        """The values, as they are at one position."""
        return dict(self.items()).values()

    @property
    def position(self) -> str:
        """Up to here every change that matches is in it; "" before it is entered."""
        return self._mirroring.position

    def item(self, key: str) -> Item | None:
        """The key's value and revision, None if there is no such key."""
        return self._mirroring.get(key)

    def snapshot(self) -> tuple[dict[str, Item], str]:
        """Return all items by their keys as they are at one position, and the position."""
        return self._mirroring.snapshot()
