"""One connection to Redis: redis-py opens it where it has a URL (TLS, password), bytes go through it directly.

redis-py's own client costs ten times as much a call and may send one twice; its streams cost a task and 3 us a reply.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol, TypeVar
from urllib.parse import unquote, urlsplit

import hiredis

from kvd.errors import ForeignData, StoreLost, StoreUnusable, Superseded
from kvd.store.redis.patience import within
from kvd.store.redis.scripts import REFUSED, SCRIPTS, SHAS

PREFIX = "{kvd}:"
"""Before every key in Redis.  The braces keep all of them in one slot of a cluster."""
DATA, BIG, INDEX, TTL, LOG, META, REPLACED, OWNED = ALL = tuple(
    f"{PREFIX}{name}".encode() for name in ("data", "big", "index", "ttl", "log", "meta", "replaced", "owned")
)

CONNECT_TIMEOUT = 5.0
"""Seconds for a connection and its handshake."""

NOSCRIPT = "NOSCRIPT"
"""First word of Redis's error for a script that is not loaded, and
SPENT: of our scripts' for a store without revisions left, and FOREIGN: for one that another program has changed."""
SPENT, FOREIGN = "SPENT", "FOREIGN"
COPY_IT = f"copy what it holds into a new store (redis-cli HGETALL '{PREFIX}data' shows it)"

Argument = bytes | str | int
Replies = Callable[..., None]
"""Takes the replies to one batch; a reply may be a Rejected.  Raises StoreLost."""


class Rejected(Exception):
    """Redis answered with an error: this one command had no effect.  `word` is the error's first word."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.word = text.partition(" ")[0]

    def __str__(self) -> str:
        text = super().__str__()
        if self.word in (REFUSED, FOREIGN):
            return text.partition(" ")[2]
        return f"{text.partition(' ')[2]}; {COPY_IT}" if self.word == SPENT else text

    @classmethod
    def of(cls, error: Exception) -> "Rejected":
        """That for an error of hiredis."""
        text = str(error).removeprefix("ERR ").partition(" script: ")[0]
        # Redis 6.2 puts where in the script it was before it.
        return cls("OOM its memory is full (maxmemory)" if "OOM command not allowed" in text else text)


_PASSING = {
    "LOADING", "BUSY", "MASTERDOWN", "READONLY", "CLUSTERDOWN", "TRYAGAIN", "NOREPLICAS", "MISCONF", "OOM", NOSCRIPT
}  # fmt: skip
"""First words of errors that a store answers for a while: it starts, is being promoted, lacks space."""


def lost_by(error: Rejected) -> StoreLost | Superseded:
    """What an error means to whom it leaves without a store."""
    if error.word == REFUSED:
        return Superseded(f"the store cannot be used: {error}")
    if error.word == FOREIGN:
        return ForeignData(str(error))
    return (StoreLost if error.word in _PASSING else StoreUnusable)(str(error))


def command(*arguments: Argument) -> bytes:
    """The bytes of a command."""
    packed: bytes = hiredis.pack_command(arguments)  # type: ignore[arg-type]  # its tuple is not variadic
    return packed


def script(name: str, keys: Sequence[bytes], arguments: Sequence[Argument]) -> bytes:
    """The bytes of a call of lua/NAME.lua."""
    return command("EVALSHA", SHAS[name], len(keys), *keys, *arguments)


def info_of(raw: bytes) -> dict[str, str]:
    """The reply to INFO, value by name."""
    lines = (line.partition(":") for line in raw.decode(errors="replace").splitlines())
    return {name: value for name, colon, value in lines if colon}


class Opener(Protocol):
    """Opens connections to one Redis."""

    def make(self) -> Any:
        """One that is to be opened: it has what redis-py's has, `connect`, `disconnect`, `_reader` and `_writer`."""

    def why(self, error: BaseException) -> StoreLost | Superseded | None:
        """What an error means that met one while it was opened, None if it was not foreseen."""


class _File:
    """A connection to a socket that is a file."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def connect(self) -> None:
        """Open it."""
        self._reader, self._writer = await asyncio.open_unix_connection(self._path)

    async def disconnect(self, *, nowait: bool) -> None:  # noqa: ARG002
        """Close it at once."""
        if self._writer:
            self._writer.close()


class _FileOpener:
    """An `Opener` for a socket that is a file, and asks for no password."""

    def __init__(self, path: str) -> None:
        self._path = path

    def make(self) -> _File:
        """See `Opener`."""
        return _File(self._path)

    def why(self, error: BaseException) -> StoreLost | Superseded | None:
        """See `Opener`."""
        if isinstance(error, Rejected):
            return lost_by(error)
        # RuntimeError: uvloop's word for a transport that was closed a moment ago.
        return StoreLost(str(error)) if isinstance(error, OSError | RuntimeError) else None


class Connector:
    """Opens connections to the Redis of one URL."""

    def __init__(self, url: str, *, direct: bool = False) -> None:
        """url: str, redis://, rediss:// or unix://.  direct: it is of an embedded server, and needs no library.

        Raises StartError if it is not one.
        """
        self._opener: Opener
        if direct:
            self._opener = _FileOpener(unquote(urlsplit(url).path, errors="surrogateescape"))
        else:
            from kvd.store.redis.library import Library

            self._opener = Library(url, CONNECT_TIMEOUT)

    async def open(self) -> "Connection":
        """A new connection, with kvd's scripts loaded.  Raises StoreLost, StoreUnusable."""
        return await open_by(self._opener, self._opener.make(), Connection, load_scripts)


Opened = TypeVar("Opened", bound="Connection")


async def open_by(
    opener: Opener, made: Any, kind: Callable[[Any], Opened], greet: Callable[[Opened], Awaitable[None]],
    patience: float = CONNECT_TIMEOUT,
) -> Opened:  # fmt: skip
    """Open what an opener has made.  Raises StoreLost, StoreUnusable.

    kind: what it becomes.  greet: what is asked of it first.  patience: seconds for all of it.
    """

    async def opened() -> Opened:
        await made.connect()
        connection = kind(made)
        await greet(connection)
        return connection

    try:
        return await within(patience, opened())
    except BaseException as error:
        await made.disconnect(nowait=True)
        if isinstance(error, TimeoutError):
            raise StoreLost(f"no answer within {patience:.10g} s") from None
        if why := opener.why(error):
            raise why from None
        raise


async def load_scripts(connection: "Connection") -> None:
    """Load those that are missing.  Raises StoreLost, Rejected."""
    # Asked first: it saves sending them.
    try:
        known = await connection.call(command("SCRIPT", "EXISTS", *SHAS.values()))
    except Rejected as error:
        if "unknown command" in str(error):
            raise StoreLost("it has no Lua scripting, which kvd needs; use a Redis or Valkey that has it") from None
        raise
    # Not by SCRIPT LOAD, which is a write to Redis 6.2: with a full disk it ends because of that.
    missing = [command("EVAL", source, 0) for source, there in zip(SCRIPTS.values(), known, strict=True) if not there]
    await asyncio.gather(*map(connection.begin, missing))


class Connection(asyncio.Protocol):
    """One open connection, whose replies wake no task.  They come in the order of the commands.

    lost: future of None, raises StoreLost when the connection is lost, and whatever else `deliver`'s `take` raises.
    """

    def __init__(self, opened: Any) -> None:
        """opened: as an `Opener` makes it, connected; from now on it only closes.

        Raises StoreLost if it is lost by now.
        """
        streams = opened._writer
        if streams is None or streams.transport.is_closing() or opened._reader.at_eof():
            raise StoreLost("the connection was closed")
        self._opened = opened
        self._transport: asyncio.Transport = streams.transport
        self._reader = hiredis.Reader()
        self._asked: deque[asyncio.Future[Any]] = deque()
        self._take: Replies = self._answer
        self._count = 1
        self._replies: list[Any] = []
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # Not everybody asks for it.
        self.lost.add_done_callback(lambda lost: lost.cancelled() or lost.exception())
        self._transport.set_protocol(self)

    async def call(self, packed: bytes) -> Any:
        """Send one command and wait for its reply, as RESP2 gives it.  Raises Rejected, StoreLost."""
        return await self.begin(packed)

    def begin(self, packed: bytes) -> asyncio.Future[Any]:
        """Send one command; the future gives what `call` does.  Raises StoreLost."""
        if self.lost.done():
            raise StoreLost("the connection was closed")
        reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._asked.append(reply)
        self.write(packed)
        return reply

    def deliver(self, take: Replies, count: int) -> None:
        """From now on, hand replies over as they arrive, `count` at a time; nothing is called any more."""
        self._take = take
        self._count = count

    def write(self, packed: bytes) -> None:
        """Send commands; what `lost` says tells whether they arrived.  How many may wait is the caller's care."""
        if not self._transport.is_closing():
            self._transport.write(packed)

    async def close(self) -> None:
        """Close at once."""
        await self._opened.disconnect(nowait=True)
        self.fail(StoreLost("the connection was closed"))

    def data_received(self, data: bytes) -> None:
        """Called by the transport."""
        self._reader.feed(data)
        try:
            while not self.lost.done() and (reply := self._reader.gets()) is not False:
                self._replies.append(self._rejected(reply) if isinstance(reply, hiredis.ReplyError) else reply)
                if len(self._replies) == self._count:
                    replies, self._replies = self._replies, []
                    self._take(*replies)
        except Exception as error:  # to be raised where somebody waits
            self.fail(StoreLost(str(error)) if isinstance(error, hiredis.HiredisError) else error)

    def _rejected(self, error: Exception) -> Rejected:
        """What an error that Redis answered is given as; may raise StoreLost."""
        return Rejected.of(error)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the transport."""
        self.fail(StoreLost(str(exc) if exc else "the connection was closed"))

    def fail(self, error: Exception) -> None:
        """Have `lost` and every call raise an error, if `lost` does not yet."""
        if not self.lost.done():
            self.lost.set_exception(error)
        while self._asked:
            self._answer(error)
        # A method of its own would keep it until the garbage collector comes.
        self._take = _nobody

    def _answer(self, reply: Any) -> None:
        """The reply to the oldest call, or the error that it raises."""
        answer(self._asked.popleft(), reply)


def _nobody(*_replies: Any) -> None:
    """The connection is lost."""


def answer(future: asyncio.Future[Any], result: Any) -> None:
    """Give a future its result, or the error that it raises, unless nobody waits for it any more."""
    if future.done():
        return
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
