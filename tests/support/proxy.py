"""A TCP proxy that a test can make hold back bytes, in either direction, and cut."""

import asyncio
from contextlib import suppress
from typing import Any


class Pipe:
    """One proxied connection."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.client = client
        self.server = server
        self.held: list[bytes] = []
        self.replies = 0

    def release(self) -> None:
        """Send on what was held."""
        self.server.write(b"".join(self.held))
        self.held.clear()


class Proxy:
    """Forwards connections from a port of its own to another port.

    holding: bytes that contain this marker are kept in `Pipe.held` instead of being forwarded to the server.
    splitting: of bytes that contain this marker, the last command is kept there.
    hiding: replies to such bytes are dropped.
    """

    def __init__(self, port: int) -> None:
        self._to = port
        self.holding: bytes | None = None
        self.splitting: bytes | None = None
        self.hiding: bytes | None = None
        self.caught: asyncio.Queue[Pipe] = asyncio.Queue()
        self.refusing = False
        self._tasks: set[asyncio.Task[Any]] = set()
        self._writers: list[asyncio.StreamWriter] = []

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]

    def cut(self) -> None:
        """Cut all connections that there are."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def close(self) -> None:
        self._server.close()
        self.refusing = True
        await asyncio.sleep(0)  # those that were accepted just now are refused
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            writer.transport.abort()
            with suppress(OSError):
                await writer.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        if self.refusing:
            writer.close()
            return
        connecting = asyncio.create_task(asyncio.open_connection("127.0.0.1", self._to))
        self._keep(connecting)
        server_reader, server_writer = await connecting
        self._writers.append(server_writer)
        pipe = Pipe(writer, server_writer)
        hidden = asyncio.Event()
        for part in (self._forward(reader, pipe, hidden), self._return(server_reader, pipe, hidden)):
            self._keep(asyncio.create_task(part))

    def _keep(self, task: asyncio.Task[Any]) -> None:
        """Until it is done, or all is closed."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _forward(self, reader: asyncio.StreamReader, pipe: Pipe, hidden: asyncio.Event) -> None:
        while data := await reader.read(1 << 16):
            if self.holding and self.holding in data:
                pipe.held.append(data)
                self.caught.put_nowait(pipe)
                continue
            if self.splitting and self.splitting in data:
                last = data.rindex(b"\r\n*") + 2
                pipe.held.append(data[last:])
                data = data[:last]
                self.caught.put_nowait(pipe)
            if self.hiding and self.hiding in data:
                hidden.set()
            pipe.server.write(data)

    async def _return(self, reader: asyncio.StreamReader, pipe: Pipe, hidden: asyncio.Event) -> None:
        while data := await reader.read(1 << 16):
            pipe.replies += 1
            if hidden.is_set():
                self.caught.put_nowait(pipe)
                continue
            pipe.client.write(data)
        pipe.client.close()
