"""Notices peers that are gone without a word: the machine lost its power, or the network between drops everything.

While nothing is in flight, the kernel's keep-alive asks an idle peer whether it is there.  While something is, it does
not ask, and goes on sending for a quarter of an hour.  The option that shortens this, TCP_USER_TIMEOUT, also ends
connections of peers that are there and answer, but do not read: since Linux 5.11 it counts the time in which the
peer's window is closed, whatever the peer answers to the kernel's probes.  It may even count from an earlier time at
which the window was closed: measured on Linux 6.18 with a limit of 3 s, peers with receive buffers of 16 KB that were
slow for 0.6 s, read everything, and were slow again 4 s later, were all cut off 0.2 s after that.

So the kernel is asked every few seconds what it knows of a peer.  One that owes an acknowledgement at so many looks in
a row, and from which no segment came between them, is gone.  A peer whose window is closed owes one only while a probe
is unanswered; the kernel sends them up to two minutes apart.
"""

import asyncio
import socket
import struct
import sys
from collections.abc import Callable
from typing import Any

KEEPALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}
"""Seconds of silence before the kernel asks a peer whether it is there, seconds between further questions, and
how many of them: 90 seconds in all."""
LOOK_INTERVAL = 10.0
"""Seconds between looks at a peer."""
LOOKS = 9
"""Looks in a row at which a peer that is gone has owed an acknowledgement: some 90 seconds.

They are counted, and no clock is asked: where this process was itself stopped, or busy, one look at the most is late.
"""
TURN_LOOKS = 100
"""Looks before others have their turn, some 0.3 ms."""

_INFO = struct.Struct("=3xB20xI16xI8xI80xI")
"""Of struct tcp_info (linux/tcp.h), as it has been since Linux 4.2: tcpi_probes, tcpi_unacked, tcpi_last_data_sent,
tcpi_last_ack_recv, tcpi_segs_in."""


def keep_alive(connection: Any) -> None:
    """Have the kernel ask whether the peer is there, while nothing is in flight.  connection: a socket.

    The peer of a unix socket is on this machine, and cannot go without a word.
    """
    if connection.family == socket.AF_UNIX:
        return
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEPALIVE.items():
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def reset_at_end(connection: Any) -> None:
    """Have the kernel reset the connection when this end closes it, also when the process is killed.

    Otherwise the peer cannot tell a watcher that has closed from one that has only ended its sending side, and keeps it
    until it has a change for it.  What was sent and not yet received may be lost.  connection: a socket, or a
    transport's.
    """
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def gone() -> str:
    """What there is to say of a peer that is gone."""
    return f"its machine has acknowledged nothing for {LOOKS * LOOK_INTERVAL:g} s"


class Peer:
    """One TCP peer, which is to be looked at every LOOK_INTERVAL."""

    __slots__ = ("_connection", "_owed", "_segments")

    def __init__(self, connection: Any) -> None:
        """connection: a TCP socket, or a transport's."""
        self._connection = connection
        self._segments = 0
        self._owed = 0

    def is_gone(self) -> bool:
        """Look; whether the peer has owed an acknowledgement for too long.  False where the kernel does not say."""
        owes, segments = _ask(self._connection)
        self._owed = self._owed + 1 if owes and segments == self._segments else 0
        self._segments = segments
        return self._owed >= LOOKS


class Peers:
    """The peers of many connections: keep `run` running."""

    def __init__(self) -> None:
        self._peers: dict[Peer, Callable[[], None]] = {}

    def add(self, connection: Any, gone: Callable[[], None]) -> Peer:
        """Call `gone` when the peer is, until `discard`.  connection: a socket, or a transport's."""
        peer = Peer(connection)
        self._peers[peer] = gone
        return peer

    def discard(self, peer: Peer) -> None:
        """Look at it no longer."""
        self._peers.pop(peer, None)

    async def run(self) -> None:
        """Look at all of them, again and again."""
        while True:
            await asyncio.sleep(LOOK_INTERVAL)
            for number, peer in enumerate(list(self._peers), 1):
                if peer in self._peers and peer.is_gone():
                    self._peers.pop(peer)()
                if number % TURN_LOOKS == 0:
                    await asyncio.sleep(0)


def _ask(connection: Any) -> tuple[bool, int]:
    """Whether the peer owes an acknowledgement of what was sent since it last sent one, and how many segments came."""
    if not hasattr(socket, "TCP_INFO"):
        return False, 0
    try:
        known = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO.size)
    except (OSError, ValueError):  # it is closed, or a unix socket
        return False, 0
    if not sys.platform.startswith("linux") or len(known) < _INFO.size:
        return False, 0
    probes, unacknowledged, since_sent, since_acknowledged, segments = _INFO.unpack(known)
    return bool(probes or (unacknowledged and since_sent < since_acknowledged)), segments
