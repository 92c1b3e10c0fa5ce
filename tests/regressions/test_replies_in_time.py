"""Asked by writers of clients: how long a reply may take, and what is between two lines of one.

protocol.txt, 13: 25 seconds, whatever the store does; and PING waits for what was sent before it.
"""

import os
import signal
from contextlib import ExitStack

import pytest

from tests.support.peers import Peer
from tests.support.processes import Redis, StartDaemon

LONGEST = 25.0
"""Seconds, as the page says."""
STATUS = ("OK", "OK64", "NONE", "CONFLICT", "ERR")
REQUESTS = [
    "GET k", "GETS k", "TTL k", "SET k v", "PUT k ttl=5 = v", "DEL k", "DEL k*", "TOUCH k ttl=5", "INCR k",
    "KEYS", "LIST", "COUNT", "WATCH", "RESUME POSITION", "SYNC", "FOLLOW -", "FOLLOW POSITION", "CHANGES POSITION",
    "INFO", "UNWATCH",
]  # fmt: skip
"""All that asks the store, but COMMIT."""


def status_in_time(peer: Peer) -> str:
    """The status line of a reply.  Each of its lines must come in time."""
    while (line := peer.line()).split(" ")[0] not in STATUS:
        pass
    return line


@pytest.mark.slow
def test_every_verb_is_answered_in_time_while_the_store_stands_still(start_daemon: StartDaemon, redis: Redis) -> None:
    daemon = start_daemon("--store", redis.unix_url)
    with ExitStack() as stack:
        peers = {request: stack.enter_context(daemon.connect()) for request in REQUESTS}
        position = peers["WATCH"].ask("WATCH").removeprefix("OK ")
        os.kill(redis.pid, signal.SIGSTOP)
        try:
            for request, peer in peers.items():
                peer.socket.settimeout(LONGEST)
                peer.send(request.replace("POSITION", position) + "\nPING after\n")
            for request, peer in peers.items():
                assert status_in_time(peer).startswith("ERR un"), request
                assert peer.line() == "OK after"
        finally:
            os.kill(redis.pid, signal.SIGCONT)
