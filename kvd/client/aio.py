"""A client for asyncio: requests, by any number of tasks."""

import ssl
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any, Self, TypeVar

from kvd.client import arguments, limits, listings, pipelines, requests
from kvd.client.arguments import Seconds, Value
from kvd.client.calling import Calling
from kvd.client.committing import TaskTransaction
from kvd.client.dialing import DEFAULT_ADDRESS, Addresses
from kvd.client.following import Retrying
from kvd.client.limits import CONNECT_TIMEOUT, RECONNECT, TIMEOUT, Limits
from kvd.client.login import login_of
from kvd.client.mirror import Mirror
from kvd.client.places import Place
from kvd.client.requests import Request
from kvd.client.tasks import TaskFace
from kvd.client.tls import File, tls_context
from kvd.client.watch import Follow, Watch
from kvd.client.words import Changes, Item, WatchOptions, as_json, as_text
from kvd.errors import KvdError

Result = TypeVar("Result")


async def connect(
    address: str | Sequence[str] = DEFAULT_ADDRESS,
    *,
    connect_timeout: Seconds = CONNECT_TIMEOUT,
    timeout: Seconds | None = TIMEOUT,  # noqa: ASYNC109  # it lasts as long as the connection
    reconnect: Seconds = RECONNECT,
    retry_uncertain: bool = False,
    tls: bool | ssl.SSLContext = False,
    ca: File | None = None,
    cert: File | None = None,
    key: File | None = None,
    user: str | None = None,
    password: str | None = None,
) -> "Client":
    """Connect to the daemon at HOST:PORT, HOST, [IPV6]:PORT or unix:PATH, or to one of several of one store.

    connect_timeout: seconds until it must have answered a PING: what is not kvd may accept and be silent.
    timeout: seconds without a byte from the daemon, while a call waits for it, after which the connection is lost; None
    for no limit.  An answer may take longer, as long as it comes.
    reconnect: seconds for which a call tries to connect again when the connection was lost; 0: not at all.
    retry_uncertain: send a write again of which it is not known whether it was done; it may then be done twice.
    tls: True, or an SSLContext; an address that begins with tls: stands for True.  ca: PEM file of who may have signed
    the daemon's certificate, unless this machine trusts them.  cert, key: PEM files to be shown to the daemon.
    user, password: who this is, for a daemon that has users.

    Raises BadAddress, Unreachable, Refusal, TypeError, ValueError.
    """
    waits = limits.checked(
        connect_timeout, timeout, reconnect, retry_uncertain, tls_context(tls, ca, cert, key), login_of(user, password)
    )
    client = Client(arguments.addresses(address), waits)
    await client._calling.open()
    return client


class Client:
    """Requests, of any number of tasks at once; made by `connect`.

    They are pipelined.  A call that is cancelled disturbs no other: its reply is read and dropped,
    but what it sent may be done all the same.

    Every call may raise TypeError and Refusal for its arguments before anything is sent, and any Refusal of the
    daemon's.  When the connection is lost, reads are asked again, and so are writes that were not sent; of one that was
    in flight it is not known whether it was done: Uncertain.  If there is no daemon in time, ConnectionLost (TimedOut:
    it was silent; ProtocolError: it is none; Unreachable).

    Seconds are a number or a timedelta, to the millisecond.
    """

    def __init__(self, addresses: Sequence[str], waits: Limits) -> None:
        self._addresses, self._limits = addresses, waits
        self._calling = Calling(TaskFace(), Addresses(addresses), waits)
        self._ask = self._calling.ask

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection; calls that still wait raise ConnectionLost."""
        await self._calling.close()

    async def get(self, key: str) -> bytes | None:
        """Return the key's value, None if there is no such key."""
        return await self._ask(requests.get(key))

    async def get_text(self, key: str) -> str | None:
        """Return the key's value, which is UTF-8, None if there is no such key; raise UnicodeDecodeError."""
        return as_text(await self.get(key))

    async def get_json(self, key: str) -> Any:
        """Return what the key's value says, which is JSON, None if there is no such key; raise ValueError."""
        return as_json(await self.get(key))

    async def gets(self, key: str) -> Item | None:
        """Return the key's value and revision, None if there is no such key."""
        return await self._ask(requests.gets(key))

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

    async def count(self, pattern: str = "*") -> int:
        """Return how many keys match."""
        return await self._ask(requests.count(pattern))

    async def keys(
        self, pattern: str = "*", after: str | None = None, limit: int | None = None, *,
        before: str | None = None, reverse: bool = False, fold: str | None = None, owner: str | None = None,
    ) -> AsyncIterator[str]:  # fmt: skip
        """Yield the keys that match, in the order of their bytes.  Read in pages: not one snapshot.

        after, before: only keys between these, which need not exist.  limit: end after so many, at least 1.
        reverse: from the last to the first.  fold: of all keys that have this after what the pattern names, what they
        begin with up to there, once.  owner: only keys that live with this one.
        """
        async for item in self._items(listings.listing(b"KEYS", pattern, after, limit, before, reverse, fold, owner)):
            yield item.key

    async def list(
        self, pattern: str = "*", after: str | None = None, limit: int | None = None, *,
        before: str | None = None, reverse: bool = False, fold: str | None = None, owner: str | None = None,
    ) -> AsyncIterator[Item]:  # fmt: skip
        """Yield the keys that match with their values and revisions; for the rest, like `keys`."""
        async for item in self._items(listings.listing(b"LIST", pattern, after, limit, before, reverse, fold, owner)):
            yield item

    async def changes(
        self, position: str, *patterns: str, limit: int | None = None, options: WatchOptions | None = None
    ) -> Changes:
        """Return the changes after a position, `limit` (100 unless given) at the most, and up to where they are all.

        Raises Compacted, OtherStore, Future.
        """
        return await self._ask(requests.changes(position, patterns, limit, options))

    async def info(self) -> dict[str, str]:
        """Return what the daemon says of itself, by name."""
        return await self._ask(requests.info())

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

    def transaction(self) -> TaskTransaction:
        """Gather writes in an `async with`, at whose end they are done together, or not at all."""
        return TaskTransaction(self._calling)

    def watch(self, *patterns: str, options: WatchOptions | None = None) -> Watch:
        """Watch the keys that match one of the patterns, or every key, on another connection."""
        return self._watch(patterns, options)

    def resume(self, position: str, *patterns: str, options: WatchOptions | None = None) -> Watch:
        """Watch from a position on: all changes after it come, or entering raises Compacted, OtherStore, Future."""
        return self._watch(patterns, options, resume=position)

    def sync(self, *patterns: str, options: WatchOptions | None = None) -> Watch:
        """Watch, beginning with a copy of all there is."""
        return self._watch(patterns, options, sync=True)

    def follow(
        self, *patterns: str, position: str | None = None, place: Place | None = None, copies: bool = True,
        retrying: Retrying | None = None, options: WatchOptions | None = None,
    ) -> Follow:  # fmt: skip
        """Watch through restarts and lost connections, on connections of its own."""
        connect_timeout, timeout = self._limits[:2]
        return Follow(
            self._addresses, *patterns, position=position, place=place, copies=copies, retrying=retrying,
            options=options,
            connect_timeout=connect_timeout, timeout=timeout, tls=self._limits.tls or False, **self._login(),
        )  # fmt: skip

    def mirror(self, *patterns: str) -> Mirror:
        """Keep a live copy of what matches, as a mapping."""
        connect_timeout, timeout = self._limits[:2]
        return Mirror(
            self._addresses, *patterns,
            connect_timeout=connect_timeout, timeout=timeout, tls=self._limits.tls or False, **self._login(),
        )  # fmt: skip

    def _login(self) -> dict[str, Any]:
        login = self._limits.login
        return {"user": login.user.decode(), "password": login.password.decode()} if login else {}

    def _watch(
        self, patterns: tuple[str, ...], options: WatchOptions | None, *, resume: str | None = None, sync: bool = False
    ) -> Watch:
        connect_timeout, timeout = self._limits[:2]
        return Watch(
            self._addresses, *patterns, resume=resume, sync=sync, options=options,
            connect_timeout=connect_timeout, timeout=timeout, tls=self._limits.tls or False, **self._login(),
        )  # fmt: skip

    async def _items(self, pages: listings.Pages) -> AsyncIterator[Item]:
        request: Request[Any] | None = next(pages, None)
        while request:
            page = await self._ask(request)
            for item in page:
                yield item
            try:
                request = pages.send(page)
            except StopIteration:
                return
