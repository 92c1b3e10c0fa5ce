"""A server of the kit's own, which lies as a rule tells it to.

Each request that is not mere housekeeping (PING, INFO, PROGRESS, HELP, QUIT, which it answers by itself) gets the next
of the rule's turns, on whatever connection it comes; the last turn is taken for all requests after it.
"""

import asyncio
import base64
import re
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

LONGEST_LINE = 1 << 22  # bytes: more than any client of a rule sends
SMALL = 100  # bytes: less than this is sent as a piece of its own, for which the client has time to read it
BETWEEN = 0.002  # seconds after such a piece
FOLLOWING = ("FOLLOW", "RESUME", "SYNC", "WATCH")


@dataclass
class Request:
    """What a client sent.  value: of SET and PUT, decoded; position: None for a copy, or for the present."""

    line: str
    connection: int
    at: float = field(default_factory=time.monotonic)
    verb: str = ""
    key: str = ""
    value: bytes | None = None
    position: str | None = None
    patterns: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.verb, _, rest = self.line.partition(" ")
        self.verb = self.verb.upper()
        words = rest.split(" ")
        if self.verb in ("FOLLOW", "RESUME"):
            self.position = None if words[0] == "-" else words[0]
            self.patterns = words[1:]
        elif self.verb in FOLLOWING:
            self.patterns = [word for word in words if word]
        else:
            self.key = words[0]
            self.value = self._value(rest)

    def _value(self, rest: str) -> bytes | None:
        if self.verb == "SET":
            return rest.partition(" ")[2].encode()
        if self.verb == "PUT":
            head, _, value = rest.partition(" =")
            value = value.removeprefix(" ")
            return base64.b64decode(value) if re.search(r" base64(=|$| )", head) else value.encode()
        return None


class Peer:
    """The server's end of one connection."""

    def __init__(self, writer: asyncio.StreamWriter, number: int, again: Callable[["Turn"], None]) -> None:
        """number: how many connections came before it.  again: lets the next request have this turn."""
        self.number = number
        self.again = again
        self._writer = writer
        self._tasks: list[asyncio.Task[None]] = []

    async def say(self, *lines: str, end: str = "\n") -> None:
        """All lines in one piece."""
        await self.send("".join(line + end for line in lines).encode())

    async def send(self, data: bytes, piece: int = 0) -> None:
        """piece: the most bytes that are sent at once; 0: all."""
        with suppress(ConnectionError):
            for start in range(0, len(data), piece or len(data) or 1):
                self._writer.write(data[start : start + piece] if piece else data)
                await self._writer.drain()
                if piece:
                    await asyncio.sleep(BETWEEN if piece < SMALL else 0)

    def later(self, work: Awaitable[None]) -> None:
        """Do what takes long, while the client's housekeeping is answered."""
        self._tasks.append(asyncio.ensure_future(_run(work)))

    def cut(self) -> None:
        """Close the connection, after what was sent."""
        self._writer.close()

    @property
    def is_cut(self) -> bool:
        return self._writer.is_closing()

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        self.cut()


async def _run(work: Awaitable[None]) -> None:
    with suppress(ConnectionError):
        await work


Turn = Callable[[Peer, Request], Awaitable[None]]
Greeting = Callable[[Peer], Awaitable[None]]


async def no_greeting(_peer: Peer) -> None:
    return


class Server:
    """Listens on a free port of 127.0.0.1 while it is entered."""

    def __init__(self, turns: list[Turn], greeting: Greeting = no_greeting, housekeeping: bool = True) -> None:
        """greeting: done with each new connection.  housekeeping: whether PING and the like are answered."""
        self._turns = list(turns)
        self._greeting = greeting
        self._housekeeping = housekeeping
        self._peers: list[Peer] = []
        self._closed: asyncio.Event = asyncio.Event()
        self.requests: list[Request] = []
        self.progress_asked = False
        self.accepted: list[float] = []

    async def __aenter__(self) -> "Server":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=LONGEST_LINE)
        host, port = self._server.sockets[0].getsockname()
        self.address = f"{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for peer in self._peers:
            await peer.end()

    @property
    def followings(self) -> list[Request]:
        """The requests that began, or were to begin, a watch."""
        return [request for request in self.requests if request.verb in FOLLOWING]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(writer, len(self.accepted), lambda turn: self._turns.insert(0, turn))
        self.accepted.append(time.monotonic())
        self._peers.append(peer)
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            await self._greeting(peer)
            while not peer.is_cut:
                line = (await reader.readuntil(b"\n"))[:-1].decode(errors="replace")
                await self._answer(peer, line.removesuffix("\r"))
        await peer.end()

    async def _answer(self, peer: Peer, line: str) -> None:
        verb, _, rest = line.partition(" ")
        kept = _HOUSEKEEPING.get(verb.upper())
        if kept is None:
            request = Request(line, peer.number)
            self.requests.append(request)
            await (self._turns.pop(0) if len(self._turns) > 1 else self._turns[0])(peer, request)
            return
        self.progress_asked |= verb.upper() == "PROGRESS" and rest != "0"
        if self._housekeeping:
            await peer.say(*kept, f"OK {rest}" if verb.upper() == "PING" and rest else "OK")
        if verb.upper() == "QUIT":
            peer.cut()


_HOUSEKEEPING: dict[str, list[str]] = {
    "PING": [],
    "HELP": [],
    "PROGRESS": [],
    "QUIT": [],
    "INFO": [
        "INFO protocol 1",
        "INFO version 0.0.0",
        "INFO store s1",
        "INFO revision 4",
        "INFO oldest 0",
        "INFO max-value 1048576",
    ],
}
