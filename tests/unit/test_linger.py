"""The end of a connection, over the event loop's own transports."""

import asyncio
import socket
import struct
from contextlib import suppress

from kvd.session.linger import Linger


async def test_a_peer_that_has_reset_the_connection_is_let_go() -> None:
    """Found: asyncio's own transport, which had not seen the reset yet, raised OSError when it was to end its side."""
    accepted: asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Future()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.set_result((reader, writer))

    async with await asyncio.start_server(accept, "127.0.0.1") as server:
        peer = socket.create_connection(server.sockets[0].getsockname())
        reader, writer = await accepted
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
        # Nothing is waited for until then, so that the loop cannot see it first.
        await Linger(reader, writer).close(amid=False)
        with suppress(OSError):
            await writer.wait_closed()
        assert writer.transport.is_closing()
