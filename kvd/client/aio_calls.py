"""The calls of asyncio's face that ask for one thing each."""

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any, TypeVar

from kvd.client import listings, pipelines, requests
from kvd.client.arguments import Seconds, Value
from kvd.client.calling import Calling
from kvd.client.requests import Request
from kvd.client.words import Changes, Connected, Item, WatchOptions, as_json, as_text
from kvd.errors import KvdError

Result = TypeVar("Result")
Listed = TypeVar("Listed")


class Calls:
    """What a Client can ask; it says more."""

    def __init__(self, calling: Calling) -> None:
        self._calling = calling
        self._ask = calling.ask

    async def get(self, key: str, *, min_position: str | None = None) -> bytes | None:
        """Return the key's value, None if there is no such key.

        min_position: wait until the daemon has seen this position; raise Unavailable if that takes too long.
        """
        return await self._ask(requests.get(key, min_position))

    async def get_text(self, key: str) -> str | None:
        """Return the key's value, which is UTF-8, None if there is no such key; raise UnicodeDecodeError."""
        return as_text(await self.get(key))

    async def get_json(self, key: str) -> Any:
        """Return what the key's value says, which is JSON, None if there is no such key; raise ValueError."""
        return as_json(await self.get(key))

    async def gets(self, key: str, *, min_position: str | None = None) -> Item | None:
        """Return the key's value and revision, None if there is no such key; min_position as of `get`."""
        return await self._ask(requests.gets(key, min_position))

    async def set(
        self, key: str, value: Value, *, ttl: Seconds | None = None, owner: str | None = None,
        if_revision: int | str | None = None,
    ) -> int:  # fmt: skip
        """Set the key and return the revision that this took; raise Conflict.

        ttl: seconds until the key expires, None for never.  owner: another key, with which it goes, instead.
        if_revision: only if the key has this revision or position; 0: only if there is no such key.
        """
        return await self._ask(requests.set(key, value, ttl, owner, if_revision))

    async def append(self, prefix: str, value: Value, *, ttl: Seconds | None = None, owner: str | None = None) -> Item:
        """Set a new key, of the prefix and the revision that this takes, in 16 digits, and return it.

        So the keys of a prefix are never twice the same, and in the order in which they were made.
        """
        return await self._ask(requests.append(prefix, value, ttl, owner))

    async def delete(self, key: str, *, if_revision: int | str | None = None) -> int | None:
        """Delete the key and return the revision that this took, None if there is no such key.

        if_revision: only if the key has this revision or position, else raise Conflict.
        """
        return await self._ask(requests.delete(key, if_revision))

    async def delete_all(self, pattern: str, limit: int | None = None) -> int:
        """Delete the keys that match and were there when it began, and return how many; `*` needs a limit."""
        return await self._ask(requests.delete_all(pattern, limit))

    async def touch(self, key: str, ttl: Seconds | None, *, if_revision: int | str | None = None) -> bool:
        """Let the key expire in `ttl` seconds, None: never; return whether there is such a key.

        if_revision: only if the key has this revision or position, else raise Conflict.
        """
        return await self._ask(requests.touch(key, ttl, if_revision))

    async def ttl(self, key: str) -> float | None:
        """Return the seconds until the key expires, math.inf: never, None: there is no such key."""
        return await self._ask(requests.ttl(key))

    async def incr(self, key: str, n: int = 1) -> int:
        """Add n to the number that the key holds, and return the sum; raise NotANumber, Overflow."""
        return await self._ask(requests.incr(key, n))

    async def count(self, pattern: str = "*", *, min_position: str | None = None) -> int:
        """Return how many keys match; min_position as of `get`."""
        return await self._ask(requests.count(pattern, min_position))

    async def keys(
        self, pattern: str = "*", after: str | None = None, limit: int | None = None, *,
        before: str | None = None, reverse: bool = False, fold: str | None = None, owner: str | None = None,
        min_position: str | None = None,
    ) -> AsyncIterator[str]:  # fmt: skip
        """Yield the keys that match, in the order of their bytes.  Read in pages: not one snapshot.

        after, before: only keys between these, which need not exist.  limit: end after so many, at least 1.
        reverse: from the last to the first.  fold: of all keys that have this after what the pattern names, what they
        begin with up to there, once.  owner: only keys that live with this one.  min_position: as of `get`.
        """
        pages = listings.listing(b"KEYS", pattern, after, limit, before, reverse, fold, owner, min_position)
        async for item in self._items(pages):
            yield item.key

    async def list(
        self, pattern: str = "*", after: str | None = None, limit: int | None = None, *,
        before: str | None = None, reverse: bool = False, fold: str | None = None, owner: str | None = None,
        min_position: str | None = None,
    ) -> AsyncIterator[Item]:  # fmt: skip
        """Yield the keys that match with their values and revisions; for the rest, like `keys`."""
        pages = listings.listing(b"LIST", pattern, after, limit, before, reverse, fold, owner, min_position)
        async for item in self._items(pages):
            yield item

    async def changes(
        self, position: str, *patterns: str, limit: int | None = None, options: WatchOptions | None = None
    ) -> Changes:
        """Return the changes after a position, `limit` (100 unless given) at the most, and up to where they are all.

        Raises Compacted, OtherStore, Future.
        """
        return await self._ask(requests.changes(position, patterns, limit, options))

    async def info(self, section: str | None = None) -> dict[str, str]:
        """Return what the daemon says of itself, or the metrics of a section, by name."""
        return await self._ask(requests.info(section))

    async def clients(self, after: str | None = None, limit: int | None = None) -> AsyncIterator[Connected]:
        """Yield who is connected to the daemon, those after one of them, `limit` at the most.

        It is for who may administer the daemon.
        """
        async for connected in self._items(listings.connections(after, limit)):
            yield connected

    async def kick(self, id: str) -> bool:  # noqa: A002  # as the wire calls it
        """End a connection to the daemon; return whether there was one.

        It is for who may administer the daemon.  A client that was not asked to stay away comes back.
        """
        return await self._ask(requests.kick(id))

    async def help(self, verb: str | None = None) -> Sequence[str]:
        """Return lines that say how the verbs of the wire are written, or one of them."""
        return await self._ask(requests.help(verb))

    async def ping(self, text: str | None = None) -> str:
        """Return the text that the daemon sends back, "" without one."""
        return await self._ask(requests.ping(text))

    async def ask_all(self, asked: Iterable[Request[Result]]) -> AsyncIterator[Result | KvdError]:
        """Ask many requests without waiting for each reply, and yield what each comes to, in their order.

        asked: what functions of kvd.client.requests make.  Each comes to what the call of its name returns, or to the
        error that this would raise.  They are taken as replies come, so there may be any number of them.
        """
        async for outcome in pipelines.in_tasks(self._calling, asked):
            yield outcome

    async def _items(self, pages: listings.Pages[Listed]) -> AsyncIterator[Listed]:
        request: Request[Any] | None = next(pages, None)
        while request:
            page = await self._ask(request)
            for item in page:
                yield item
            try:
                request = pages.send(page)
            except StopIteration:
                return
