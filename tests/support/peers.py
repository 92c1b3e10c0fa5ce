"""A plain client, without any cleverness."""

import select
import socket


class Peer:
    """A socket and its lines, as netcat would have them."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self._lines = connection.makefile("rb")

    def close(self) -> None:
        self._lines.close()

    def send(self, data: bytes | str) -> None:
        self.socket.sendall(data.encode() if isinstance(data, str) else data)

    def raw_line(self) -> bytes:
        """The next line as it came; without an LF only at the end of the connection."""
        return self._lines.readline()

    def line(self) -> str:
        """The next line without its LF; "" at the end of the connection."""
        raw = self.raw_line()
        assert not raw or raw.endswith(b"\n"), raw
        return raw[:-1].decode()

    def ask(self, request: bytes | str) -> str:
        """Send one line, read one line."""
        raw = request.encode() if isinstance(request, str) else request
        # In one piece: in two, the second would wait for the kernel's acknowledgement of the first.
        self.send(raw + b"\n")
        return self.line()

    def lines(self, count: int) -> list[str]:
        return [self.line() for _ in range(count)]

    def rest(self) -> list[str]:
        """All lines up to the end of the connection."""
        return [line.decode() for line in self._lines.read().splitlines()]

    def is_closed(self) -> bool:
        """Wait for the end of the connection: True if nothing but the end comes."""
        try:
            return self._lines.read(1) == b""
        except ConnectionResetError:
            return True


def is_silent(*peers: Peer, seconds: float = 0.4) -> bool:
    """Whether nothing comes for so long to any of them, where what must not come would be there at once."""
    return not select.select([peer.socket for peer in peers], [], [], seconds)[0]
