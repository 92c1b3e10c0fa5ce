"""The change log of a Redis with a `maxmemory` of its own took all: who deleted every key could not write then."""

import pytest

from kvd.memory import FULL
from tests.support.peers import Peer
from tests.support.processes import Redis, StartDaemon, wait_for

pytestmark = pytest.mark.slow

MAXMEMORY = 16 * 1024 * 1024
VALUE = "x" * 4096
KEYS = 100


def overwrite(peer: Peer) -> None:
    """Every key once; what is refused meanwhile can be written soon."""
    peer.send("".join(f"SET k{number} {VALUE}\n" for number in range(KEYS)))
    for number, reply in enumerate(peer.lines(KEYS)):
        if not reply.startswith("OK "):
            assert reply == f"ERR unavailable {FULL}"
            wait_for("writes", lambda number=number: peer.ask(f"SET k{number} {VALUE}").startswith("OK "))


@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_change_log_leaves_the_memory_of_a_redis_of_ones_own_to_keys(
    start_daemon: StartDaemon, redis: Redis, workers: str
) -> None:
    redis.cli("CONFIG", "SET", "maxmemory", str(MAXMEMORY))
    daemon = start_daemon("--store", redis.unix_url, "--workers", workers)
    with daemon.connect() as peer:
        for _ in range(2 * MAXMEMORY // (KEYS * len(VALUE))):
            overwrite(peer)
        assert peer.ask("COUNT") == f"OK {KEYS}"
        assert peer.ask("DEL k*").startswith("OK ")
        overwrite(peer)
        assert peer.ask("COUNT") == f"OK {KEYS}"
