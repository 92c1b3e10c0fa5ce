"""A connection to a daemon, on a socket that this thread waits for."""

import select
import socket
import ssl
import threading
import time
from collections import deque
from contextlib import suppress
from typing import Any, Self, TypeVar

from kvd.client import requests
from kvd.client.connection import LONGEST_GREETING, READ_SIZE
from kvd.client.dialing import dial_blocking, parse_target, reason_of, unreachable
from kvd.client.errors import ProtocolError, TimedOut, TlsFailed, lost_at
from kvd.client.login import LOGIN_TIMEOUT, Login
from kvd.client.protocol import Answer, Heard, Protocol
from kvd.client.received import LONGEST_LINE
from kvd.client.requests import Request
from kvd.client.silence import LOOKS
from kvd.errors import ConnectionLost
from kvd.process import half_open

Result = TypeVar("Result")


class SocketConnection:
    """Requests to, and what comes from, a daemon.

    Any thread may send, and close; one at a time may receive.  What the socket does not take at once is sent by
    the one who receives: a daemon that is not read does not read either.
    """

    def __init__(self, address: str, connection: Any) -> None:
        """connection: a socket that does not block."""
        self.address = address
        self._socket = connection
        self._protocol = Protocol(LONGEST_GREETING)
        self._poll = select.poll()
        self._poll.register(connection, select.POLLIN)
        self._unsent: deque[memoryview] = deque()
        self._sending, self._receiving = threading.Lock(), threading.Lock()
        self._limit: float | None = None
        self._quiet = 0.0
        self._error: ConnectionLost | None = None
        self._peer = half_open.Peer(connection)

    @classmethod
    def open(
        cls, address: str, connect_timeout: float, given: ssl.SSLContext | None = None, login: Login | None = None
    ) -> Self:
        """Connect, and wait for the answer to a PING.  given: for TLS, if that is wanted.  login: who it is.

        Raises BadAddress, Unreachable, Refusal.
        """
        target = parse_target(address)
        context = target.context(given)
        until = time.monotonic() + connect_timeout
        try:
            connection = cls(address, dial_blocking(target, until, context))
            connection._begin(requests.ping(), until)
            if login:
                connect_timeout = max(connect_timeout, LOGIN_TIMEOUT)
                connection._begin(requests.auth(login), time.monotonic() + connect_timeout)
        except (OSError, UnicodeError, ConnectionLost) as error:
            raise unreachable(address, error, connect_timeout, bool(context)) from None
        connection._protocol.longest = LONGEST_LINE
        return connection

    def _begin(self, request: Request[Any], until: float) -> None:
        try:
            self.send(request)
            while not isinstance(heard := self.next(until), Answer):
                pass
            heard.result()
        except BaseException:
            self.close()
            raise

    def limit_silence(self, limit: float | None) -> None:
        """From now on, raise TimedOut after so many seconds in which something was waited for and no byte came."""
        self._limit, self._quiet = limit, 0.0

    def speak(self, protocol: Protocol) -> None:
        """Have another one look at what comes from now on."""
        self._protocol = protocol

    def fileno(self) -> int:
        """The socket's, to wait for."""
        return int(self._socket.fileno())

    def finish(self) -> None:
        """Shut down the sending side; what was not sent is not."""
        with suppress(OSError):  # it is lost, which the receiver meets too
            self._socket.shutdown(socket.SHUT_WR)

    @property
    def is_lost(self) -> bool:
        """Whether it has ended."""
        return self._error is not None

    @property
    def is_asked(self) -> bool:
        """Whether an answer is due."""
        return self._protocol.is_asked

    @property
    def is_unsent(self) -> bool:
        """Whether the socket is full."""
        return bool(self._unsent)

    def send(self, request: Request[Any], token: Any = None) -> None:
        """Send a request; the token comes back with its answer."""
        with self._sending:
            if not self._protocol.is_asked:
                self._quiet = 0.0
            self._unsent.append(memoryview(self._protocol.send(request, token)))
            self._push()

    def push(self) -> None:
        """Send what waits, if the socket takes it."""
        if self._unsent:
            with self._sending:
                self._push()

    def _push(self) -> None:
        """Send what the socket takes."""
        with suppress(OSError):  # it is full; or it is lost, which the receiver meets too
            while self._unsent:
                sent = self._socket.send(self._unsent[0])
                self._quiet = 0.0
                if sent == len(self._unsent[0]):
                    self._unsent.popleft()
                else:
                    self._unsent[0] = self._unsent[0][sent:]

    def next(self, until: float | None = None) -> Heard:
        """Wait for what comes next, until a time of the monotonic clock; raise ConnectionLost, TimeoutError."""
        while (heard := self.heard()) is None:
            self.receive(until)
        return heard

    def heard(self) -> Heard | None:
        """What comes next of what was received.  Raises ProtocolError."""
        with self._sending:
            return self._protocol.next()

    def take(self) -> None:
        """Take what is there, and wait for nothing; raise ConnectionLost."""
        with self._receiving:
            if self._error:
                raise self._lost("")
            self._read()
        while not self._protocol.is_asked and self.heard():
            pass  # changes of a watch that nobody wanted; a reply is none that was asked for

    def receive(self, until: float | None = None) -> None:
        """Wait for bytes, or for a while; raise ConnectionLost, TimeoutError."""
        with self._receiving:
            if self._error:
                raise self._lost("")
            step = half_open.LOOK_INTERVAL if self._limit is None else self._limit / LOOKS
            left = step if until is None else until - time.monotonic()
            if left <= 0:
                raise TimeoutError
            if not self._wait(min(step, left)):
                self._look(step)
                return
            self._quiet = 0.0
            self._read()

    def _wait(self, seconds: float) -> bool:
        """Wait until there are bytes to receive."""
        began = time.monotonic()
        poll = self._poll
        if self._unsent:
            poll = select.poll()
            poll.register(self._socket, select.POLLIN | select.POLLOUT)
        events = poll.poll(seconds * 1000)
        if events and events[0][1] & select.POLLOUT:
            self.push()
        if events and events[0][1] & ~select.POLLOUT:
            return True
        # Where this program was itself stopped, or busy, more time has passed than it has waited.
        self._quiet += min(time.monotonic() - began, seconds)
        return False

    def _look(self, step: float) -> None:
        if self._limit is not None and self._quiet >= self._limit:
            self._error = TimedOut(f"no byte from the daemon for {self._limit:g} s")
        elif self._limit is None and self._quiet >= step:
            self._quiet = 0.0
            if self._peer.is_gone():
                self._error = TimedOut(half_open.gone())
        if self._error:
            raise self._lost("")

    def _read(self) -> None:
        try:
            data = self._socket.recv(READ_SIZE)
        except BlockingIOError:
            return
        except ssl.SSLError as error:
            self._error = self._error or TlsFailed(reason_of(error))
            raise self._lost("") from None
        except OSError as error:
            raise self._lost(reason_of(error)) from None
        if not data:
            raise self._lost("the connection was closed")
        with self._sending:
            try:
                self._protocol.receive(data)
            except ProtocolError as error:
                self._error = error
                raise self._lost("") from None

    def _lost(self, reason: str) -> ConnectionLost:
        self._error = self._error or ConnectionLost(reason)
        return lost_at(self.address, self._error)

    def skip_items(self) -> None:
        """From now on it only watches: items that were not asked for are no error."""
        self._protocol.skips_items = True
        half_open.reset_at_end(self._socket)

    def unanswered(self) -> list[Any]:
        """The tokens of the requests whose answers have not come: none will."""
        with self._sending:
            return self._protocol.unanswered()

    def close(self) -> None:
        """Close at once, in use or not; nothing follows."""
        self._error = self._error or ConnectionLost("closed by this program")
        # It wakes who receives.  Were the sending side shut down as well, the daemon would take a watcher that is reset
        # at its end for one that listens on.
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RD)
        with self._receiving, self._sending:
            self._protocol.forget()
            self._socket.close()
