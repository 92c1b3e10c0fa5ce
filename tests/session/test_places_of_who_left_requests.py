"""Who resets its connection while the store has a request of it keeps its place until the store has answered."""

import socket
import struct
from contextlib import ExitStack

import pytest

from tests.support.daemons import stopped_store
from tests.support.held_memory import fact
from tests.support.peers import Peer
from tests.support.processes import StartDaemon, wait_for

REQUESTS = {
    "SET": b"SET k v\n",
    "many SETs": b"SET k v\n" * 120,
    "GET": b"GET k\n",
    "read of two verbs": b"GET k\nTTL k\n",
    "unlike writes": b"SET k v\nINCR n\n",
}
MANY = 40


def with_requests(asking: Peer) -> int:
    """How many others are connected, and have had a request taken up."""
    asking.send("CLIENTS\n")
    lines = list(iter(lambda: line if (line := asking.line()).startswith("CLIENT ") else "", ""))
    return sum(" requests=0 " not in line for line in lines) - 1


@pytest.mark.parametrize("kind", REQUESTS)
def test_who_resets_keeps_its_place_until_the_store_has_answered(kind: str, start_daemon: StartDaemon) -> None:
    """Found: what they had left at a store that stood still was bounded by nothing, for they could come again."""
    daemon = start_daemon("--read-cache", "0", "--fsync", "no")
    with daemon.connect() as asking, ExitStack() as stack:
        assert asking.ask("SET k v").startswith("OK ")
        before = fact(daemon, "connections", "clients")
        with stopped_store(daemon):
            peers = [stack.enter_context(daemon.connect()) for _ in range(MANY)]
            for peer in peers:
                peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                peer.send(REQUESTS[kind])
            wait_for("the requests", lambda: with_requests(asking) >= MANY)
            stack.close()
            wait_for("the ends", lambda: with_requests(asking) == 0)
            assert fact(daemon, "connections", "clients") == before + MANY
        wait_for("the places", lambda: fact(daemon, "connections", "clients") == before)
