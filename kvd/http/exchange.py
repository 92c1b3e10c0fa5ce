"""HTTP on one connection, as h11 has it: requests are read, each in a time and a size that are bounded, and answers
are sent, so that who sends slowly, or does not read, holds little and not for long.
"""

import asyncio
from collections.abc import Callable
from email.utils import formatdate
from http import HTTPStatus
from typing import Any

import h11

from kvd.http import taking
from kvd.http.counting import HttpCounts
from kvd.http.messages import HEAD_BYTES, HttpError, Response
from kvd.http.taking import PIECE
from kvd.session.context import Context

HEAD_TIME, BODY_TIME = 10.0, 60.0
"""Seconds from the first byte of a request's head to its end, and from there to the end of its body."""
TURN_PARTS = 64
"""Parts of a body taken before others have their turn: they may be of a byte each, and ten thousand in what is read at
once take a quarter of a second.
"""
IDLE_TIME = 75.0
"""Seconds between two requests: longer than browsers and proxies leave a connection unused."""


class Exchange:
    """A request, and its answer; then the next one.

    body: int, bytes of the body that is kept, of either.  counts: told of a request when it is there.
    is_amid: whether the last answer was to a request that had not been read to its end.
    """

    def __init__(
        self, context: Context, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, note: Callable[[], None]
    ) -> None:
        """note: called when more is held than before, or less."""
        self._context = context
        self._reader = reader
        self._writer = writer
        self._note = note
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES)
        self.counts = HttpCounts(context.counts)
        self._method = b""
        self.body = 0
        self.is_amid = False

    def next(self) -> None:
        """What was asked is answered."""
        self._http.start_next_cycle()

    @property
    def may_go_on(self) -> bool:
        """Whether another request may come on this connection."""
        return self._http.our_state is h11.DONE and self._http.their_state is h11.DONE

    # ---- requests

    async def head(self, stopping: asyncio.Event) -> h11.Request | None:
        """The next one's, None: there is none.  stopping: set when no more are to be read.

        Raises RemoteProtocolError, TimeoutError.
        """
        self._method = b""
        if not await self._begins(stopping):
            return None
        async with asyncio.timeout(self._at_most(HEAD_TIME)):
            head = await self._next_event()
        if not isinstance(head, h11.Request):
            return None
        self._method = bytes(head.method)
        return head

    async def read_body(self, length: int) -> bytes:
        """The body.  length: int, as it was said, 0 for nothing.  Raises HttpError if it is too long, TimeoutError."""
        async with asyncio.timeout(self._at_most(BODY_TIME)):
            return await self._read_body(length)

    def _at_most(self, seconds: float) -> float:
        """A time that what a client sends may take, or that of --line-time."""
        return min(seconds, self._context.limits.sizes.line or seconds)

    async def _begins(self, stopping: asyncio.Event) -> bool:
        """Wait for the first bytes of a request, or for the end."""
        if self._http.trailing_data[0]:
            await self._give_way()
            return True
        reading, stopped = asyncio.ensure_future(self._reader.read(PIECE)), asyncio.ensure_future(stopping.wait())
        try:
            await asyncio.wait({reading, stopped}, timeout=IDLE_TIME, return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():
                return False
            data = reading.result()
        finally:
            reading.cancel()
            stopped.cancel()
        self._receive(data)
        return bool(data)

    async def _next_event(self) -> Any:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            if self._http.they_are_waiting_for_100_continue:
                self._writer.write(self._sent(h11.InformationalResponse(status_code=100, headers=[])))
            self._receive(await self._reader.read(PIECE))
        return event

    async def _read_body(self, length: int) -> bytes:
        most = self._context.max_value
        if length > most:
            raise _too_long(most)
        # Of many small parts the objects would be most of it.
        body, parts = bytearray(), 0
        while isinstance(event := await self._next_event(), h11.Data):
            body += event.data
            self.body = len(body)
            if self.body > most:
                raise _too_long(most)
            self._note()
            parts += 1
            if parts % TURN_PARTS == 0:
                await self._give_way()
        if not isinstance(event, h11.EndOfMessage):
            raise ConnectionResetError("the client is gone")
        return bytes(body)

    async def _give_way(self) -> None:
        """Let others have their turn, where nothing has to be waited for.  Raises ConnectionResetError."""
        await asyncio.sleep(0)
        if self._writer.transport.is_closing():
            raise ConnectionResetError("the client is gone")

    def _receive(self, data: bytes) -> None:
        self._context.requests.received[0] += len(data)
        self._http.receive_data(data)

    # ---- answers

    def begin(self, status: HTTPStatus, headers: dict[str, str]) -> bytes:
        """The bytes of an answer's status and headers; and the request counted."""
        self.counts.answered(status)
        fields = [*headers.items(), ("Date", formatdate(usegmt=True))]
        return self._sent(h11.Response(status_code=status, reason=status.phrase, headers=fields))

    def piece(self, data: bytes) -> bytes:
        """The bytes of a piece of an answer's body."""
        return self._sent(h11.Data(data=data))

    def end(self) -> None:
        """The answer is complete.  Raises OSError, LocalProtocolError."""
        self._write(self._sent(h11.EndOfMessage()))

    async def send(self, response: Response, *, is_last: bool) -> None:
        """Send an answer.  is_last: whether no other one follows.

        Raises OSError, also when the client does not take it.
        """
        # What is left of it is kept until all is sent.
        self.body = len(response.body)
        headers = response.all_headers()
        has_body = response.status not in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)
        if has_body:
            headers["Content-Length"] = f"{len(response.body)}"
        # Of a request that was not read to its end nobody knows where the next one begins.
        self.is_amid = self._http.their_state is not h11.DONE
        if is_last or self.is_amid:
            headers["Connection"] = "close"
        self._write(self.begin(response.status, headers))
        body = b"" if self._method == b"HEAD" or not has_body else response.body
        for start in range(0, len(body), PIECE):
            await self._drain()
            self._write(self.piece(body[start : start + PIECE]))
        self.end()
        await self._drain()

    def _sent(self, event: Any) -> bytes:
        """The bytes of a part of an answer."""
        return self._http.send(event) or b""

    def _write(self, data: bytes) -> None:
        # uvloop raises RuntimeError for a transport that is closed.
        if self._writer.transport.is_closing():
            raise ConnectionResetError("the client is gone")
        self._context.requests.sent[0] += len(data)
        self._writer.write(data)
        self._note()

    async def _drain(self) -> None:
        async with asyncio.timeout(taking.LONGEST):
            await self._writer.drain()


def _too_long(most: int) -> HttpError:
    return HttpError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a value has {most} bytes at most")
