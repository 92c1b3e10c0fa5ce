"""A way to a daemon that can be cut."""

import math
import socket
import threading
from contextlib import suppress


class Line:
    """A way to the daemon that can be cut: nothing is forwarded, and nothing closed."""

    def __init__(self, port: int, most: float = math.inf) -> None:
        """most: bytes of each connection that are forwarded to the daemon."""
        self._to, self._most = port, most
        self._open = threading.Event()
        self._open.set()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._server.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        self._open.clear()

    def mend(self) -> None:
        self._open.set()

    def close(self) -> None:
        self._open.set()
        self._server.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                ours, _ = self._server.accept()
                theirs = socket.create_connection(("127.0.0.1", self._to))
                for source, target, most in ((ours, theirs, self._most), (theirs, ours, math.inf)):
                    threading.Thread(target=self._forward, args=[source, target, most], daemon=True).start()

    def _forward(self, source: socket.socket, target: socket.socket, most: float) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                self._open.wait()
                most -= len(data)
                if most >= 0:
                    target.sendall(data)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        source.close()
