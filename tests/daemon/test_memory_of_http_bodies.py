"""Bodies of HTTP take what is counted for them, however small the parts are in which they come."""

from contextlib import ExitStack
from pathlib import Path

from kvd.settings import MIB
from tests.support.held_memory import budget_of, fact, growing_less_than, slow_reader
from tests.support.http_client import ask
from tests.support.http_client import port_of as http_port_of

SMALL = 2 * MIB
PARTS, BODIES = 60_000, 4
"""Which take a few seconds."""
HEAD = b"PUT /v1/keys/k HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
HALF_A_BODY = HEAD + b"2\r\nxx\r\n" * PARTS


def test_parts_of_two_bytes(tmp_path: Path) -> None:
    """Found: each took fifty, of which two were counted."""
    with budget_of(SMALL, tmp_path, "--http", "127.0.0.1:0", "--http-write") as daemon, ExitStack() as stack:
        assert ask(daemon, "/v1/keys/k", "PUT", b"x" * 100_000).status == 204
        peers = [stack.enter_context(slow_reader(daemon, http_port_of(daemon))) for _ in range(BODIES)]
        with growing_less_than(3 * SMALL, daemon):
            for peer in peers:
                peer.send(HALF_A_BODY + b"0\r\n\r\n")
            assert [peer.line() for peer in peers] == ["HTTP/1.1 204 No Content\r"] * BODIES
        assert fact(daemon, "limited-memory") == 0
