"""Connections are accepted a few at a time, so that a crowd of them keeps nobody waiting until all have come."""

import asyncio
import errno
import logging
import socket
from collections.abc import Callable

logger = logging.getLogger("kvd")

PORTION = 4
"""Connections that are accepted before others have their turn."""
PAUSE = 1.0
"""Seconds for which none is accepted when the system cannot give one, as for want of descriptors or of memory."""
GONE = frozenset(getattr(errno, name) for name in (
    "ECONNABORTED", "ENETDOWN", "EPROTO", "ENOPROTOOPT", "EHOSTDOWN", "ENONET", "EHOSTUNREACH", "EOPNOTSUPP",
    "ENETUNREACH", "EPERM",
) if hasattr(errno, name))  # fmt: skip
"""Errors of the one connection that is accepted: Linux tells them here, others when it is used (accept(2)); EPERM is a
firewall's."""


class Acceptor:
    """Of one listener: until `close`, each connection gets a transport and a protocol in the running loop."""

    def __init__(self, listener: socket.socket, make_protocol: Callable[[], asyncio.BaseProtocol]) -> None:
        """listener: it listens already, and is the acceptor's from now on."""
        listener.setblocking(False)
        self._listener = listener
        self._make_protocol = make_protocol
        self._loop = asyncio.get_running_loop()
        self._beginning: set[asyncio.Task[None]] = set()
        self._pause: asyncio.TimerHandle | None = None
        self._go_on()

    def close(self) -> None:
        """Accept no more."""
        if self._pause:
            self._pause.cancel()
        self._loop.remove_reader(self._listener)
        self._listener.close()

    def _go_on(self) -> None:
        self._loop.add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        for _ in range(PORTION):
            try:
                connection, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError):
                # Another process was faster.
                return
            except OSError as error:
                if error.errno not in GONE:
                    self._pause_for(error)
                return
            task = self._loop.create_task(self._begin(connection))
            self._beginning.add(task)
            task.add_done_callback(self._beginning.discard)

    def _pause_for(self, error: OSError) -> None:
        logger.warning("accept no connections for %.0f s: %s", PAUSE, error)
        self._loop.remove_reader(self._listener)
        self._pause = self._loop.call_later(PAUSE, self._go_on)

    async def _begin(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        try:
            await self._loop.connect_accepted_socket(self._make_protocol, connection)
        except OSError:
            # The peer is gone.
            connection.close()
