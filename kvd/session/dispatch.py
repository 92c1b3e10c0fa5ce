"""Requests answered, in their order and in groups: neighbours that read, and neighbours that write, go to the store
together, and wake no task.

What pages, waits for the peer or asks the store in steps of its own is *work*: the connection's task does it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from time import perf_counter
from typing import Any

from kvd.errors import KvdError, NotAClient, Refusal, Usage
from kvd.metrics import REFUSED_VERB
from kvd.model import Outcome, Record
from kvd.requests import Write
from kvd.session.chunks import Chunks, tell_nobody
from kvd.session.context import Context
from kvd.session.handlers import AT_ONCE, ENDS_TRANSACTION, WORK, Handlers, anything
from kvd.session.login import Guard
from kvd.session.output import Output
from kvd.session.transaction import Pending
from kvd.session.waiting import LINE_BYTES, Parsed, Waiting
from kvd.session.watching import Watching, memory_of
from kvd.store.api import Found
from kvd.verbs import Kind, Verb, kind_of
from kvd.wire import replies, shortcuts

Work = Callable[[], Awaitable[None]]
"""What the connection's task does."""


class Dispatcher(Chunks):
    """Does what lines ask for, and gives the replies to an output.

    While it is busy with a group, or with a chunk, nothing else may be begun; `go_on` is called when a group is
    answered, and with what is left to do.
    left_lines: bool, whether there were lines after a QUIT.  waiting: the lines that `step` will answer.
    """

    def __init__(
        self, context: Context, output: Output, watching: Watching, go_on: Callable[[Work | None], None],
        answered: Callable[[bytes], None], guard: Guard, allow: Callable[[int], None],
    ) -> None:  # fmt: skip
        """answered: as `Chunks` takes it.  allow: raises LimitReached if the connection may not hold so many bytes
        more."""
        super().__init__(context, output, answered)
        self._read_then = context.in_flight.reading(context.store.read_then)
        self._handlers = Handlers(context, output, watching, guard, allow)
        self._allow = allow
        self._go_on = go_on
        self.waiting = Waiting(context.max_value, self._most, context.store.batch_bytes)
        self.left_lines = False
        self._is_committing = False
        # The task that does a request with patterns.
        self._asking: asyncio.Task[Any] | None = None
        self._is_cancelled = False
        # Of a connection that has ended, that which the store still has to answer.
        self._last: asyncio.Future[None] | None = None

    # Where there are users, others take the places of these.
    _readable: Callable[[Sequence[bytes]], int] = staticmethod(len)

    def _check_readable(self, verb: Verb, key: bytes) -> None:
        """Raises a refusal if it is not."""

    @property
    def in_transaction(self) -> bool:
        """Whether what comes next belongs to a transaction."""
        return self._handlers.pending is not None

    @property
    def held(self) -> int:
        """Bytes that wait to be done, or are in a transaction that is open, or in what is being asked for."""
        pending = self._handlers.pending
        size = pending.held if pending and not self._is_committing else 0
        return self.waiting.held + size + self._handlers.asking

    @property
    def transaction(self) -> Pending | None:
        """The transaction that is open, unless it has been for too long."""
        pending = self._handlers.pending
        return None if pending is None or pending.is_expired else pending

    @property
    def quitting(self) -> bool:
        """Whether QUIT was answered."""
        return self._handlers.quitting

    def stop(self) -> None:
        """What is done in pieces is to end after the next one."""
        self._handlers.stopping = True

    def drop(self) -> None:
        """Forget what was not begun, and the transaction."""
        self.waiting.drop()
        self._handlers.pending = None

    def cancel(self) -> None:
        """Let go of patterns that are asked for.  Of other requests the store has what they hold, until it is done."""
        if self._asking:
            self._is_cancelled = True
            self._asking.cancel()

    def close(self) -> None:
        """The connection has ended: nobody is told of what is answered yet, but `until_answered`."""
        self._go_on = self._answered = self.refused = tell_nobody
        if self.busy:
            self._last = asyncio.get_running_loop().create_future()
            self._go_on = self._answered = self._note_last
        self.drop()
        self._handlers.close()
        self._allow = anything

    async def until_answered(self) -> None:
        """After `close`: returns when the store has answered."""
        if self._last:
            await self._last

    def _note_last(self, _: object) -> None:
        self._go_on = self._answered = tell_nobody
        if self._last and not self._last.done():
            self._last.set_result(None)

    # ---- what is done

    def step(self) -> int:
        """Answer the next line, or begin to answer the next group; how many lines.  Raises NotAClient."""
        self._answer_next()
        self.requests += self.waiting.taken
        return self.waiting.taken

    def _answer_next(self) -> None:
        self._began = perf_counter()
        request = self.waiting.next()
        if self.quitting:
            self.left_lines = True
            self.waiting.drop()
        elif isinstance(request, NotAClient):
            self._output.write()
            self._counts.refused(REFUSED_VERB, Usage.code, self._began)
            raise request
        elif isinstance(request, Refusal):
            self.refused(request)
            pending = self._handlers.pending
            self._reply(self.waiting.asked, pending.refuse(request) if pending else replies.refused(request))
        elif self._handlers.pending and request[0].name not in ENDS_TRANSACTION:
            self._reply(request[0].name, self._handlers.pending.answer(*request))
        else:
            self._begin(request)

    def _begin(self, request: Parsed) -> None:
        verb, arguments = request
        kind = kind_of(verb, arguments)
        if kind is Kind.READ:
            verbs, reads = zip(*self.waiting.group(request), strict=True)
            self._read(verbs, [read.key for read in reads])
        elif kind is Kind.WRITE:
            group = self.waiting.group(request)
            self._write([verb.name for verb, _ in group], [write for _, write in group])
        elif verb.name in AT_ONCE:
            try:
                reply = AT_ONCE[verb.name](self._handlers, arguments)
            except Refusal as error:
                reply = self._refusal(error)
            self._reply(verb.name, reply)
        elif hasattr(arguments, "patterns"):
            self._begin_to_ask(verb, arguments)
        else:
            self._is_committing = verb.name == "COMMIT"
            self._go_on(partial(self._work, verb, arguments))

    def _begin_to_ask(self, verb: Verb, arguments: Any) -> None:
        """Begin a request with patterns, if there is memory for them."""
        size = memory_of(arguments.patterns)
        try:
            self._allow(size)
        except Refusal as error:
            self._reply(verb.name, self._refusal(error))
        else:
            self._handlers.asking = size
            self._go_on(partial(self._ask_for, verb, arguments))

    def _refusal(self, error: Refusal) -> bytes:
        """The reply to a request that is done alone, and was refused."""
        self.refused(error)
        # What raised it may have it in a name: then all on the stack, such as a thousand patterns, would be kept until
        # the garbage collector comes.
        error.__traceback__ = None
        return replies.refused(error)

    def _reply(self, verb: str, reply: bytes) -> None:
        """The reply to a request that is done alone; of HELP with lines before the status, which is OK."""
        self._output.reply(reply)
        self._counts.answered_one(verb, replies.OK if verb == "HELP" and reply.startswith(b"H") else reply, self._began)

    # ---- groups

    def _read(self, verbs: Sequence[Verb], keys: Sequence[bytes]) -> None:
        self.busy = True
        done = partial(self._answer_reads, verbs, keys)
        if self._elsewhere and not all(verb.wants_value for verb in verbs):
            ask = partial(self._elsewhere.lives_then, [not verb.wants_value for verb in verbs])
            self._context.in_flight.reading(ask)(keys, done)
            return
        self._read_then(keys, done, fetch=len(keys) == 1 and verbs[0].wants_value)

    def _answer_reads(self, verbs: Sequence[Verb], keys: Sequence[bytes], found: Found | KvdError) -> None:
        work: Work | None = None
        if isinstance(found, KvdError):
            self._refuse([verb.name for verb in verbs], found)
        else:
            place = self._reply_reads(verbs, *found)
            if place < len(keys):
                work = partial(self._read_on, verbs[place:], keys[place:])
                self._handlers.asking = sum(map(len, keys[place:])) + LINE_BYTES * (len(keys) - place)
        self.busy = False
        self._go_on(work)

    def _reply_reads(self, verbs: Sequence[Verb], records: Sequence[Record | None], now: int) -> int:
        """Answer reads up to the first large value; how many."""
        given: list[bytes] = []
        for verb, record in zip(verbs, records, strict=True):
            assert verb.reply  # noqa: S101
            if record is not None and record.large and verb.wants_value:
                break
            given.append(verb.reply(record, now))
        self._output.reply_all(given)
        self._counts.answered([verb.name for verb in verbs[: len(given)]], given, self._began)
        return len(given)

    async def _read_on(self, verbs: Sequence[Verb], keys: Sequence[bytes]) -> None:
        """Answer reads of which the first is of a large value; the others must not be older than that value."""
        try:
            while keys:
                # One at a time: a megabyte each, and the peer may be slow.
                await self._output.flush_if_full()
                self._reply(verbs[0].name, await self._read_large(verbs[0], keys[0]))
                verbs, keys = verbs[1:], keys[1:]
                if count := self._readable(keys):
                    # Nor may it wait here for what is asked next: nothing that is only collected is counted.
                    await self._output.flush_if_full()
                    count = self._reply_reads(verbs[:count], *await self._found(verbs[:count], keys[:count]))
                    verbs, keys = verbs[count:], keys[count:]
        except Refusal as error:
            self._refuse([verb.name for verb in verbs], error)
        finally:
            self._handlers.asking = 0

    async def _read_large(self, verb: Verb, key: bytes) -> bytes:
        assert verb.reply  # noqa: S101
        try:
            self._check_readable(verb, key)
            if verb.wants_value:
                return verb.reply(await self._store.fetch(key), 0)
            (record,), now = await self._found([verb], [key])
            return verb.reply(record, now)
        except Refusal as error:
            return replies.refused(error)

    async def _found(self, verbs: Sequence[Verb], keys: Sequence[bytes]) -> Found:
        """The records of keys.  Raises what the store raises."""
        lives = [not verb.wants_value for verb in verbs]
        if self._elsewhere and any(lives):
            return await self._elsewhere.lives(keys, lives)
        return await self._store.read(keys)

    def _write(self, verbs: Sequence[str], writes: Sequence[Write]) -> None:
        self.busy = True
        simple = None if self._elsewhere else shortcuts.as_simple(writes)
        self._write_then(simple or writes, self.waiting.size, partial(self._answer_writes, verbs))

    def _answer_writes(self, verbs: Sequence[str], outcomes: Sequence[Outcome] | KvdError) -> None:
        if isinstance(outcomes, KvdError):
            self._refuse(verbs, outcomes)
        else:
            given = [*map(replies.written, outcomes)]
            self._output.reply_all(given)
            self._counts.answered(verbs, given, self._began)
        self.busy = False
        self._go_on(None)

    def _refuse(self, verbs: Sequence[str], error: KvdError) -> None:
        self._output.reply(self._refused(verbs, error))

    # ---- single requests

    async def _ask_for(self, verb: Verb, arguments: Any) -> None:
        """Do a request with patterns, until `cancel`."""
        self._asking = asyncio.current_task()
        try:
            await self._work(verb, arguments)
        except asyncio.CancelledError:
            if not (self._asking and self._is_cancelled):
                raise
            self._asking.uncancel()
        finally:
            self._asking = None
            self._handlers.asking = 0

    async def _work(self, verb: Verb, arguments: Any) -> None:
        self._output.status = replies.OK
        try:
            pending = self._handlers.pending
            size = pending.held if pending and pending.may_be_done else 0
            with self._context.in_flight.alone(verb.name, size):
                await WORK[verb.name](self._handlers, arguments)
        except Refusal as error:
            self._output.finish(self._refusal(error))
        self._counts.answered_one(verb.name, self._output.status, self._began)
        if verb.name == "COMMIT":
            # It may have been refused before it was looked at.
            self._handlers.pending = None
            self._is_committing = False
