"""One connection, from its first byte to its end: who the peer is, what ends it, and how that is told."""

import asyncio
from functools import partial

from kvd.errors import Denied, LimitReached, NotAClient, NotAuthenticated, Refusal, Unavailable, Uncertain, Usage
from kvd.process.identity import identify
from kvd.session.checked import CheckedDispatcher
from kvd.session.clients import KICKED, Facts
from kvd.session.context import Context
from kvd.session.conversation import Conversation, MakeDispatcher
from kvd.session.dispatch import Dispatcher
from kvd.session.identified import user_name
from kvd.session.limits import Limit
from kvd.session.linger import Linger
from kvd.session.login import UNGUARDED, Guard, Login
from kvd.session.output import Output
from kvd.session.peer import address_of, host_of, name_of, until_gone
from kvd.session.streams import Streams
from kvd.session.watching import SHUTDOWN, Watching
from kvd.watch.spread import retry_hint
from kvd.wire import replies

TOLD = frozenset((Unavailable.code, Uncertain.code, LimitReached.code, Denied.code, NotAuthenticated.code))
"""Refusals that the log tells of: they are not the fault of a request's words."""


class Connection:
    """What one peer sends, and what it is sent.

    identity: who its transport says that it is.
    """

    def __init__(self, context: Context, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """writer: over a transport whose protocol is a `Streams`."""
        self._context = context
        self._writer = writer
        self._complaints = context.complaints
        self.identity = identify(writer.transport)
        self._peer = name_of(writer, self.identity)
        self._address = address_of(writer, self.identity)
        self._task: asyncio.Task[None] | None = None
        streams = writer.transport.get_protocol()
        assert isinstance(streams, Streams)  # noqa: S101
        self._streams = streams
        self._output = Output(writer, context.push_limit, self._note, context.requests.sent, context.budget)
        self._watching = Watching(
            context.store, context.follower, context.hub, context.catching_up, context.copying, context.timer,
            self._output, context.push_limit, self._tell_of_watch, context.elsewhere,
        )  # fmt: skip
        self._guard: Guard = UNGUARDED
        self._conversation = Conversation(
            context, reader, writer, self._output, self._note, partial(context.budget.__contains__, self),
            self._watches, self._dispatcher(),
        )  # fmt: skip
        self._conversation.dispatcher.refused = self._tell_of_refusal
        self._linger = Linger(reader, writer)
        # Why a watch ends with the connection: a code, and a text for people.
        self._farewell = (SHUTDOWN, "the daemon stops")
        self._only_watches = False
        self._is_cut = False
        self._is_stranger = False

    def _dispatcher(self) -> MakeDispatcher:
        """Makes that of this connection; where there are users, it asks who the peer is."""
        context = self._context
        if not context.access:
            return partial(Dispatcher, context, self._output, self._watching, guard=UNGUARDED, allow=self._allow)
        host = host_of(self._writer, self.identity)
        login = self._guard = Login(context.access, host, self._watching.look_again, self.identity)
        return partial(CheckedDispatcher, context, self._output, self._watching, login=login, allow=self._allow)

    # ---- the connection

    async def run(self) -> None:
        """Serve until the peer is gone or has quit, or until `stop`.  The connection ends with `linger`."""
        self._context.rounds.add(self)
        self._task = asyncio.current_task()
        self._name = self._context.clients.add(self)
        self._streams.tell(self._note)
        try:
            await self._serve()
        except NotAClient as error:
            self._complaints.closed.write(self._peer, error, connection=self._name)
            self._is_stranger = True
            self._output.send(replies.refused(Usage(str(error))))
            error.__traceback__ = None
        except OSError as error:
            self._complaints.lost.write(self._peer, error, connection=self._name)
            # The reader keeps the error, as what raised the other one does: it would keep the stack and all that is on
            # it, such as a page of a copy, until the garbage collector comes.
            error.__traceback__ = None
        finally:
            self._task = None
            self._conversation.close()
            self._watching.close()
            self._guard.close()
            self._output.forget()

    async def _serve(self) -> None:
        conversation = self._conversation
        await conversation.run()
        if self._is_cut:
            return
        if self._watching.active and not conversation.dispatcher.quitting and not conversation.is_stopping:
            self._watching.close_with_it()
            # The peer has shut down its sending side only, and goes on watching until it is gone.
            self._only_watches = True
            await until_gone(self._writer, conversation.until_stop())
        if conversation.is_stopping:
            self._watching.end(*self._farewell)
        self._output.write()

    async def linger(self) -> None:
        """Close the connection, when the peer has what it was sent.

        What the store still has of it takes memory, and so its place: it could be left there again and again.
        """
        is_amid = self._is_stranger or self._conversation.is_amid
        self._conversation.lines.drop()
        try:
            await self._linger.close(amid=is_amid)
        finally:
            self._streams.tell(None)
            self._context.rounds.discard(self)
            self._context.clients.discard(self._name)
        await self._conversation.dispatcher.until_answered()

    def has_sent_all(self) -> bool:
        """While it lingers: whether the connection may be cut, were its place needed."""
        return self._linger.has_sent_all() and not self._conversation.dispatcher.busy

    def stop(self, crowd: int = 1) -> None:
        """Finish what is being answered, tell a watcher, and end.  crowd: how many connections end with this one."""
        self._stop(SHUTDOWN, f"{retry_hint(crowd)} the daemon stops")

    def begin_no_more(self) -> None:
        """Answer what was begun, and end: it was told to stop a while ago."""
        self._conversation.dispatcher.waiting.drop()

    def _stop(self, code: str, text: str) -> None:
        self._farewell = code, text
        self._conversation.stop()
        self._linger.drop_input()

    def abort(self) -> None:
        """End at once."""
        self._writer.transport.abort()

    # ---- what is told of it, and what an administrator does

    def facts(self) -> Facts:
        """See `clients.Client`."""
        user = self.identity.user
        address = self._address if user is None else f"unix:{user_name(user) or user}"
        requests = self._conversation.dispatcher.requests
        return Facts(address, self._guard.user, requests, self.held(), self._watching.patterns)

    def _tell_of_watch(self, what: str) -> None:
        self._complaints.watches.write(self._peer, what, connection=self._name)

    def _tell_of_refusal(self, error: Refusal) -> None:
        if error.word in TOLD:
            self._complaints.refused.write(self._peer, f"{error.word}: {error}", connection=self._name)

    def kick(self) -> None:
        """End it when what is in flight is answered, unless that takes time: then at once (a `clients.Client`)."""
        conversation = self._conversation
        # Its own KICK is no work that others would wait for.
        is_own = conversation.has_work and asyncio.current_task() is self._task
        self._complaints.kicked.write(self._peer, KICKED[1], connection=self._name)
        takes_time = not is_own and (conversation.has_work or self._output.held > 0)
        if self._only_watches and not takes_time:
            self._watching.end(*KICKED)
        elif self._task is None or takes_time:
            self._cut(KICKED[0])
        elif not (conversation.is_over or conversation.is_stopping):
            # Else it is about to end: cut, it would lose the line that says so.
            self._end_unanswered(*KICKED)

    # ---- what it holds

    def held(self) -> int:
        """Bytes that it holds now (a `budget.Holder`)."""
        if self._is_cut:
            return 0
        return self._conversation.held + self._watching.held + self._output.held

    def end_for_memory(self) -> None:
        """Let go of all that it holds (a `budget.Holder`)."""
        self._end_for(Limit.MEMORY)

    def _watches(self) -> bool:
        return self._watching.active

    def _note(self) -> None:
        """It may hold more than before, or less."""
        self._context.budget.note(self)

    def _allow(self, more: int) -> None:
        """Raises LimitReached if it may not hold so many bytes more: that is its last reply."""
        if self._context.budget.exceeds(self, more):
            error = self._reach(Limit.MEMORY)
            self._conversation.dispatcher.drop()
            self._stop(error.code, str(error))
            # Its place is not to be kept from others until the next round.
            self._note()
            raise error

    # ---- what takes too long

    def begun(self, limit: Limit) -> object | None:
        """That for which a limit of time counts (a `rounds.Timed`)."""
        conversation = self._conversation
        if conversation.has_come():
            # It is not the peer who is waited for; but a login is in flight as often as the peer likes.
            return self if limit is Limit.LOGIN and not (self._guard.is_known or conversation.is_over) else None
        if limit is Limit.LINE:
            return conversation.lines.begun
        if limit is Limit.TRANSACTION:
            return conversation.dispatcher.transaction
        if limit is Limit.LOGIN:
            return None if self._guard.is_known else self
        return None if self._watching.active or self._output.held else self._streams.heard

    def end_for(self, limit: Limit) -> None:
        """It has taken too long (a `rounds.Timed`)."""
        if limit is Limit.TRANSACTION:
            if pending := self._conversation.dispatcher.transaction:
                pending.expire(self._context.limits.reached(limit))
                self._note()
        elif limit is not Limit.LOGIN or not self._conversation.is_busy():
            self._end_for(limit)

    # ---- when the daemon ends it

    def _end_for(self, limit: Limit) -> None:
        """End it for a limit, and tell who waits for a line that nothing else could be taken for."""
        error, conversation = self._reach(limit), self._conversation
        if self._only_watches and not self._output.held:
            self._watching.end(error.code, str(error))
        elif conversation.is_over or conversation.is_stopping or conversation.owes() or self._output.held:
            self._cut(error.code)
        else:
            if conversation.lines.is_amid or conversation.lines.is_first:
                self._output.reply(replies.refused(error))
            self._end_unanswered(error.code, str(error))

    def _reach(self, limit: Limit) -> LimitReached:
        error = self._context.limits.reached(limit)
        self._context.limits.ended(self._peer, error, connection=self._name)
        return error

    def _end_unanswered(self, code: str, text: str) -> None:
        """End it without an answer to what was not begun."""
        self._conversation.dispatcher.drop()
        self._watching.stop_carrying()
        self._stop(code, text)
        self._conversation.lines.drop()

    def _cut(self, why: str) -> None:
        """End it at once, and let go of all that it holds.  why: for the count of watches."""
        self._is_cut = True
        self._watching.cut(why)
        self._conversation.drop()
        # Its task may wait for the store for long.
        self._output.forget()
        self.abort()
