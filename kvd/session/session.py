"""One connection: read, have it answered, end well."""

import asyncio
import socket
from collections.abc import Awaitable
from contextlib import suppress
from typing import Any

from kvd.errors import NotAClient, Usage
from kvd.session.answers import Answers, Context
from kvd.session.express import Express, Streams
from kvd.session.linger import Linger
from kvd.session.output import Output
from kvd.session.watching import Watching
from kvd.wire import replies
from kvd.wire.lines import LineBuffer

READ_BYTES = 64 * 1024
"""Bytes taken from the socket at once."""
GONE_INTERVAL = 30.0
"""Seconds between looks whether a peer that only watches is still there."""
UNENDED = replies.refused(Usage("the last line has no line end and was not run"))
_TCP_CLOSE = 7
"""The state of a connection that was reset (linux/tcp_states.h), first in TCP_INFO."""


class Session:
    """One connection, from its first byte to its end."""

    def __init__(self, context: Context, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._complaints = context.complaints
        self._peer = _name_of(writer)
        self._lines = LineBuffer(context.max_line)
        self._output = Output(writer, context.push_limit)
        self._watching = Watching(context.store, context.log, context.hub, context.timer, self._output)
        self._answers = Answers(context, self._output, self._watching)
        self._express = Express(context.store, self._output, context.max_value, reader.feed_data)
        streams = writer.transport.get_protocol()
        if isinstance(streams, Streams):
            streams.take = self._express.take
        self._task: asyncio.Task[None] | None = None
        self._idle = False
        self._stopping = False
        self._interrupted = False
        self._linger = Linger(reader, writer)
        self._is_amid = False

    # ---- the connection

    async def run(self) -> None:
        """Serve until the peer is gone or has quit, or until `stop`.  The connection ends with `linger`."""
        self._task = asyncio.current_task()
        try:
            await self._serve()
        except NotAClient as error:
            self._complaints.closed.write(self._peer, error)
            self._is_amid = True
            self._output.send(replies.refused(Usage(str(error))))
        except OSError as error:
            self._complaints.lost.write(self._peer, error)
            # The reader keeps the error, which would keep the stack and all that stands on it, such as a page of a
            # copy, until the garbage collector comes.
            error.__traceback__ = None
        finally:
            self._watching.close()
            self._output.forget()

    async def linger(self) -> None:
        """Close the connection, when the peer has what it was sent."""
        is_amid = self._is_amid or self._answers.left_lines or self._lines.is_amid
        await self._linger.close(amid=is_amid)

    def has_sent_all(self) -> bool:
        """While it lingers: whether the connection may be cut, were its place needed."""
        return self._linger.has_sent_all()

    def stop(self) -> None:
        """Finish what is being answered, tell a watcher, and end."""
        self._stopping = True
        if self._idle and self._task:
            self._interrupted = True
            self._is_amid = self._express.busy
            self._task.cancel()
        else:
            self._is_amid = True
            self._linger.drop_input()

    def abort(self) -> None:
        """End at once."""
        self._writer.transport.abort()

    async def _serve(self) -> None:
        try:
            await self._converse()
            if self._watching.active and not self._answers.quitting and not self._stopping:
                self._watching.close_with_it()
                await self._wait(self._only_watch())
        except asyncio.CancelledError:
            # Only `stop` interrupts; whoever cancels again means it.
            if not self._interrupted:
                raise
            self._interrupted = False
            self._linger.drop_input()
            await self._answer(await self._express.finish())
        self._watching.end("shutdown", "the daemon stops")
        self._output.write()

    async def _converse(self) -> None:
        while not self._answers.quitting and not self._stopping:
            data = await self._read()
            if not data:
                if self._lines.is_amid:
                    self._output.reply(UNENDED)
                    self._output.write()
                return
            await self._answer(data)

    async def _read(self) -> bytes:
        """What is to be answered line by line; b"" at the end."""
        self._express.open = self._lines.between and not self._answers.in_transaction
        try:
            data: bytes = await self._wait(self._reader.read(READ_BYTES))
        finally:
            self._express.open = False
        return await self._express.finish() + data

    async def _answer(self, data: bytes) -> None:
        try:
            await self._answers.answer(self._lines.feed(data))
        finally:
            self._output.write()
        # A peer that has quit may have more to send before it reads.
        if not self._answers.quitting:
            await self._output.flush()

    async def _only_watch(self) -> None:
        """The peer has shut down its sending side only, and goes on watching until it is gone.

        Nothing is read any more, so that keep-alive's finding has to be asked for.
        """
        closed = asyncio.ensure_future(self._writer.wait_closed())
        connection = self._writer.get_extra_info("socket")
        try:
            while not (await asyncio.wait({closed}, timeout=GONE_INTERVAL))[0]:
                if _is_gone(connection):
                    self.abort()
            await closed
        finally:
            closed.cancel()

    async def _wait(self, event: Awaitable[Any]) -> Any:
        """Wait for the peer; `stop` interrupts only here."""
        self._idle = True
        try:
            return await event
        finally:
            self._idle = False


def _is_gone(connection: Any) -> bool:
    """Whether the kernel knows that a TCP peer is gone; False where it does not say."""
    if connection is None or not hasattr(socket, "TCP_INFO"):
        return False
    return bool(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _TCP_CLOSE)


def _name_of(writer: asyncio.StreamWriter) -> str:
    """The peer's address, for the log: asked while it is there, for uvloop raises ValueError when it is not."""
    peer = None
    with suppress(OSError, ValueError):
        peer = writer.get_extra_info("peername")
    return f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else "a peer"
