"""What one peer sends, and the answers, in their order.

Input is taken in the callback in which it arrives, and goes in groups of requests to the dispatcher.  While a group is
at the store, or the connection's task does what waits for the peer or takes many steps, what comes is kept, and when
that is much, no more is read.  So requests are answered in their order, and most of them wake no task.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from kvd.errors import Usage
from kvd.session.budget import NOTED_BYTES
from kvd.session.context import Context
from kvd.session.dispatch import Dispatcher, Work
from kvd.session.kept_input import READ_BYTES, KeptInput
from kvd.session.output import Output
from kvd.session.streams import Streams
from kvd.verbs import is_verb
from kvd.wire import replies
from kvd.wire.lines import LineBuffer

ALL_BYTES = 2**30
"""More than the reader holds."""
TURN_LINES = 256
"""Lines answered before others have their turn: 64 KiB of empty lines take a tenth of a second."""
UNENDED = replies.refused(Usage("the last line has no line end and was not run"))

MakeDispatcher = Callable[[Callable[[Work | None], None], Callable[[bytes], None]], Dispatcher]
"""From a dispatcher's `go_on` and `answered`."""


class Conversation:
    """Of one connection: `run` it, `close` it.

    lines, dispatcher: its own.  has_work: bool, whether the task does something.
    is_stopping: bool, whether `stop` was called.  is_over: bool, whether all that will be answered was.
    """

    def __init__(
        self, context: Context, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, output: Output,
        note: Callable[[], None], is_counted: Callable[[], bool], gives_way: Callable[[], bool],
        make_dispatcher: MakeDispatcher,
    ) -> None:  # fmt: skip
        """writer: over a transport whose protocol is a `Streams`.

        note: called when more is held than before, or less.  is_counted: whether the budget counts what is held.
        gives_way: whether the requests of others come first.
        """
        self._reader = reader
        self._transport: Any = writer.transport
        streams = writer.transport.get_protocol()
        assert isinstance(streams, Streams)  # noqa: S101
        self._streams = streams
        self._output = output
        self._note, self._is_counted, self._gives_way = note, is_counted, gives_way
        self._received, self._relieve = context.requests.received, context.budget.relieve
        self.lines = LineBuffer(context.max_line, is_verb if streams.is_strict else None)
        self.dispatcher = make_dispatcher(self._go_on, self._answer)
        self._shortcut = self.dispatcher.shortcut
        self._waiting = self.dispatcher.waiting
        self._kept = KeptInput(self._transport, note, context.background)
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
        self._yielding = self._ended = self._was_amid = False
        self.is_stopping = self.is_over = False

    # ---- as the connection sees it

    async def run(self) -> None:
        """Answer, in the connection's task, until all is answered and nothing more will come, or until `stop`.

        Raises NotAClient, OSError.
        """
        while self._streams.has_early:
            self._streams.has_early = False
            self._receive(await self._reader.read(ALL_BYTES))
        if not self.is_stopping:
            self._streams.attach(self._receive, self._end)
        if self._reader.at_eof():
            self._end(None)
        self._go_on()
        while not self.is_over:
            await self._called.wait()
            self._called.clear()
            if self._error:
                raise self._error
            if self._work and not self.is_over:
                await self._work()
                self._work = None
                self._note()
                self._go_on()
                if self._work:
                    await asyncio.sleep(0)  # it may take long and wait for nothing: others' turn comes first

    def stop(self) -> None:
        """Finish what is being answered, and take no more."""
        self.is_stopping = True
        self.dispatcher.stop()
        self._was_amid = self.is_busy() or self._waiting.has_more() or self.lines.is_amid
        self._let_go()
        self._called.set()
        self._go_on()

    async def until_stop(self) -> None:
        """After `run`: returns when `stop` has been called."""
        while not self.is_stopping:
            await self._called.wait()
            self._called.clear()

    def drop(self) -> None:
        """Take no more, let go of all that is not answered yet, and have `run` return."""
        self._let_go()
        self.lines.drop()
        self.dispatcher.drop()
        self.dispatcher.cancel()
        self.is_over = True
        self._called.set()

    def close(self) -> None:
        """The connection has ended."""
        self._error = self._work = None
        self.is_over = True
        self._let_go()
        self.dispatcher.close()
        self._kept.close()
        self._note, self._is_counted, self._gives_way = _nothing, _never, _never

    @property
    def has_work(self) -> bool:
        """Whether the task does something, or is about to."""
        return self._work is not None

    @property
    def held(self) -> int:
        """Bytes that wait to be answered."""
        return len(self._kept.data) + self.lines.held + self.dispatcher.held

    @property
    def is_amid(self) -> bool:
        """Whether the peer has sent something that was not answered, so that it may be about to send more."""
        return self._was_amid or self.dispatcher.left_lines or self.lines.is_amid

    def is_busy(self) -> bool:
        """Whether nothing may be begun now: a group or the task is at work, others have their turn, or all is over."""
        return self.dispatcher.busy or self._work is not None or self._yielding or self._pumping or self.is_over

    def has_come(self) -> bool:
        """Whether a request is being answered, or input waits to be looked at."""
        return self.is_busy() or self._kept.data != b""

    def owes(self) -> bool:
        """Whether a reply is still to come."""
        return self.has_come() or self._waiting.has_more()

    # ---- input

    def _receive(self, data: bytes) -> None:
        """Called with what arrives."""
        self._received[0] += len(data)
        if self._idle and not self._streams.is_full and self._shortcut(data):
            self._idle = not self.dispatcher.busy
            if self._streams.is_full:
                # Others may have as large replies in the same turn of the loop.
                self._relieve()
            return
        self._idle = False
        if len(data) > READ_BYTES or self.is_busy() or self._kept.data or self._waiting.has_more():
            self._kept.add(data)
        else:
            self._feed(data)
        self._go_on()
        self._relieve()

    def _end(self, error: Exception | None) -> None:
        """Called when nothing more will come, or the connection is lost."""
        self._ended = True
        if error:
            self._fail(error)
        self._go_on()

    def _feed(self, data: bytes) -> None:
        size = self.lines.held + len(data)
        self._waiting.feed(self.lines.feed(data), size)

    def _let_go(self) -> None:
        """Take no more input: it stays in the reader."""
        self._streams.detach()
        self._idle = False
        self._kept.drop()

    # ---- what is done next

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
            while not (self.dispatcher.busy or self._work or self._yielding or self.is_over or self._error):
                if self._answered and self._output.is_full() and not self.dispatcher.quitting:
                    # A peer that has quit may have more to send before it reads.
                    self._call(self._output.flush)
                    self._answered = False
                elif self._turn >= TURN_LINES:
                    self._yielding = True
                    asyncio.get_running_loop().call_soon(self._take_turn)
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
        if self._kept.data or self._ended or self.is_stopping:
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
        if self._waiting.has_more():
            self._answered = True
            # Also a group that is answered at once, and work that waits for nothing, takes others' time.
            self._turn += self.dispatcher.step()
            if self.dispatcher.busy and (self._is_counted() or self._waiting.held >= NOTED_BYTES):
                # What is at the store is counted apart.
                self._note()
            return True
        self._answered = False
        if self.is_stopping or self.dispatcher.quitting or (self._ended and not self._kept.data):
            self._finish()
            return False
        self._output.write()
        if self._kept.data:
            self._feed(self._kept.take())
            return True
        self._idle = self.lines.between and not self.dispatcher.in_transaction
        if not self._idle or self._is_counted():
            self._note()
        self._turn = 0
        if self._idle and self._gives_way():
            self._kept.give_way()
        return False

    def _finish(self) -> None:
        """All that will be answered was."""
        if self._ended and not self.is_stopping and not self.dispatcher.quitting and self.lines.is_amid:
            self._output.reply(UNENDED)
        self._output.write()
        self._was_amid |= bool(self._kept.data)
        self.is_over = True
        self._called.set()


def _nothing() -> None:
    """Takes the place of the connection, which would otherwise be kept until the garbage collector comes."""


def _never() -> bool:
    """The same."""
    return False
