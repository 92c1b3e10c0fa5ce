"""One connection, from its first byte to its end: requests one after the other, and perhaps a watch at last."""

import asyncio
from contextlib import suppress
from http import HTTPStatus

import h11

from kvd.errors import LimitReached, Refusal
from kvd.http import taking
from kvd.http.events import KIND, EventOutput, EventWatch
from kvd.http.exchange import Exchange
from kvd.http.messages import HttpError, Request, Response, check, joined, line, parse, refused, why_no_http
from kvd.http.routes import Routes
from kvd.http.taking import PIECE
from kvd.http.visitor import Visitor
from kvd.process.identity import identify
from kvd.requests import ClientName
from kvd.session.clients import KICKED, Facts
from kvd.session.connection import TOLD
from kvd.session.identified import user_name
from kvd.session.limits import Limit
from kvd.session.linger import Linger
from kvd.session.peer import address_of, host_of, name_of
from kvd.session.streams import Streams
from kvd.session.watching import SHUTDOWN

LINGER_TIME = 2.0
"""Seconds that a client has to close the connection, once its kernel, or ours, has the last answer."""


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
        streams = writer.transport.get_protocol()
        assert isinstance(streams, Streams)  # noqa: S101
        self._streams = streams
        self._is_local = is_local
        self.identity = identify(writer.transport)
        self._peer, self._address = name_of(writer, self.identity), address_of(writer, self.identity)
        host = host_of(writer, self.identity)
        self._visitor = Visitor(self._context.access, host, self.identity, self._look_again)
        self._exchange = Exchange(self._context, reader, writer, self._note)
        self._watch: EventWatch | None = None
        self._requests = 0
        self._name: ClientName | None = None
        self._stopping = False
        self._is_cut = False
        # Set when no more requests are to be read.
        self._stop = asyncio.Event()

    # ---- the connection

    async def run(self) -> None:
        """Serve until the client is gone, or has kept it waiting for too long, or until `stop`."""
        self._name = self._context.clients.add(self)
        self._streams.tell(self._note, self._take_note)
        try:
            while await self._serve_one():
                self._exchange.next()
        except TimeoutError:
            # It does not take what it is sent.
            self.abort()
        except OSError:
            # It is gone.
            self._is_cut = True
        finally:
            self._context.clients.discard(self._name)
            self._visitor.close()

    async def linger(self) -> None:
        """Close the connection, when the client has what it was sent, also while it still sends what nobody reads."""
        try:
            await Linger(self._reader, self._writer).close(amid=self._exchange.is_amid, longest=LINGER_TIME)
        finally:
            self._streams.tell(None)
            self._context.budget.forget(self)

    def has_sent_all(self) -> bool:
        """While it lingers: whether the connection may be cut, were its place needed."""
        return True

    def stop(self, _: int = 1) -> None:
        """Finish what is being answered, tell a watcher, and end."""
        self._end(SHUTDOWN, "the daemon stops")

    def begin_no_more(self) -> None:
        """There is never more than one request."""

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
        self._context.complaints.kicked.write(self._peer, KICKED[1], connection=self._name)
        is_told = self._watch is not None and self._watch.watching.active
        self._end(*KICKED)
        if not is_told or self._writer.transport.get_write_buffer_size():
            # It would take time.
            self.abort()

    def held(self) -> int:
        """Bytes that it holds now (a `budget.Holder`)."""
        if self._is_cut:
            return 0
        watched = self._watch.watching.held if self._watch else 0
        unsent = int(self._writer.transport.get_write_buffer_size())
        return self._exchange.body + self._streams.unread + watched + unsent

    def end_for_memory(self) -> None:
        """Let go of all that it holds (a `budget.Holder`)."""
        error = self._context.limits.reached(Limit.MEMORY)
        self._context.limits.ended(self._peer, error, connection=self._name)
        self._is_cut = True
        if self._watch:
            self._watch.watching.cut(error.code)
        self.abort()
        self._streams.forget_unread()

    def _take_note(self) -> None:
        """Input has come, perhaps of everybody."""
        self._note()
        self._context.budget.relieve()

    def _note(self) -> None:
        self._context.budget.note(self)

    def _allow(self, more: int) -> None:
        """Raises LimitReached if it may not hold so many bytes more."""
        if self._context.budget.exceeds(self, more):
            raise self._context.limits.reached(Limit.MEMORY)

    def _refused(self, error: Refusal) -> Response:
        self._context.requests.count_refusal(error.word)
        if error.word in TOLD:
            self._context.complaints.refused.write(self._peer, f"{error.word}: {error}", connection=self._name)
        return refused(error)

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
            # Its body is at the store, which is counted apart.
            self._exchange.body = 0
            self._note()
            response = await self._routes.answer(request, self._visitor)
        except h11.RemoteProtocolError as error:
            response = line(why_no_http(error), HTTPStatus(error.error_status_hint))
        except HttpError as error:
            response = line(str(error), error.status, error.headers)
        except Refusal as error:
            response = self._refused(self._visitor.told(error))
        except TimeoutError:
            response = line("the request took too long", HTTPStatus.REQUEST_TIMEOUT)
        try:
            await self._exchange.send(response, is_last=self._stopping)
        finally:
            self._exchange.body = 0
        return self._exchange.may_go_on and not self._stopping

    async def _request(self) -> Request | None:
        """The next one, let in; None: there is none.  Raises RemoteProtocolError, TimeoutError, HttpError, refusals."""
        head = await self._exchange.head(self._stop)
        if head is None:
            return None
        self._requests += 1
        check(head)
        headers = joined(head)
        request = parse(head.method.decode(), head.target, headers)
        # Before its body is asked for, and kept.
        self._routes.check(request, is_local=self._is_local)
        await self._routes.let_in(request, self._visitor)
        length = int(headers.get("content-length", "0"))
        request = request._replace(body=await self._exchange.read_body(length))
        self._exchange.counts.came(request.method)
        return request

    # ---- a watch

    async def _send_events(self, request: Request) -> bool:
        """Send changes until the client is gone, or the watch ends.  Raises refusals, before anything is sent."""
        output = EventOutput(
            self._writer, self._context.push_limit, self._note, self._context.requests.sent,
            self._context.budget, self._head_of_events, self._exchange.piece,
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
            self._exchange.end()
        return False

    def _head_of_events(self) -> bytes:
        headers = Response(kind=KIND).all_headers() | {"Connection": "close", "X-Accel-Buffering": "no"}
        return self._exchange.begin(HTTPStatus.OK, headers)

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
