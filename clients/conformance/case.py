"""What rules are made of: a client that talks to a lying server, the server's turns, and what must have come of it."""

import base64
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

from adapter import Adapter, Answer, Event, Wrong
from server import Greeting, Peer, Request, Server, Turn, no_greeting

LAST = "p/end"  # the key of the change that ends a watch of the kit
TIMEOUT = "5"  # seconds that a client is told to wait for a silent server, where a rule is about something else
PATIENCE = 12.0  # seconds until a watch must have come to its last change
RETRY = 0.4  # seconds that the lying server asks for
SILENCE = "2"  # seconds that it is told to wait for a silent one: for longer than a busy machine holds this kit up
QUIET = "3"  # the same, where it is not silent but slow: many times as long as a busy machine is late
DRIP = 0.4  # seconds between two bytes, or lines, of a slow server, which in all takes longer than QUIET
EARLY = 0.02  # seconds by which clocks may differ
FIRST_PAUSE = 0.05  # seconds: half of 0.1
REVISION = "7"  # of what the lying server has


@dataclass(frozen=True)
class Rule:
    """name: group/name; says: what the client must do.  check returns what it did, or raises Wrong."""

    name: str
    says: str
    check: Callable[[list[str]], Awaitable[str]]


class Rules(list[Rule]):
    """Those of a group, in the order in which they are written."""

    def __init__(self, group: str) -> None:
        super().__init__()
        self._group = group

    def __call__(self, says: str) -> Callable[[Callable[[list[str]], Awaitable[str]]], None]:
        """Make a rule of a function."""

        def add(check: Callable[[list[str]], Awaitable[str]]) -> None:
            self.append(Rule(f"{self._group}/{check.__name__.replace('_', '-')}", says, check))

        return add


def must(holds: bool, wrong: str) -> None:
    if not holds:
        raise Wrong(wrong)


@contextlib.asynccontextmanager
async def talking(
    command: list[str],
    *turns: Turn,
    silence: str = TIMEOUT,
    greeting: Greeting = no_greeting,
    housekeeping: bool = True,
) -> AsyncIterator[tuple[Server, Adapter]]:
    """A client that is told the address of a lying server, and after how many seconds of silence to give it up."""
    async with Server([*turns], greeting, housekeeping) as server, Adapter(command) as client:
        answer = await client.ask("connect", address=server.address, timeout=silence)
        must(answer.kind != "conflict", f"connect was answered with {answer}")
        yield server, client


def reply(request: Request, value: bytes | None) -> str:
    """The status line that is due, of a store that has this value everywhere."""
    if request.verb not in ("GET", "GETS"):
        return f"OK {REVISION}"
    if value is None:
        return "NONE"
    revision = f"{REVISION} " if request.verb == "GETS" else ""
    try:
        return f"OK {revision}{value.decode('ascii')}"
    except UnicodeDecodeError:
        return f"OK64 {revision}{base64.b64encode(value).decode()}"


def answers(value: bytes | None = b"1000", *before: str, piece: int = 0, end: str = "\n", after: str = "") -> Turn:
    """before: lines in front of the reply; piece: bytes at once; end: of each line; after: a line behind it."""

    async def turn(peer: Peer, request: Request) -> None:
        lines = [*before, reply(request, value), *([after] if after else [])]
        await peer.send("".join(line + end for line in lines).encode(), piece)

    return turn


def refuses(error: str) -> Turn:
    async def turn(peer: Peer, _request: Request) -> None:
        await peer.say(f"ERR {error}")

    return turn


def cuts(lacking: int = 0) -> Turn:
    """Close without a reply; or in the middle of it: lacking is how many bytes do not come, its line end with them."""

    async def turn(peer: Peer, request: Request) -> None:
        if lacking:
            await peer.send(f"{reply(request, b'1000')}\n".encode()[:-lacking])
        peer.cut()

    return turn


async def says_nothing(_peer: Peer, _request: Request) -> None:
    """The turn of a silent server."""


def resumes(*lines: str, at: str = "", cut: bool = False, piece: int = 0, end: str = "\n", lacking: int = 0) -> Turn:
    """Begin a watch where it was asked for, or at another position, and send what follows.

    cut: close then.  lacking: the last bytes, which do not come.
    """

    async def turn(peer: Peer, request: Request) -> None:
        begun = [f"OK {at or request.position}"] if request.position else ["COPY new", "OK 4@s1"]
        data = "".join(line + end for line in [*begun, *lines]).encode()
        await peer.send(data[: len(data) - lacking], piece)
        if cut:
            peer.cut()

    return turn


def copies(reason: str, items: list[str], position: str, *lines: str, cut: bool = False, piece: int = 0) -> Turn:
    """Begin a watch with a copy; refuse RESUME, and copy when SYNC comes.  Without a position: cut before the OK."""

    async def turn(peer: Peer, request: Request) -> None:
        if request.verb == "RESUME":
            await peer.say(f"ERR {reason} 9@s1 for this reason")
            peer.again(turn)
            return
        head = [f"COPY {reason}"] if request.verb == "FOLLOW" else []
        tail = [f"OK {position}"] if position else []
        await peer.send("".join(line + "\n" for line in [*head, *items, *tail, *lines]).encode(), piece)
        if cut or not position:
            peer.cut()

    return turn


@dataclass
class Watched:
    """What came of a watch.

    requests: those that began it, or were to; copies: the content of each that was complete, with its position.
    """

    server: Server
    requests: list[Request] = field(default_factory=list)
    changes: list[tuple[str, str, str, bytes | None]] = field(default_factory=list)
    copies: list[tuple[dict[str, bytes | None], str]] = field(default_factory=list)
    begun: int = 0
    error: str = ""
    ended: bool = False
    _copy: dict[str, bytes | None] = field(default_factory=dict)

    @property
    def asked(self) -> list[str]:
        """The positions that were asked for, - for a copy."""
        return [request.position or "-" for request in self.requests]

    def take(self, event: Event) -> None:
        if event.kind == "copy":
            self._copy, self.begun = {}, self.begun + 1
        elif event.kind == "pair":
            self._copy[event.key] = event.value
        elif event.kind == "gone":
            self._copy.pop(event.key, None)
        elif event.kind == "copied":
            self.copies.append((self._copy, event.position))
        elif event.kind in ("set", "del", "expire"):
            self.ended = event.key == LAST
            self.changes.append((event.position, event.kind, event.key, event.value))
        elif event.kind == "error":
            self.error = event.code
        else:
            must(event.kind == "position", f"an event of an unknown kind came: {event.kind}")


async def watched(
    command: list[str], *turns: Turn, position: str = "4@s1", patterns: str = "p/*", silence: str = TIMEOUT,
    greeting: Greeting = no_greeting,
) -> Watched:  # fmt: skip
    """Let the client follow until its last change, an error, or for as long as a watch may take."""
    async with talking(command, *turns, silence=silence, greeting=greeting) as (server, client):
        answer = await client.ask("follow", patterns=patterns, position=position)
        must(answer.kind == "ok", f"follow was answered with {answer}")
        watch = Watched(server)
        while not watch.ended and not watch.error:
            event = await client.event(PATIENCE)
            if event is None:
                asked = " ".join(request.line for request in server.followings)
                raise Wrong(f"it did not come to its last change; it had asked for {asked or 'nothing'}")
            watch.take(event)
        watch.requests = server.followings
        return watch


def last(revision: int = 99, store: str = "s1") -> str:
    return f"CHANGE {revision}@{store} SET {LAST} x"


def told(watch: Watched, *wanted: tuple[str, str, str, bytes | None]) -> None:
    """These changes and no others must have come, each once, and then the last one."""
    got = watch.changes[:-1] if watch.ended else watch.changes
    must(not watch.error, f"it gave up: {watch.error}")
    must(got == list(wanted), f"the changes were {_shown(got)}, and should be {_shown(wanted)}")


def _shown(changes: object) -> str:
    text = str(changes)
    return text if len(text) < 400 else f"{text[:400]}..."


def change(revision: int, key: str, value: str, store: str = "s1") -> tuple[str, str, str, bytes | None]:
    """As it is to be told."""
    return f"{revision}@{store}", "set", f"p/{key}", value.encode()


def line(revision: int, key: str, value: str, store: str = "s1") -> str:
    """As it is sent."""
    return f"CHANGE {revision}@{store} SET p/{key} {value}"


def is_value(answer: Answer, value: bytes | None) -> bool:
    return answer.kind == "ok" and answer.value == value


def asked(watch: Watched, *positions: str) -> str:
    """What the client must have asked for, on its connections in turn."""
    must(watch.asked == list(positions), f"it asked for {watch.asked}, and should have for {list(positions)}")
    return f"it asked for {', then '.join(positions)}"


def paused(watch: Watched, seconds: float = FIRST_PAUSE, since: float = 0.0, begun: int = 0) -> str:
    """Between two attempts, or since a time, the client must have rested.  begun: how many were before these."""
    first, second = watch.requests[begun : begun + 2]
    waited = second.at - (since or first.at)
    must(waited > seconds - EARLY, f"it came again after {waited:.2f} s, and should have waited for {seconds:g} s")
    must(waited < float(TIMEOUT) - 1, f"it came again only after {waited:.2f} s")
    return f"it waited for {waited:.2f} s"
