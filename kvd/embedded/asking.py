"""What the embedded server is asked over its socket, in its plainest form: a line for a command."""

import asyncio
import re
import socket as sockets
from contextlib import suppress
from pathlib import Path

from kvd.errors import StoreLost

PATIENCE = 5.0
"""Seconds for an answer."""
_USED = re.compile(rb"^used_memory:(\d+)\r$", re.MULTILINE)
_SAMPLE = re.compile(rb"^\*2\r\n:(\d+)\r\n:(\d+)\r$", re.MULTILINE)


async def used_memory(socket: Path) -> int:
    """Bytes that its data and buffers take.  Raises StoreLost."""
    found = _USED.search(await _ask(socket, "INFO memory"))
    if not found:
        raise StoreLost("it does not say how much memory it takes")
    return int(found[1])


async def limit_memory(socket: Path, size: int) -> None:
    """Set its maxmemory, in bytes.  Raises StoreLost."""
    reply = await _ask(socket, f"CONFIG SET maxmemory {size}")
    if not reply.startswith(b"+OK"):
        raise StoreLost(reply.decode(errors="replace").strip())


async def latencies(socket: Path, event: str) -> list[tuple[int, int]]:
    """What its latency monitor keeps of an event, the latest last: seconds since 1970, and the milliseconds of the
    longest one in that second.  Raises StoreLost."""
    reply = await _ask(socket, f"LATENCY HISTORY {event}")
    return [(int(second), int(longest)) for second, longest in _SAMPLE.findall(reply)]


def end(socket: Path) -> None:
    """Have it end in order, at once: the signal for that it sees only when it looks, ten times a second.

    Whether that was heard is for its end to say.
    """
    with suppress(OSError), sockets.socket(sockets.AF_UNIX) as connection:
        connection.setblocking(False)
        connection.connect(str(socket))
        connection.send(b"SHUTDOWN NOSAVE\r\n")


async def _ask(socket: Path, line: str) -> bytes:
    """All that it says to a command, after which it closes."""
    try:
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_unix_connection(socket)
            try:
                writer.write(f"{line}\r\nQUIT\r\n".encode())
                return await reader.read()
            finally:
                writer.close()
    except (OSError, TimeoutError) as error:
        raise StoreLost(str(error) or f"no answer within {PATIENCE:.0f} s") from None
