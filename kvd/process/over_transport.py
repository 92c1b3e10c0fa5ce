"""A transport over another one: what the protocol asks about the socket, and what the socket's transport tells."""

import asyncio
from contextlib import suppress
from typing import Any


class OverTransport(asyncio.Transport, asyncio.Protocol):
    """The transport of one protocol, and the protocol of the socket's transport.

    Subclasses say what becomes of bytes, and set `_is_open` while the protocol is connected.
    """

    def __init__(self, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self._protocol: Any = protocol
        self._raw: Any = None
        self._is_open = self._full = False

    def pause_writing(self) -> None:
        """Called by the socket's transport."""
        self._full = True
        if self._is_open:
            self._protocol.pause_writing()

    def resume_writing(self) -> None:
        """Called by the socket's transport."""
        self._full = False
        if self._is_open:
            self._protocol.resume_writing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Of the socket's transport."""
        return self._raw.get_extra_info(name, default)

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Who is told of what comes."""
        return self._protocol  # type: ignore[no-any-return]

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Have another told."""
        self._protocol = protocol

    def get_write_buffer_size(self) -> int:
        """Bytes that wait for the socket, as they are sent."""
        return int(self._raw.get_write_buffer_size())

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Of the socket's transport."""
        low, high = self._raw.get_write_buffer_limits()
        return low, high

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Of the socket's transport."""
        self._raw.set_write_buffer_limits(high, low)

    def can_write_eof(self) -> bool:
        """It can."""
        return True

    def _end_raw(self) -> None:
        """Send no more to the socket."""
        # asyncio's own transports raise it when the peer has gone, which they tell a moment later.
        with suppress(OSError):
            self._raw.write_eof()
