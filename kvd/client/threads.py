"""What the synchronous face gives to what both share: connections, waiting, threads.

None of its coroutines suspends (see `faces`): where they wait, the thread waits.
"""

import threading
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from copy import copy
from typing import Any, TypeVar

from kvd.client.errors import uncertain
from kvd.client.faces import run
from kvd.client.limits import Limits
from kvd.client.protocol import Answer, Heard
from kvd.client.requests import Request
from kvd.client.sockets import SocketConnection
from kvd.errors import ConnectionLost

Result = TypeVar("Result")

FULL_SOCKET = 0.05
"""Seconds after which a thread that waits for its reply looks whether its request is still to be sent, for the thread
that receives may not know."""


class Pending:
    """What was asked, and the answer when it has come, or why none will."""

    __slots__ = ("answer", "lost", "request")

    def __init__(self, request: Request[Any]) -> None:
        self.request = request
        self.answer: Answer | None = None
        self.lost: ConnectionLost | None = None

    @property
    def is_done(self) -> bool:
        """Whether nothing more comes."""
        return self.answer is not None or self.lost is not None

    def result(self) -> Any:
        """What the reply says.  Raises Refusal, Conflict, Uncertain, ConnectionLost."""
        if self.answer is None:
            lost = self.lost or ConnectionLost("no answer has come")
            raise uncertain(lost) if self.request.is_write else copy(lost) from lost
        return self.answer.result()


class ThreadLink:
    """A connection for the requests of any number of threads.  They are pipelined.

    Of the threads that wait, one receives for all; when it has its own reply, another does.
    """

    def __init__(self, connection: SocketConnection, silence: float | None) -> None:
        self.lost: ConnectionLost | None = None
        connection.limit_silence(silence)
        self._connection = connection
        self._turn = threading.Condition()
        self._is_received = False

    async def ask(self, request: Request[Result]) -> Result:
        """Ask, and return what the reply says."""
        result: Result = self.wait(self.send(request)).result()
        return result

    def send(self, request: Request[Any]) -> Pending:
        """Ask, and wait for nothing.  Raises ConnectionLost: it was not sent."""
        pending = Pending(request)
        with self._turn:
            if not self._is_received and not self._connection.is_asked:
                self._notice()
            if self.lost:
                raise copy(self.lost)
            self._connection.send(request, pending)
        return pending

    def _notice(self) -> None:
        """See whether the connection has ended while nobody received: what is not sent is certainly not done."""
        try:
            self._connection.take()
        except ConnectionLost as error:
            self._lose(error)

    def wait(self, pending: Pending) -> Pending:
        """Wait until it is done."""
        while not pending.is_done:
            with self._turn:
                if self._is_received:
                    self._turn.wait(FULL_SOCKET if self._connection.is_unsent else None)
                    self._connection.push()
                    continue
                self._is_received = True
            try:
                self._receive(pending)
            finally:
                with self._turn:
                    self._is_received = False
                    self._turn.notify_all()
        return pending

    def _receive(self, pending: Pending) -> None:
        """Take what comes, for all, until this one is done."""
        try:
            while not pending.is_done:
                if (heard := self._connection.heard()) is None:
                    self._connection.receive()
                elif isinstance(heard, Answer):
                    heard.token.answer = heard
                    if heard.token is not pending:
                        with self._turn:
                            self._turn.notify_all()
        except ConnectionLost as error:
            self._lose(error)

    def _lose(self, error: ConnectionLost) -> None:
        with self._turn:
            self.lost = self.lost or error
            for pending in self._connection.unanswered():
                pending.lost = self.lost
            self._turn.notify_all()
        self._connection.close()

    async def close(self) -> None:
        """Close the connection."""
        self._lose(ConnectionLost("closed by this program"))


class ThreadStream:
    """A connection that one thread reads."""

    def __init__(self, connection: SocketConnection, silence: float | None) -> None:
        connection.limit_silence(silence)
        connection.skip_items()
        self.address = connection.address
        self.send = connection.send
        self._connection = connection

    async def hear(self, until: float | None = None) -> Heard:
        """Wait for what comes next; raise ConnectionLost, TimeoutError."""
        return self._connection.next(until)

    async def close(self) -> None:
        """Close it, whichever thread reads it."""
        self._connection.close()


class ThreadAlarm:
    """Something to wait for."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self.set = self._event.set
        self.is_set = self._event.is_set

    async def wait(self, seconds: float | None) -> bool:
        """Wait, None: for ever; return whether it is set."""
        return self._event.wait(seconds)


class ThreadLock:
    """A lock between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    async def __aenter__(self) -> None:
        self._lock.acquire()

    async def __aexit__(self, *_: object) -> None:
        self._lock.release()


class ThreadFace:
    """The synchronous one."""

    async def link(self, address: str, limits: Limits) -> ThreadLink:
        """Connect for requests."""
        return ThreadLink(SocketConnection.open(address, limits.connect, limits.tls, limits.login), limits.silence)

    async def stream(self, address: str, limits: Limits) -> ThreadStream:
        """Connect for a watch."""
        return ThreadStream(SocketConnection.open(address, limits.connect, limits.tls, limits.login), limits.silence)

    def alarm(self) -> ThreadAlarm:
        """Make something to wait for."""
        return ThreadAlarm()

    def lock(self) -> AbstractAsyncContextManager[Any]:
        """Make a lock."""
        return ThreadLock()

    def spawn(self, work: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], Awaitable[None]]:
        """Do some work in a thread, which does not keep the program from ending."""
        thread = threading.Thread(target=lambda: run(work()), daemon=True, name="kvd")
        thread.start()

        async def join() -> None:
            thread.join()

        return join
