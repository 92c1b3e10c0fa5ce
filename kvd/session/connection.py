"""One connection, from its first byte to its end.

Input is taken in the callback in which it arrives, and goes in groups of requests to the dispatcher.  While a group is
at the store, or the connection's task does what waits for the peer or takes many steps, what comes is kept, and when
that is much, no more is read.  So requests are answered in their order, and most of them wake no task.
"""

import asyncio
from typing import Any

from kvd.errors import Denied, LimitReached, NotAClient, NotAuthenticated, Refusal, Unavailable, Uncertain, Usage
from kvd.process.identity import identify
from kvd.session.checked import CheckedDispatcher
from kvd.session.clients import Facts
from kvd.session.context import Context
from kvd.session.dispatch import Dispatcher, Work
from kvd.session.identified import user_name
from kvd.session.limits import Limit
from kvd.session.linger import Linger
from kvd.session.login import UNGUARDED, Guard, Login
from kvd.session.output import FLUSH_BYTES, Output
from kvd.session.peer import address_of, host_of, is_gone, name_of
from kvd.session.streams import Streams
from kvd.session.watching import SHUTDOWN, Watching
from kvd.verbs import is_verb
from kvd.watch.spread import retry_hint
from kvd.wire import replies
from kvd.wire.lines import LineBuffer

READ_BYTES = 64 * 1024
"""Bytes that are looked at in one piece, and that may be kept before reading pauses."""
ALL_BYTES = 2**30
"""More than the reader holds."""
TURN_LINES = 256
"""Lines answered before others have their turn: 64 KiB of empty lines take a tenth of a second."""
GONE_INTERVAL = 30.0
"""Seconds between looks whether a peer that only watches is still there."""
KICKED = "kicked", "an administrator has ended this connection"
"""Why a watch ends when KICK has ended its connection."""
TOLD = frozenset((Unavailable.code, Uncertain.code, LimitReached.code, Denied.code, NotAuthenticated.code))
"""Refusals that the log tells of: they are not the fault of a request's words."""
UNENDED = replies.refused(Usage("the last line has no line end and was not run"))


class Connection:
    """What one peer sends, and what it is sent.

    identity: who its transport says that it is.
    """

    def __init__(self, context: Context, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """writer: over a transport whose protocol is a `Streams`."""
        self._reader = reader
        self._writer = writer
        self._transport: Any = writer.transport
        self._complaints = context.complaints
        self._limits = context.limits
        self._budget = context.budget
        self._rounds = context.rounds
        self.identity = identify(writer.transport)
        self._peer = name_of(writer, self.identity)
        self._address = address_of(writer, self.identity)
        self._clients = context.clients
        self._task: asyncio.Task[None] | None = None
        streams = writer.transport.get_protocol()
        assert isinstance(streams, Streams)  # noqa: S101
        self._streams = streams
        self._lines = LineBuffer(context.max_line, is_verb if streams.is_strict else None)
        self._output = Output(writer, context.push_limit, self._note, context.requests.sent)
        self._received = context.requests.received
        self._watching = Watching(
            context.store, context.follower, context.hub, context.catching_up, context.copying, context.timer,
            self._output, context.push_limit, self._tell_of_watch, context.elsewhere,
        )  # fmt: skip
        self._guard: Guard = UNGUARDED
        if context.access:
            host = host_of(writer, self.identity)
            login = self._guard = Login(context.access, host, self._watching.look_again, self.identity)
            self._dispatcher: Dispatcher = CheckedDispatcher(
                context, self._output, self._watching, self._go_on, self._answer, login, self._allow
            )
        else:
            self._dispatcher = Dispatcher(
                context, self._output, self._watching, self._go_on, self._answer, UNGUARDED, self._allow
            )
        self._dispatcher.refused = self._tell_of_refusal
        self._linger = Linger(reader, writer)
        # Input that nobody has looked at yet, and whether reading pauses because of it.
        self._kept = b""
        self._paused = False
        # What the task is to do next; it is busy with it until it is None again.
        self._work: Work | None = None
        self._called = asyncio.Event()
        self._error: Exception | None = None
        # Whether anything was answered since the last flush: each request gets an answer, however much waits already.
        self._answered = False
        # Whether the next chunk begins with a line, and nothing has to be done before it.
        self._idle = False
        self._pumping = False
        # Lines answered since others had their turn.
        self._turn = 0
        self._yielding = False
        self._ended = False
        self._stopping = False
        # Why a watch ends with the connection: a code, and a text for people.
        self._farewell = (SHUTDOWN, "the daemon stops")
        self._over = False
        self._only_watches = False
        self._is_cut = False
        self._is_amid = False

    # ---- the connection

    async def run(self) -> None:
        """Serve until the peer is gone or has quit, or until `stop`.  The connection ends with `linger`."""
        self._rounds.add(self)
        self._task = asyncio.current_task()
        self._name = self._clients.add(self)
        self._streams.tell(self._note)
        try:
            await self._serve()
        except NotAClient as error:
            self._complaints.closed.write(self._peer, error, connection=self._name)
            self._is_amid = True
            self._output.send(replies.refused(Usage(str(error))))
        except OSError as error:
            self._complaints.lost.write(self._peer, error, connection=self._name)
            # The reader keeps the error, which would keep the stack and all that is on it, such as a page of a
            # copy, until the garbage collector comes.
            error.__traceback__ = None
        finally:
            self._error = self._work = self._task = None
            self._over = True
            self._let_go()
            self._dispatcher.close()
            self._watching.close()
            self._guard.close()
            self._output.forget()

    async def linger(self) -> None:
        """Close the connection, when the peer has what it was sent."""
        is_amid = self._is_amid or self._dispatcher.left_lines or self._lines.is_amid
        self._lines.drop()
        try:
            await self._linger.close(amid=is_amid)
        finally:
            self._streams.tell(None)
            self._rounds.discard(self)
            self._clients.discard(self._name)

    def has_sent_all(self) -> bool:
        """While it lingers: whether the connection may be cut, were its place needed."""
        return self._linger.has_sent_all()

    def stop(self, crowd: int = 1) -> None:
        """Finish what is being answered, tell a watcher, and end.  crowd: how many connections end with this one."""
        self._stop(SHUTDOWN, f"{retry_hint(crowd)} the daemon stops")

    def _stop(self, code: str, text: str) -> None:
        self._stopping = True
        self._farewell = code, text
        self._dispatcher.stop()
        self._is_amid = self._is_busy() or self._dispatcher.has_more() or self._lines.is_amid
        self._let_go()
        self._linger.drop_input()
        self._called.set()
        self._go_on()

    def abort(self) -> None:
        """End at once."""
        self._writer.transport.abort()

    # ---- what is told of it, and what an administrator does

    def facts(self) -> Facts:
        """See `clients.Client`."""
        user = self.identity.user
        address = self._address if user is None else f"unix:{user_name(user) or user}"
        return Facts(address, self._guard.user, self._dispatcher.requests, self.held(), self._watching.patterns)

    def _tell_of_watch(self, what: str) -> None:
        self._complaints.watches.write(self._peer, what, connection=self._name)

    def _tell_of_refusal(self, error: Refusal) -> None:
        if error.word in TOLD:
            self._complaints.refused.write(self._peer, f"{error.word}: {error}", connection=self._name)

    def kick(self) -> None:
        """End it when what is in flight is answered, unless that takes time: then at once (a `clients.Client`)."""
        # Its own KICK is no work that others would wait for.
        is_own = self._work is not None and asyncio.current_task() is self._task
        self._complaints.kicked.write(self._peer, KICKED[1], connection=self._name)
        takes_time = not is_own and (self._work is not None or self._output.held > 0)
        if self._only_watches and not takes_time:
            self._watching.end(*KICKED)
        elif self._over or self._stopping or takes_time:
            self._cut()
        else:
            self._dispatcher.drop()
            self._stop(*KICKED)
            self._lines.drop()

    # ---- what it holds

    def held(self) -> int:
        """Bytes that it holds now (a `budget.Holder`)."""
        if self._is_cut:
            return 0
        parts = (self._lines.held, self._dispatcher.held, self._watching.held, self._output.held)
        return len(self._kept) + sum(parts)

    def end_for_memory(self) -> None:
        """Let go of all that it holds (a `budget.Holder`)."""
        self._end_for(Limit.MEMORY)

    # ---- what takes too long

    def begun(self, limit: Limit) -> object | None:
        """That for which a limit of time counts (a `rounds.Timed`)."""
        if self._is_busy() or self._kept:
            # It is not the peer who is waited for; but a login is in flight as often as the peer likes.
            return self if limit is Limit.LOGIN and not (self._guard.is_known or self._over) else None
        if limit is Limit.LINE:
            return self._lines.begun
        if limit is Limit.TRANSACTION:
            return self._dispatcher.transaction
        if limit is Limit.LOGIN:
            return None if self._guard.is_known else self
        return None if self._watching.active or self._output.held else self._streams.heard

    def end_for(self, limit: Limit) -> None:
        """It has taken too long (a `rounds.Timed`)."""
        if limit is Limit.TRANSACTION:
            if pending := self._dispatcher.transaction:
                pending.expire(self._limits.reached(limit))
                self._note()
        elif limit is not Limit.LOGIN or not self._is_busy():
            self._end_for(limit)

    def _note(self) -> None:
        """It may hold more than before, or less."""
        self._budget.note(self)

    def _allow(self, more: int) -> None:
        """Raises LimitReached if it may not hold so many bytes more: that is its last reply."""
        if self._budget.exceeds(self, more):
            error = self._reach(Limit.MEMORY)
            self._dispatcher.drop()
            self._stop(error.code, str(error))
            raise error

    def _reach(self, limit: Limit) -> LimitReached:
        error = self._limits.reached(limit)
        self._limits.ended(self._peer, error, connection=self._name)
        return error

    def _end_for(self, limit: Limit) -> None:
        """End it for a limit, and tell who waits for a line that nothing else could be taken for."""
        error = self._reach(limit)
        if self._only_watches and not self._output.held:
            self._watching.end(error.code, str(error))
        elif self._over or self._stopping or self._owes():
            self._cut()
        else:
            if self._lines.is_amid or self._lines.is_first:
                self._output.reply(replies.refused(error))
            self._dispatcher.drop()
            self._stop(error.code, str(error))
            self._lines.drop()

    def _cut(self) -> None:
        """End it at once, and let go of all that it holds."""
        self._is_cut = True
        self._let_go()
        self._lines.drop()
        self._dispatcher.drop()
        self.abort()

    def _owes(self) -> bool:
        """Whether a reply is still to come, or the peer has not taken all that was sent."""
        return self._is_busy() or self._dispatcher.has_more() or bool(self._kept) or self._output.held > 0

    # ---- the task

    async def _serve(self) -> None:
        while self._streams.has_early:
            self._streams.has_early = False
            self.receive(await self._reader.read(ALL_BYTES))
        if not self._stopping:
            self._streams.attach(self.receive, self.end)
        if self._reader.at_eof():
            self.end(None)
        await self._converse()
        if self._watching.active and not self._dispatcher.quitting and not self._stopping:
            self._watching.close_with_it()
            await self._only_watch()
        if self._stopping:
            self._watching.end(*self._farewell)
        self._output.write()

    async def _converse(self) -> None:
        """Do what is called for, until all is answered and nothing more will come."""
        self._go_on()
        while not self._over:
            await self._called.wait()
            self._called.clear()
            if self._error:
                raise self._error
            if self._work:
                work = self._work
                await work()
                self._work = None
                self._note()
                self._go_on()

    async def _only_watch(self) -> None:
        """The peer has shut down its sending side only, and goes on watching until it is gone.

        Nothing is read any more, so that keep-alive's finding has to be asked for.
        """
        self._only_watches = True
        self._called.clear()
        events = {asyncio.ensure_future(self._writer.wait_closed()), asyncio.ensure_future(self._called.wait())}
        connection = self._writer.get_extra_info("socket")
        try:
            while not (await asyncio.wait(events, timeout=GONE_INTERVAL, return_when=asyncio.FIRST_COMPLETED))[0]:
                if is_gone(connection):
                    self.abort()
            for event in events:
                if event.done():
                    await event
        finally:
            for event in events:
                event.cancel()

    # ---- input

    def receive(self, data: bytes) -> None:
        """Called with what arrives."""
        self._received[0] += len(data)
        if self._idle:
            if self._transport.get_write_buffer_size() <= FLUSH_BYTES and self._dispatcher.shortcut(data):
                self._idle = not self._dispatcher.busy
                return
            self._idle = False
        elif self._is_busy() or self._kept or self._dispatcher.has_more():
            self._keep(data)
            return
        if len(data) > READ_BYTES:
            self._keep(data)
        else:
            self._feed(data)
        self._go_on()

    def end(self, error: Exception | None) -> None:
        """Called when nothing more will come, or the connection is lost."""
        self._ended = True
        if error:
            self._fail(error)
        self._go_on()

    def _feed(self, data: bytes) -> None:
        size = self._lines.held + len(data)
        self._dispatcher.feed(self._lines.feed(data), size)

    def _keep(self, data: bytes) -> None:
        self._kept += data
        if len(self._kept) > READ_BYTES and not self._paused:
            self._paused = True
            self._transport.pause_reading()
            self._note()

    def _take_kept(self) -> bytes:
        data, self._kept = self._kept[:READ_BYTES], self._kept[READ_BYTES:]
        if self._paused and len(self._kept) <= READ_BYTES:
            self._paused = False
            self._transport.resume_reading()
        return data

    def _let_go(self) -> None:
        """Take no more input: it stays in the reader."""
        self._streams.detach()
        self._idle = False
        self._kept = b""
        if self._paused:
            self._paused = False
            self._transport.resume_reading()

    # ---- what is done next

    def _is_busy(self) -> bool:
        """Whether something has to be done before anything else."""
        return self._dispatcher.busy or self._work is not None or self._yielding or self._pumping or self._over

    def _call(self, work: Work) -> None:
        """Have the task do something."""
        self._work = work
        self._called.set()
        self._note()

    def _fail(self, error: Exception) -> None:
        """Have the task raise an error."""
        if self._error is None:
            self._error = error
        self._called.set()

    def _go_on(self, work: Work | None = None) -> None:
        """Answer what waits, as far as that is possible now.  work: for the task, before anything else."""
        if work:
            self._call(work)
        if self._pumping:
            return
        self._pumping = True
        try:
            while not (self._dispatcher.busy or self._work or self._yielding or self._over or self._error):
                if self._turn >= TURN_LINES:
                    self._yielding = True
                    asyncio.get_running_loop().call_soon(self._take_turn)
                elif self._answered and self._output.is_full() and not self._dispatcher.quitting:
                    # A peer that has quit may have more to send before it reads.
                    self._call(self._output.flush)
                    self._answered = False
                elif not self._step():
                    break
        except Exception as error:  # the task raises it
            self._fail(error)
        finally:
            self._pumping = False

    def _answer(self, data: bytes) -> None:
        """Write the replies to a chunk that was taken whole.

        Mostly nothing has come meanwhile; through `_go_on` 16 SETs in a chunk take a tenth more of the daemon's time.
        """
        if self._kept or self._ended or self._stopping:
            self._output.reply(data)
            self._answered = True
            self._go_on()
        else:
            self._output.send(data)
            self._idle = True

    def _take_turn(self) -> None:
        self._yielding = False
        self._turn = 0
        self._go_on()

    def _step(self) -> bool:
        """Begin the next thing to do; False: there is none."""
        if self._dispatcher.has_more():
            self._answered = True
            # Also a group that is answered at once, and work that waits for nothing, takes others' time.
            self._turn += self._dispatcher.step()
            return True
        self._answered = False
        if self._stopping or self._dispatcher.quitting or (self._ended and not self._kept):
            self._finish()
            return False
        self._output.write()
        if self._kept:
            self._feed(self._take_kept())
            return True
        self._idle = self._lines.between and not self._dispatcher.in_transaction
        if not self._idle or self in self._budget:
            self._note()
        self._turn = 0
        return False

    def _finish(self) -> None:
        """All that will be answered was."""
        if self._ended and not self._stopping and not self._dispatcher.quitting and self._lines.is_amid:
            self._output.reply(UNENDED)
        self._output.write()
        self._is_amid |= bool(self._kept)
        self._over = True
        self._called.set()
