"""One connection, from its first byte to its end: requests one after the other, each in a time and a size that are
bounded, so that who sends slowly, or does not read, holds little and not for long.
"""

import asyncio
from contextlib import suppress
from email.utils import formatdate
from http import HTTPStatus
from typing import Any

import h11

from kvd.counts import Tally
from kvd.errors import LimitReached, Refusal
from kvd.http import taking
from kvd.http.events import KIND, EventOutput, EventWatch
from kvd.http.messages import HEAD_BYTES, HttpError, Request, Response, check, line, parse, refused, why_no_http
from kvd.http.routes import Routes
from kvd.http.taking import PIECE
from kvd.http.visitor import Visitor
from kvd.metrics import HTTP_REQUESTS
from kvd.process.identity import identify
from kvd.requests import ClientName
from kvd.session.clients import Facts
from kvd.session.identified import user_name
from kvd.session.limits import Limit
from kvd.session.linger import Linger
from kvd.session.peer import address_of, host_of, name_of
from kvd.session.streams import Streams

HEAD_TIME, BODY_TIME = 10.0, 60.0
"""Seconds from the first byte of a request's head to its end, and from there to the end of its body."""
IDLE_TIME = 75.0
"""Seconds between two requests: longer than browsers and proxies leave a connection unused."""
LINGER_TIME = 2.0
"""Seconds that a client has to take the last answer."""
SHUTDOWN, KICKED = "shutdown", "kicked"
KICK_TEXT = "an administrator has ended this connection"


class HttpConnection:
    """What one client asks, and what it is sent."""

    def __init__(
        self, routes: Routes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_local: bool
    ) -> None:
        """is_local: whether it came to an address of this machine alone."""
        self._routes = routes
        self._context = routes.context
        self._reader = reader
        self._writer = writer
        self._is_local = is_local
        self.identity = identify(writer.transport)
        self._peer, self._address = name_of(writer, self.identity), address_of(writer, self.identity)
        host = host_of(writer, self.identity)
        self._visitor = Visitor(self._context.access, host, self.identity, self._look_again)
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES)
        self._watch: EventWatch | None = None
        self._requests = self._body = 0
        self._answered = Tally(HTTP_REQUESTS, self._context.counts)
        self._method = b""
        self._name: ClientName | None = None
        self._stopping = False
        self._is_cut = self._is_amid = False
        # Set when no more requests are to be read.
        self._stop = asyncio.Event()

    # ---- the connection

    async def run(self) -> None:
        """Serve until the client is gone, or has kept it waiting for too long, or until `stop`."""
        self._name = self._context.clients.add(self)
        streams = self._writer.transport.get_protocol()
        if isinstance(streams, Streams):
            streams.tell(self._note)
        try:
            while await self._serve_one():
                self._http.start_next_cycle()
        except TimeoutError:
            # It does not take what it is sent.
            self.abort()
        except OSError:
            # It is gone.
            self._is_cut = True
        finally:
            self._context.clients.discard(self._name)
            self._visitor.close()
            self._context.budget.forget(self)

    async def linger(self) -> None:
        """Close the connection, when the client has what it was sent, also while it still sends what nobody reads."""
        await Linger(self._reader, self._writer).close(amid=self._is_amid, longest=LINGER_TIME)

    def has_sent_all(self) -> bool:
        """While it lingers: whether the connection may be cut, were its place needed."""
        return True

    def stop(self, _: int = 1) -> None:
        """Finish what is being answered, tell a watcher, and end."""
        self._end(SHUTDOWN, "the daemon stops")

    def abort(self) -> None:
        """End at once."""
        self._writer.transport.abort()

    def _end(self, code: str, text: str) -> None:
        self._stopping = True
        self._stop.set()
        if self._watch:
            self._watch.watching.end(code, text)

    # ---- as others see it

    def facts(self) -> Facts:
        """See `clients.Client`."""
        user = self.identity.user
        address = self._address if user is None else f"unix:{user_name(user) or user}"
        patterns = self._watch.watching.patterns if self._watch else ()
        return Facts(address, self._visitor.guard.user, self._requests, self.held(), patterns)

    def kick(self) -> None:
        """End it (a `clients.Client`)."""
        self._context.complaints.kicked.write(self._peer, KICK_TEXT, connection=self._name)
        self._end(KICKED, KICK_TEXT)
        if not self._watch:
            self.abort()

    def held(self) -> int:
        """Bytes that it holds now (a `budget.Holder`)."""
        if self._is_cut:
            return 0
        watched = self._watch.watching.held if self._watch else 0
        return self._body + watched + int(self._writer.transport.get_write_buffer_size())

    def end_for_memory(self) -> None:
        """Let go of all that it holds (a `budget.Holder`)."""
        self._context.limits.ended(self._peer, self._context.limits.reached(Limit.MEMORY))
        self._is_cut = True
        self.abort()

    def _note(self) -> None:
        self._context.budget.note(self)

    def _allow(self, more: int) -> None:
        """Raises LimitReached if it may not hold so many bytes more."""
        if self._context.budget.exceeds(self, more):
            raise self._context.limits.reached(Limit.MEMORY)

    def _tell_of_watch(self, what: str) -> None:
        self._context.complaints.watches.write(self._peer, what, connection=self._name)

    def _look_again(self) -> None:
        if self._watch:
            self._watch.watching.look_again()

    # ---- requests

    async def _serve_one(self) -> bool:
        """Read a request and answer it; whether another one may come."""
        try:
            request = await self._request()
            if request is None:
                return False
            if self._routes.wants_events(request):
                return await self._send_events(request)
            response = await self._routes.answer(request, self._visitor)
        except h11.RemoteProtocolError as error:
            response = line(why_no_http(error), HTTPStatus(error.error_status_hint))
        except HttpError as error:
            response = line(str(error), error.status, error.headers)
        except Refusal as error:
            response = refused(self._visitor.told(error))
        except TimeoutError:
            response = line("the request took too long", HTTPStatus.REQUEST_TIMEOUT)
        try:
            await self._send(response, is_head=self._method == b"HEAD")
        finally:
            self._body = 0
        return self._http.our_state is h11.DONE and self._http.their_state is h11.DONE and not self._stopping

    async def _request(self) -> Request | None:
        """The next one, let in; None: there is none.  Raises RemoteProtocolError, TimeoutError, HttpError, refusals."""
        self._method = b""
        if not await self._begins():
            return None
        async with asyncio.timeout(self._at_most(HEAD_TIME)):
            head = await self._next_event()
        if not isinstance(head, h11.Request):
            return None
        self._requests += 1
        self._method = bytes(head.method)
        check(head)
        headers = {name.decode(): value.decode("latin-1") for name, value in head.headers}
        request = parse(head.method.decode(), head.target, headers)
        # Before its body is asked for, and kept.
        self._routes.check(request, is_local=self._is_local)
        await self._routes.let_in(request, self._visitor)
        async with asyncio.timeout(self._at_most(BODY_TIME)):
            return request._replace(body=await self._read_body(headers))

    def _at_most(self, seconds: float) -> float:
        """A time that what a client sends may take, or that of --line-time."""
        return min(seconds, self._context.limits.sizes.line or seconds)

    async def _begins(self) -> bool:
        """Wait for the first bytes of a request, or for the end."""
        if self._http.trailing_data[0]:
            return True
        reading, stopping = asyncio.ensure_future(self._reader.read(PIECE)), asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait({reading, stopping}, timeout=IDLE_TIME, return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():
                return False
            data = reading.result()
        finally:
            reading.cancel()
            stopping.cancel()
        self._receive(data)
        return bool(data)

    async def _next_event(self) -> Any:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            if self._http.they_are_waiting_for_100_continue:
                self._writer.write(self._sent(h11.InformationalResponse(status_code=100, headers=[])))
            self._receive(await self._reader.read(PIECE))
        return event

    async def _read_body(self, headers: dict[str, str]) -> bytes:
        """Raises HttpError if it is too long."""
        most = self._context.max_value
        if int(headers.get("content-length", "0")) > most:
            raise _too_long(most)
        parts: list[bytes] = []
        while isinstance(event := await self._next_event(), h11.Data):
            parts.append(bytes(event.data))
            self._body += len(event.data)
            if self._body > most:
                raise _too_long(most)
            self._note()
        if not isinstance(event, h11.EndOfMessage):
            raise ConnectionResetError("the client is gone")
        return b"".join(parts)

    def _receive(self, data: bytes) -> None:
        self._context.requests.received[0] += len(data)
        self._http.receive_data(data)

    # ---- answers

    def _sent(self, event: Any) -> bytes:
        """The bytes of a part of an answer."""
        return self._http.send(event) or b""

    def _head(self, status: HTTPStatus, headers: dict[str, str]) -> bytes:
        """The status and the headers, and the request counted."""
        self._answered.add(self._answered.place(f"{status // 100}xx"))
        fields = [*headers.items(), ("Date", formatdate(usegmt=True))]
        return self._sent(h11.Response(status_code=status, reason=status.phrase, headers=fields))

    async def _send(self, response: Response, *, is_head: bool) -> None:
        """Raises OSError, also when the client does not take it."""
        # What is left of it is kept until all is sent.
        self._body = len(response.body)
        headers = response.all_headers()
        has_body = response.status not in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)
        if has_body:
            headers["Content-Length"] = f"{len(response.body)}"
        # Of a request that was not read to its end nobody knows where the next one begins.
        self._is_amid = self._http.their_state is not h11.DONE
        if self._stopping or self._is_amid:
            headers["Connection"] = "close"
        self._write(self._head(response.status, headers))
        body = b"" if is_head or not has_body else response.body
        for start in range(0, len(body), PIECE):
            await self._drain()
            self._write(self._sent(h11.Data(data=body[start : start + PIECE])))
        self._write(self._sent(h11.EndOfMessage()))
        await self._drain()

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

    # ---- a watch

    async def _send_events(self, request: Request) -> bool:
        """Send changes until the client is gone, or the watch ends.  Raises refusals, before anything is sent."""
        output = EventOutput(
            self._writer, self._context.push_limit, self._note, self._context.requests.sent, self._head_of_events,
            lambda data: self._sent(h11.Data(data=data)),
        )  # fmt: skip
        self._watch = watch = EventWatch(self._context, request, self._visitor, output, self._tell_of_watch)
        try:
            await watch.begin(self._allow)
            if self._stopping:
                self._end(SHUTDOWN, "the daemon stops")
            await self._until_end(output)
        finally:
            watch.watching.close()
            self._watch = None
        with suppress(h11.LocalProtocolError):
            self._write(self._sent(h11.EndOfMessage()))
        return False

    def _head_of_events(self) -> bytes:
        headers = Response(kind=KIND).all_headers() | {"Connection": "close", "X-Accel-Buffering": "no"}
        return self._head(HTTPStatus.OK, headers)

    async def _until_end(self, output: EventOutput) -> None:
        """Until the client is gone, which shows as the end of what it sends, or the watch ends.

        One that does not take what it is sent is cut off.
        """
        slow = asyncio.ensure_future(output.taking.ends())
        waiting = [asyncio.ensure_future(output.ended.wait()), asyncio.ensure_future(self._until_gone()), slow]
        try:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for future in waiting:
                future.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
        if slow in done and self._watch:
            self._watch.watching.end(LimitReached.code, taking.why())
            self.abort()

    async def _until_gone(self) -> None:
        while await self._reader.read(PIECE):
            pass


def _too_long(most: int) -> HttpError:
    return HttpError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a value has {most} bytes at most")
