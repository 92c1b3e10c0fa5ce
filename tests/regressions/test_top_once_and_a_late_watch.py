"""Found: `kvctl top --once` ended after one interval though its watch had not begun, and showed no prefix."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.support.kvctl import PATIENCE, printed, run

INTERVAL = 0.1
"""Seconds."""
LATE = 4 * INTERVAL


@contextmanager
def late(asked: list[bytes]) -> Iterator[str]:
    """A daemon that notes what it is asked, and whose second connection is late to begin."""
    ended = threading.Event()

    def answer(peer: socket.socket, seconds: float) -> None:
        with peer, peer.makefile("rb") as requests, suppress(OSError):
            for request in requests:
                asked.append(request)
                if request == b"PING\n":
                    ended.wait(seconds)
                    peer.sendall(b"OK\n")
                elif request == b"INFO\n":
                    peer.sendall(b"INFO revision 1\nOK\n")
                elif request.startswith(b"WATCH"):
                    peer.sendall(b"OK 1@store\nCHANGE 2@store SIZE user/a 1\n")

    def serve() -> None:
        answering = []
        for seconds in (0, LATE):
            answering.append(threading.Thread(target=answer, args=(server.accept()[0], seconds)))
            answering[-1].start()
        for thread in answering:
            thread.join()

    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(PATIENCE)
        serving = threading.Thread(target=serve)
        serving.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        ended.set()
        serving.join()


def test_its_watch_lasts_for_all_of_the_interval() -> None:
    asked: list[bytes] = []
    with late(asked) as address:
        shown = printed(run("--addr", address, "top", "--once", f"--interval={INTERVAL}"))
    assert [request.split()[0] for request in asked[:5]] == [b"PING", b"INFO", b"PING", b"WATCH", b"INFO"]
    assert [line.split()[2] for line in shown.splitlines() if line.startswith(b"prefix ")] == [b"user/"]
