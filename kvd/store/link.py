"""One connection to Redis: redis-py opens it (URL, TLS, password), bytes go through it directly.

redis-py's own client costs ten times as much a call and may send one twice; see `Link.open`.
"""

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import hiredis
from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, OutOfMemoryError, RedisError, ResponseError

from kvd.errors import StartError, StoreLost

PREFIX = "{kvd}:"
"""Before every key in Redis.  The braces keep all of them in one slot of a cluster."""
DATA, BIG, INDEX, TTL, LOG, META = (
    f"{PREFIX}{name}".encode() for name in ("data", "big", "index", "ttl", "log", "meta")
)
ALL = (DATA, BIG, INDEX, TTL, LOG, META)

CONNECT_TIMEOUT = 5.0
"""Seconds for a connection and its handshake."""

SCRIPTS: dict[str, bytes] = {
    path.stem: path.read_bytes() for path in sorted((Path(__file__).parent.parent / "lua").glob("*.lua"))
}
# EVALSHA names scripts by SHA-1; nothing secret hangs on it.
_SHAS = {name: hashlib.sha1(source, usedforsecurity=False).hexdigest() for name, source in SCRIPTS.items()}

NOSCRIPT = "NOSCRIPT"
"""First word of Redis's error for a script that is not loaded."""

Argument = bytes | str | int
Replies = Callable[..., None]
"""Takes the replies to one batch; a reply may be a Rejected.  Raises StoreLost."""


class Rejected(Exception):
    """Redis answered with an error: this one command had no effect.  `word` is the error's first word."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.word = text.partition(" ")[0]

    @classmethod
    def of(cls, error: Exception) -> "Rejected":
        """That for an error of hiredis or redis-py.  The latter takes the first word off those that it knows."""
        text = str(error).removeprefix("ERR ").partition(" script: ")[0]
        if isinstance(error, NoScriptError):
            text = f"{NOSCRIPT} {text}"
        if isinstance(error, OutOfMemoryError) or text.startswith("OOM "):
            text = "OOM its memory is full (maxmemory)"
        return cls(text)


def command(*arguments: Argument) -> bytes:
    """The bytes of a command."""
    packed: bytes = hiredis.pack_command(arguments)  # type: ignore[arg-type]  # its tuple is not variadic
    return packed


def script(name: str, keys: Sequence[bytes], arguments: Sequence[Argument]) -> bytes:
    """The bytes of a call of lua/NAME.lua."""
    return command("EVALSHA", _SHAS[name], len(keys), *keys, *arguments)


class Dialer:
    """Opens connections to the Redis of one URL."""

    def __init__(self, url: str) -> None:
        """url: str, redis://, rediss:// or unix://.  Raises StartError if it is not one."""
        options: dict[str, Any] = {} if url.startswith("unix:") else {"socket_keepalive": True}
        try:
            # Retries are off: a script that timed out was seen to run nine times.  No timeout on replies: it
            # would wrap every call; whoever waits watches the time instead.
            self._pool: ConnectionPool = ConnectionPool.from_url(
                url, protocol=2, socket_timeout=None, socket_connect_timeout=CONNECT_TIMEOUT,
                retry=Retry(NoBackoff(), 0), client_name="kvd", **options,
            )  # fmt: skip
            self._pool.make_connection()  # type: ignore[no-untyped-call]
        except (ValueError, TypeError) as error:
            raise StartError(
                f"not the URL of a Redis: {error}; wanted redis://[user:password@]host:port/db, "
                "rediss://... or unix:///path/to/socket"
            ) from None

    async def open(self) -> "Link":
        """A new connection, with kvd's scripts loaded.  Raises StoreLost."""
        link = Link(self._pool.make_connection())  # type: ignore[no-untyped-call]
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                await link.prepare()
        except TimeoutError:
            await link.close()
            raise StoreLost(f"no answer within {CONNECT_TIMEOUT:.0f} s") from None
        except Rejected as error:
            await link.close()
            raise StoreLost(str(error)) from None
        except BaseException:
            await link.close()
            raise
        return link


class Link:
    """One open connection.  Replies come in the order of the commands."""

    def __init__(self, connection: AbstractConnection) -> None:
        self._connection = connection

    async def prepare(self) -> None:
        """Connect, and load what scripts are missing.  Raises StoreLost, Rejected."""
        try:
            await self._connection.connect()  # type: ignore[no-untyped-call]
        except (RedisError, OSError) as error:
            raise StoreLost(str(error)) from None
        # Asked first: loading is a write, which a store with a full disk refuses.
        known = await self.call(command("SCRIPT", "EXISTS", *_SHAS.values()))
        for source, present in zip(SCRIPTS.values(), known, strict=True):
            if not present:
                await self.call(command("SCRIPT", "LOAD", source))

    async def send(self, packed: bytes) -> None:
        """Send commands.  Raises StoreLost."""
        if not self._connection.is_connected:
            # redis-py would connect again by itself, and send to a store that nobody has looked at.
            raise StoreLost("the connection was closed")
        try:
            await self._connection.send_packed_command([packed], check_health=False)
        except (RedisError, OSError, RuntimeError) as error:
            # RuntimeError: uvloop's word for a transport that was closed a moment ago.
            raise StoreLost(str(error)) from None

    async def receive(self) -> Any:
        """The next reply, as RESP2 gives it.  Raises Rejected, StoreLost."""
        try:
            return await self._connection.read_response(disable_decoding=True)
        except ResponseError as error:
            raise Rejected.of(error) from None
        except (RedisError, OSError) as error:
            raise StoreLost(str(error)) from None

    async def call(self, packed: bytes) -> Any:
        """Send one command and wait for its reply.  Raises Rejected, StoreLost."""
        await self.send(packed)
        return await self.receive()

    async def close(self) -> None:
        """Close at once."""
        await self._connection.disconnect(nowait=True)

    def pipe(self, take: Replies, count: int) -> "Pipe":
        """Hand replies over as they arrive, `count` at a time; from now on, the link only closes.  Raises StoreLost."""
        # Of redis-py, only the connection that it has made is used: its streams cost a task and 3 us a reply.
        streams: Any = self._connection._writer
        if streams is None or self._connection._reader.at_eof():  # type: ignore[union-attr]  # both or none are there
            raise StoreLost("the connection was closed")
        pipe = Pipe(streams.transport, take, count)
        streams.transport.set_protocol(pipe)
        return pipe


class Pipe(asyncio.Protocol):
    """An open connection whose replies wake no task.

    lost: future of None, raises StoreLost when the connection is lost, and whatever else `take` raises.
    """

    def __init__(self, transport: asyncio.Transport, take: Replies, count: int) -> None:
        self._transport = transport
        self._take = take
        self._count = count
        self._reader = hiredis.Reader()
        self._replies: list[Any] = []
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def write(self, packed: bytes) -> None:
        """Send commands; what `lost` says tells whether they arrived.  How many may wait is the caller's care."""
        if not self._transport.is_closing():
            self._transport.write(packed)

    def data_received(self, data: bytes) -> None:
        """Called by the transport."""
        self._reader.feed(data)
        try:
            while not self.lost.done() and (reply := self._reader.gets()) is not False:
                self._replies.append(Rejected.of(reply) if isinstance(reply, hiredis.ReplyError) else reply)
                if len(self._replies) == self._count:
                    replies, self._replies = self._replies, []
                    self._take(*replies)
        except Exception as error:  # to be raised where somebody waits
            self.fail(StoreLost(str(error)) if isinstance(error, hiredis.HiredisError) else error)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the transport."""
        self.fail(StoreLost(str(exc) if exc else "the connection was closed"))

    def fail(self, error: Exception) -> None:
        """Have `lost` raise an error, if it does not yet."""
        if not self.lost.done():
            self.lost.set_exception(error)
