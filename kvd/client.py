"""The client library: kvd for asyncio programs.

    async with await connect("127.0.0.1:5830") as kv:
        revision = await kv.set("lock/db", "worker-7", ttl=30, if_revision=0)
        async with kv.watch("lock/*") as changes:
            async for event in changes:
                print(event.position, event.verb, event.key, event.value)

Its errors are those of kvd.errors, and BadAddress, Unreachable, Conflict and WatchEnded.
"""

import asyncio
import base64
import contextlib
import math
import os
import re
import socket
from collections import deque
from collections.abc import AsyncIterator, Collection, Sequence
from typing import NamedTuple, Self

from kvd.errors import REFUSALS, BadKey, BadValue, ConnectionLost, KvdError, Refusal, Usage

DEFAULT_PORT = 5830
DEFAULT_ADDRESS = f"127.0.0.1:{DEFAULT_PORT}"
CONNECT_TIMEOUT = 5.0  # seconds
KEEPALIVE_IDLE = 60  # seconds of silence before a peer is probed: a watch may be quiet for days
READ_SIZE = 1 << 16  # bytes, as much as asyncio buffers
KEYS_PAGE = 1000  # keys, half a megabyte at the most
LIST_PAGE = 100  # items, whose values may be a megabyte each

_STATUS = frozenset((b"OK", b"OK64", b"NONE", b"CONFLICT", b"ERR"))
_ITEMS = frozenset((b"KEY", b"PAIR", b"PAIR64", b"GONE", b"INFO", b"HELP"))

_ADDRESS = re.compile(r"(?:\[([^\s\[\]/]+)\]|([^\s\[\]/:]+))(?::([0-9]{1,5}))?")
_WORD = r"[^\s\x00-\x1f\x7f-\x9f\ud800-\udfff*]+"
_KEY = re.compile(_WORD)
_PATTERN = re.compile(rf"{_WORD}\*?|\*")
_REVISION = re.compile(rf"[0-9]+(@{_WORD})?")
_NOT_TEXT = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")


class BadAddress(KvdError):
    """Not the address of a daemon."""


class Unreachable(ConnectionLost):
    """No daemon answers there; nothing was asked of it."""


class Conflict(KvdError):
    """A condition did not hold; revision: int, the key's present one, 0 if there is no such key."""

    def __init__(self, revision: int) -> None:
        super().__init__(f"the key's revision is {revision}" if revision else "there is no such key")
        self.revision = revision


class WatchEnded(KvdError):
    """The daemon ended a watch that was complete up to here.

    position: str.  code: str, `compacted`, `store` or `shutdown`.  text: str, for people.
    """

    def __init__(self, position: str, code: str, text: str) -> None:
        super().__init__(f"the watch ended at {position} ({code}): {text}")
        self.position, self.code, self.text = position, code, text


class Item(NamedTuple):
    """A key, its value, and the revision of the change that wrote it."""

    key: str
    value: bytes
    revision: int


class Event(NamedTuple):
    """One change.  verb: "SET", "DEL" or "EXPIRE"; value: None unless the verb is SET."""

    position: str
    revision: int
    verb: str
    key: str
    value: bytes | None


class _Reply(NamedTuple):
    word: bytes
    text: bytes
    items: Sequence[tuple[bytes, bytes]] = ()


async def connect(address: str = DEFAULT_ADDRESS, *, connect_timeout: float = CONNECT_TIMEOUT) -> "Client":
    """Connect to the daemon at HOST:PORT, HOST or [IPV6]:PORT; raise BadAddress, Unreachable.

    connect_timeout: seconds until it must have answered a PING: what is not kvd may accept and be silent.
    """
    return Client(await _Connection.open(address, connect_timeout), connect_timeout)


class Client:
    """One connection, for any number of tasks at once; made by `connect`.

    Requests are pipelined.  A call that is cancelled disturbs no other: its reply is read and dropped,
    but what it sent may be done all the same.

    Every call may raise Refusal (BadKey before anything is sent) and ConnectionLost, after which a write
    that was under way may have been done, or not.
    """

    def __init__(self, connection: "_Connection", connect_timeout: float) -> None:
        self._connection, self._connect_timeout = connection, connect_timeout
        self._waiting: deque[asyncio.Future[_Reply]] = deque()
        self._lost = ""
        self._reading = asyncio.create_task(self._read())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection; calls that still wait raise ConnectionLost."""
        self._lose("closed by this program")
        await self._connection.close()
        await self._reading

    async def get(self, key: str) -> bytes | None:
        """Return the key's value, None if there is no such key."""
        reply = await self._ask(f"GET {_key(key)}")
        return None if reply.word == b"NONE" else _value(reply.word, reply.text)

    async def gets(self, key: str) -> Item | None:
        """Return the key's value and revision, None if there is no such key."""
        reply = await self._ask(f"GETS {_key(key)}")
        if reply.word == b"NONE":
            return None
        revision, _, value = reply.text.partition(b" ")
        return Item(key, _value(reply.word, value), int(revision))

    async def set(
        self, key: str, value: bytes | str, *, ttl: float | None = None, if_revision: int | str | None = None
    ) -> int:
        """Set the key and return the revision that this took; raise Conflict.

        ttl: seconds until the key expires, None for never.
        if_revision: only if the key has this revision or position; 0: only if there is no such key.
        """
        data = _bytes(value)
        options = _condition(if_revision) + ("" if ttl is None else f" ttl={ttl:.3f}")
        if not is_text(data):
            options += f" base64={len(data)}"
            data = base64.b64encode(data)
        request = f"PUT {_key(key)}{options} = " if options else f"SET {_key(key)} "
        return int((await self._ask(request, data)).text)

    async def delete(self, key: str, *, if_revision: int | str | None = None) -> int | None:
        """Delete the key and return the revision that this took, None if there is no such key.

        if_revision: only if the key has this revision or position, else raise Conflict.
        """
        reply = await self._ask(f"DEL {_key(key)}{_condition(if_revision)}")
        return None if reply.word == b"NONE" else int(reply.text)

    async def touch(self, key: str, ttl: float | None) -> bool:
        """Let the key expire in `ttl` seconds, None: never; return whether there is such a key."""
        seconds = "-" if ttl is None else f"{ttl:.3f}"
        return (await self._ask(f"TOUCH {_key(key)} ttl={seconds}")).word == b"OK"

    async def ttl(self, key: str) -> float | None:
        """Return the seconds until the key expires, math.inf: never, None: there is no such key."""
        reply = await self._ask(f"TTL {_key(key)}")
        if reply.word == b"NONE":
            return None
        return math.inf if reply.text == b"-" else float(reply.text)

    async def incr(self, key: str, n: int = 1) -> int:
        """Add n to the number that the key holds, and return the sum; raise NotANumber, Overflow."""
        return int((await self._ask(f"INCR {_key(key)} {n}")).text)

    async def count(self, pattern: str = "*") -> int:
        """Return how many keys match."""
        return int((await self._ask(f"COUNT {_pattern(pattern)}")).text)

    async def keys(self, pattern: str = "*", after: str | None = None, limit: int | None = None) -> AsyncIterator[str]:
        """Yield the keys that match, in the order of their bytes.  Read in pages: not one snapshot.

        after: begin behind this key, which need not exist.  limit: end after so many, at least 1.
        """
        async for item in self._pages("KEYS", KEYS_PAGE, pattern, after, limit):
            yield item.key

    async def list(self, pattern: str = "*", after: str | None = None, limit: int | None = None) -> AsyncIterator[Item]:
        """Yield the keys that match with their values and revisions; for the rest, like `keys`."""
        async for item in self._pages("LIST", LIST_PAGE, pattern, after, limit):
            yield item

    async def info(self) -> dict[str, str]:
        """Return what the daemon says of itself, by name."""
        lines = [text.decode().partition(" ") for _, text in (await self._ask("INFO")).items]
        return {name: value for name, _, value in lines}

    async def ping(self, text: str | None = None) -> str:
        """Return the text that the daemon sends back, "" without one."""
        data = b"" if text is None else b" " + _bytes(text)
        if not is_text(data):
            raise BadValue("the text of a ping must have no control characters")
        return (await self._ask("PING", data)).text.decode()

    def watch(self, *patterns: str) -> "Watch":
        """Watch the keys that match one of the patterns, or every key, on another connection."""
        return Watch(self._connection.address, *patterns, connect_timeout=self._connect_timeout)

    async def _pages(
        self, verb: str, size: int, pattern: str, after: str | None, limit: int | None
    ) -> AsyncIterator[Item]:
        request = f"{verb} {_pattern(pattern)}"
        while limit != 0:
            count = size if limit is None else min(size, limit)
            behind = "" if after is None else f" after={_key(after)}"
            items = (await self._ask(f"{request}{behind} limit={count}")).items
            for word, text in items:
                item = _item(word, text)
                yield item
                after = item.key
            if len(items) < count:
                return
            limit = None if limit is None else limit - count

    async def _ask(self, request: str, value: bytes = b"") -> _Reply:
        await self._connection.drain()
        if self._lost:
            raise ConnectionLost(self._lost)
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        self._connection.write(request.encode() + value + b"\n")
        return _checked(await waiter)

    async def _read(self) -> None:
        reason, items = "its reader was cancelled", []
        try:
            while True:
                word, text = await self._connection.read()
                if word in _ITEMS:
                    items.append((word, text))
                elif word in _STATUS:
                    self._answer(_Reply(word, text, items))
                    items = []
        except ConnectionLost as error:
            reason = str(error)
        finally:
            self._lose(reason)

    def _answer(self, reply: _Reply) -> None:
        if not self._waiting:
            raise ConnectionLost("a reply came that nothing had asked for")
        waiter = self._waiting.popleft()
        if not waiter.done():  # done: its caller was cancelled
            waiter.set_result(reply)

    def _lose(self, reason: str) -> None:
        self._lost = self._lost or f"{reason}; a write under way may have been done, or not"
        self._connection.abort()
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_exception(ConnectionLost(self._lost))
        self._waiting.clear()


class Watch:
    """The changes to keys that match, each once, in the order of their revisions.

        async with Watch("127.0.0.1:5830", "lock/*") as changes:
            async for event in changes:
                ...

    It has a connection of its own, which is read no faster than the changes are taken.

    position: str, what the daemon answered; every later change comes.

    Entering it raises what `connect` does, and Refusal; taking a change, WatchEnded and ConnectionLost.
    """

    def __init__(self, address: str, *patterns: str, connect_timeout: float = CONNECT_TIMEOUT) -> None:
        self.position = ""
        self._address, self._connect_timeout = address, connect_timeout
        self._request = " ".join(("WATCH", *map(_pattern, patterns)))

    async def __aenter__(self) -> Self:
        self._connection = await _Connection.open(self._address, self._connect_timeout)
        self.position = (await self._connection.begin(self._request)).text.decode()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._connection.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        word, text = await self._connection.find((b"CHANGE", b"END"))
        if word == b"CHANGE":
            return _event(text)
        self._connection.abort()  # nothing follows: to wait for it would be for ever
        raise WatchEnded(*text.decode().split(" ", 2))


class _Connection:
    """Lines to and from a daemon.  Received bytes that no LF ends are no line."""

    def __init__(self, address: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.address = address
        self._reader, self._writer = reader, writer
        self._lines: deque[bytes] = deque()
        self._begun: list[bytes] = []  # pieces of the next line: one bytes object would cost its square

    @classmethod
    async def open(cls, address: str, connect_timeout: float) -> Self:
        host, port = parse_address(address)
        try:
            async with asyncio.timeout(connect_timeout):
                connection = cls(address, *await asyncio.open_connection(host, port))
                connection._keep_alive()
                await connection.begin("PING")
                return connection
        except TimeoutError as error:
            reason = _reason(error) if error.errno else f"no answer within {connect_timeout:g} s"
        except OSError as error:
            reason = _reason(error)
        except UnicodeError:  # from the codec for host names
            reason = "no host has such a name"
        except ConnectionLost:
            reason = "it hangs up; is it kvd?"
        raise Unreachable(f"cannot reach kvd at {address} ({reason})")

    def _keep_alive(self) -> None:
        connection = self._writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if hasattr(socket, "TCP_KEEPIDLE"):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE)

    async def begin(self, request: str) -> _Reply:
        """Send a request and return its reply; the connection is closed without one that is good."""
        try:
            self.write(request.encode() + b"\n")
            return _checked(_Reply(*await self.find(_STATUS)))
        except BaseException:
            await self.close()
            raise

    def write(self, data: bytes) -> None:
        self._writer.write(data)

    async def drain(self) -> None:
        with contextlib.suppress(OSError):  # who reads meets it too
            await self._writer.drain()

    async def find(self, words: Collection[bytes]) -> tuple[bytes, bytes]:
        """Return the next line that begins with one of the words, as that word and the rest."""
        while True:
            word, text = await self.read()
            if word in words:
                return word, text

    async def read(self) -> tuple[bytes, bytes]:
        """Return the next line as its first word and the rest; raise ConnectionLost."""
        while not self._lines:
            try:
                data = await self._reader.read(READ_SIZE)
            except OSError as error:
                raise ConnectionLost(f"lost kvd at {self.address} ({_reason(error)})") from None
            if not data:
                raise ConnectionLost(f"lost kvd at {self.address} (the connection was closed)")
            ended, found, rest = data.rpartition(b"\n")
            if found:
                self._lines.extend(b"".join((*self._begun, ended)).split(b"\n"))
                self._begun.clear()
            self._begun.append(rest)
        word, _, text = self._lines.popleft().partition(b" ")
        return word, text

    def abort(self) -> None:
        self._writer.transport.abort()

    async def close(self) -> None:
        self.abort()  # not close(), which waits for a daemon that does not read
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()


def parse_address(address: str) -> tuple[str, int]:
    """Take HOST:PORT, HOST or [IPV6]:PORT apart; raise BadAddress."""
    match = _ADDRESS.fullmatch(address)
    port = int(match[3] or DEFAULT_PORT) if match else 0
    if not match or not 0 < port < 65536:
        raise BadAddress(f"not an address: {address!r}; write HOST:PORT, HOST or [IPV6]:PORT")
    return match[1] or match[2], port


def is_text(value: bytes) -> bool:
    """Whether kvd sends the value as it is; it sends every other one in base64."""
    try:
        return not _NOT_TEXT.search(value.decode())
    except UnicodeDecodeError:
        return False


def _reason(error: OSError) -> str:
    if isinstance(error, socket.gaierror):
        return str(error.strerror).lower()
    return os.strerror(error.errno).lower() if error.errno else str(error)


def _checked(reply: _Reply) -> _Reply:
    if reply.word == b"CONFLICT":
        raise Conflict(int(reply.text))
    if reply.word == b"ERR":
        code, _, text = reply.text.decode().partition(" ")
        raise REFUSALS.get(code, Refusal)(text, code)
    return reply


def _value(word: bytes, value: bytes) -> bytes:
    return base64.b64decode(value) if word.endswith(b"64") else value


def _item(word: bytes, text: bytes) -> Item:
    if word == b"KEY":
        return Item(text.decode(), b"", 0)
    revision, key, value = text.split(b" ", 2)
    return Item(key.decode(), _value(word, value), int(revision))


def _event(text: bytes) -> Event:
    position, verb, key, *value = text.split(b" ", 3)
    revision = int(position.partition(b"@")[0])
    name = verb.decode().removesuffix("64")
    return Event(position.decode(), revision, name, key.decode(), _value(verb, value[0]) if value else None)


def _bytes(value: bytes | str) -> bytes:
    try:
        return value.encode() if isinstance(value, str) else value
    except UnicodeEncodeError:
        raise BadValue("a str with surrogates has no UTF-8; give the value as bytes") from None


def _condition(revision: int | str | None) -> str:
    if revision is None:
        return ""
    if not _REVISION.fullmatch(str(revision)):
        raise Usage(f"not a revision or position: {revision!r}")
    return f" if={revision}"


def _key(key: str) -> str:
    if not _KEY.fullmatch(key):
        raise BadKey(f"not a key: {key!a}; a key has no white space, control characters or '*'")
    return key


def _pattern(pattern: str) -> str:
    if not _PATTERN.fullmatch(pattern):
        raise BadKey(f"not a pattern: {pattern!a}; a pattern is a key, or a prefix and one '*'")
    return pattern
