"""/v1/watch: the changes of a watch as server-sent events.

It is a watch like any other, with an output that turns the protocol's lines into events: so that it is set aside when
its client does not read, catches up, resumes from a position and ends as one of the protocol does.
"""

import asyncio
import json
from collections.abc import Callable
from typing import Any, NoReturn

from kvd.errors import ANEW, Refusal, Usage
from kvd.http.messages import ANEW_HERE, Request
from kvd.http.taking import Taking
from kvd.http.visitor import Visitor
from kvd.model import PLAIN, Form, Position
from kvd.requests import Resume, Watch
from kvd.session.budget import Budget
from kvd.session.context import Context
from kvd.session.limits import Limit
from kvd.session.output import Output
from kvd.session.watching import Watching, memory_of
from kvd.wire import words

KIND = "text/event-stream"
RETRY = b"retry: 1000\n"
"""Milliseconds after which a browser that has lost the connection comes again, and
PROGRESS: between events that tell how far a client has come.  They come also while nothing changes: what is between
them may close connections that are silent for half a minute."""
PROGRESS = 10_000


def event(kind: str, position: str, data: dict[str, Any]) -> bytes:
    """One event.  JSON has no line ends in it."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return f"event: {kind}\nid: {position}\ndata: {text}\n\n".encode()


def events(lines: bytes) -> bytes:
    """The lines that a watch is sent, as events."""
    return b"".join(_event(line) for line in lines.split(b"\n")[:-1])


def _event(line: bytes) -> bytes:
    word, position, *rest = line.decode().split(" ", 2)
    text = rest[0] if rest else ""
    if word == "CHANGE":
        return event("change", position, _change(text))
    if word == "END":
        code, _, why = text.partition(" ")
        if why.endswith(ANEW):
            why = why.removesuffix(ANEW) + ANEW_HERE
        return event("end", position, {"code": code, "text": why})
    return event("progress", position, {})


def _change(text: str) -> dict[str, Any]:
    verb, key, *rest = text.split(" ", 2)
    change: dict[str, Any] = {"change": "SET" if verb in ("SET64", "SIZE") else verb, "key": key}
    if verb == "SIZE":
        change["size"] = int(rest[0])
    elif rest:
        change["base64" if verb == "SET64" else "value"] = rest[0]
    return change


class EventOutput(Output):
    """The sending side of a watch.  ended: set when its last event is sent.  taking: whether the client takes it."""

    def __init__(
        self, writer: asyncio.StreamWriter, limit: int, grown: Callable[[], None], sent: memoryview,
        budget: Budget, head: Callable[[], bytes], frame: Callable[[bytes], bytes],
    ) -> None:  # fmt: skip
        """limit, grown, sent, budget: as of Output.  head: gives what comes before the body.  frame: makes a piece of
        the body of some bytes."""
        super().__init__(writer, limit, grown, sent, budget)
        self.copies = True
        self._head = head
        self._frame = frame
        self.ended = asyncio.Event()
        self.taking = Taking(writer)

    def reply(self, data: bytes) -> None:
        """`OK position`: from here on.  Before it nothing is sent, so that a refusal may be."""
        position = data.decode().split(" ")[1].strip()
        framed = self._head() + self._frame(RETRY + event("begin", position, {}))
        self.taking.written += len(framed)
        super().reply(framed)

    def push(self, data: bytes) -> bool:
        """See Output."""
        framed = self._frame(events(data))
        is_sent = super().push(framed)
        self.taking.written += len(framed) * is_sent
        return is_sent

    def push_last(self, line: bytes) -> None:
        """See Output."""
        framed = self._frame(events(line))
        self.taking.written += len(framed)
        super().push_last(framed)
        self.ended.set()


class EventWatch:
    """One, on one connection: `begin` it, wait for its end, `close` it."""

    def __init__(
        self, context: Context, request: Request, visitor: Visitor, output: EventOutput, tell: Callable[[str], None]
    ) -> None:
        """tell: as Watching takes it."""
        self._context = context
        self._visitor = visitor
        self._output = output
        request.only("pattern", "after", "values")
        self.patterns = tuple(words.pattern(pattern.encode()) for pattern in request.query.get("pattern", ["*"]))
        self._form = _form(request)
        self._position = _position(request)
        self.watching = Watching(
            context.store, context.follower, context.hub, context.catching_up, context.copying, context.timer,
            output, context.push_limit, tell, context.elsewhere,
        )  # fmt: skip

    async def begin(self, allow: Callable[[int], None]) -> None:
        """Raises refusals, before anything is sent.  allow: as Handlers take it."""
        if len(self.patterns) > self._context.limits.sizes.patterns:
            raise self._context.limits.reached(Limit.PATTERNS)
        asked: Watch | Resume = Watch(self.patterns, self._form)
        if self._position:
            asked = Resume(self._position, self.patterns, self._form)
        try:
            permit = self._visitor.guard.watch("RESUME" if self._position else "WATCH", asked)
        except Refusal as error:
            self._raise(error)
        allow(memory_of(permit.patterns))
        if self._position:
            await self.watching.resume(self._position, permit, self._form)
        else:
            await self.watching.watch(permit, self._form)
        self.watching.progress(PROGRESS)

    def _raise(self, error: Refusal) -> NoReturn:
        raise self._visitor.told(error) from None


def _form(request: Request) -> Form:
    word = request.one("values", "yes")
    if word not in ("yes", "no"):
        raise Usage("values= is yes or no")
    return PLAIN if word == "yes" else PLAIN._replace(keys=True)


def _position(request: Request) -> Position | None:
    """Where a browser that comes again was, else where the request says."""
    text = request.headers.get("last-event-id", "") or request.given("after")
    return words.position(text.encode()) if text else None
