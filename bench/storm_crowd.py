"""The crowd of a storm, in a process of its own: workers, watchers, slow readers, and those who come and go.

    python -m bench.storm_crowd PORT CONNECTIONS COMING WORK

keeps CONNECTIONS connections busy with WORK requests a second together, and opens and closes COMING others a second.
It says `ready` when all are connected, goes on until its input ends, and prints what it saw as one JSON object.
"""

import asyncio
import json
import os
import random
import socket
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import cast

from bench.others.servers import HOST

WATCHERS, SLOW = 30, 10
"""Of a hundred connections: those that watch, and those that read slowly; the rest work.  Half of the slow ones list
all keys again and again, the others watch more than they read."""
KEYS = 1000
VALUE = "v" * 200
PLACES = 50
"""Prefixes under which the keys are."""
SLOW_BUFFER = 8192
"""Bytes of the receive buffers of those that read slowly, and
SLOW_PAUSE: seconds between two of their reads."""
SLOW_PAUSE = 2.0
SLOW_PLACES = 5
"""Prefixes that a slow watcher watches."""
TICK = 0.01
"""Seconds between two rounds of requests, or of new connections."""
ADDRESSES = 8
"""Of this machine, from which those come who come and go: each has some 28,000 ports, and keeps a used one a while."""
AT_ONCE = 200
"""Connections that are made at once at the beginning."""
PATIENCE = 30.0
"""Seconds for one of those who come and go."""
NICE = 10
"""How far it makes way for the daemon and the clients: it stands for many machines, and is to take none of theirs."""


class Seen:
    """Counts.  errors: by what was said, limits too; lost: connections that ended, by kind; seconds: of work."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.replies = self.changes = self.came = 0
        self.errors: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()

    def line(self, line: bytes) -> None:
        """One line of the daemon."""
        word, _, rest = line.partition(b" ")
        if word == b"CHANGE":
            self.changes += 1
        elif word == b"ERR":
            self.errors[f"ERR {rest.partition(b' ')[0].decode()}"] += 1
        elif word == b"END":
            self.errors[f"END {rest.split(b' ')[1].decode()}"] += 1
        if word in (b"OK", b"NONE", b"CONFLICT", b"ERR"):
            self.replies += 1


class Client(asyncio.Protocol):
    """One connection.  wait: whether it reads slowly.  is_free: whether nothing is unanswered."""

    transport: asyncio.Transport

    def __init__(self, seen: Seen, kind: str, gone: Callable[["Client"], None], *, slow: bool = False) -> None:
        self.kind = kind
        self.is_free = True
        self._seen = seen
        self._gone = gone
        self._slow = slow
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol, as of the other three."""
        # uvloop's is of another class.
        self.transport = cast(asyncio.Transport, transport)

    def ask(self, request: str) -> None:
        """Send lines, of which the last reply makes it free."""
        self.is_free = False
        self.transport.write(request.encode())

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._seen.line(line)
            if line.startswith((b"OK", b"NONE", b"CONFLICT", b"ERR")):
                self.is_free = True
        if self._slow:
            self.transport.pause_reading()
            asyncio.get_running_loop().call_later(SLOW_PAUSE, self._read_on)

    def _read_on(self) -> None:
        if not self.transport.is_closing():
            self.transport.resume_reading()

    def connection_lost(self, _: Exception | None) -> None:
        self._gone(self)


class Crowd:
    """All of it."""

    def __init__(self, port: int, size: int, coming: int, work: int) -> None:
        self.seen = Seen()
        self._port = port
        self._size = size
        self._coming = coming
        self._work = work
        self._clients: set[Client] = set()
        self._workers: list[Client] = []
        self._listing: list[Client] = []
        self._brief: set[asyncio.Task[None]] = set()
        self._over = False

    async def connect(self) -> None:
        """Have them all connected, and the watches begun."""
        kinds = [_kind(number) for number in range(self._size)]
        for start in range(0, self._size, AT_ONCE):
            await asyncio.gather(*(self._add(kind) for kind in kinds[start : start + AT_ONCE]))

    async def _add(self, kind: str) -> None:
        connection = socket.socket()
        connection.setblocking(False)
        # Closed by a reset: after a mere end of what is sent the daemon has to go on, for the peer may still watch.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        is_slow = kind in ("slow", "list")
        if is_slow:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SLOW_BUFFER)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(connection, (HOST, self._port))
        client = Client(self.seen, kind, self._lose, slow=is_slow)
        await loop.create_connection(lambda: client, sock=connection)
        self._clients.add(client)
        if kind == "work":
            self._workers.append(client)
        elif kind == "list":
            self._listing.append(client)
        else:
            count = SLOW_PLACES if kind == "slow" else 1
            client.ask("WATCH " + " ".join(f"{place}/*" for place in random.sample(range(PLACES), count)) + "\n")

    def _lose(self, client: Client) -> None:
        self._clients.discard(client)
        if not self._over:
            self.seen.lost[client.kind] += 1

    async def run(self) -> None:
        """Work, and come and go, until it is cancelled."""
        work, come, began = 0.0, 0.0, time.monotonic()
        while True:
            await asyncio.sleep(TICK)
            since, self.seen.seconds = self.seen.seconds, time.monotonic() - began
            elapsed = self.seen.seconds - since
            work, come = work + self._work * elapsed, come + self._coming * elapsed
            for client in self._listing:
                if client.is_free and not client.transport.is_closing():
                    client.ask("LIST\n")
            while work >= 1:
                work -= 1
                client = random.choice(self._workers)  # noqa: S311
                if client.is_free and not client.transport.is_closing():
                    client.ask(_request())
            while come >= 1:
                come -= 1
                task = asyncio.create_task(self._come_and_go())
                self._brief.add(task)
                task.add_done_callback(self._brief.discard)

    async def _come_and_go(self) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                local = (f"127.0.0.{random.randint(2, 1 + ADDRESSES)}", 0)  # noqa: S311
                reader, writer = await asyncio.open_connection(HOST, self._port, local_addr=local)
                writer.write(_request().encode() + b"QUIT\n")
                for line in (await reader.read()).split(b"\n"):
                    self.seen.line(line)
                writer.close()
                self.seen.came += 1
        except (OSError, TimeoutError) as error:
            self.seen.errors[type(error).__name__] += 1

    async def close(self) -> None:
        """All go."""
        self._over = True
        if self._brief:
            await asyncio.wait(self._brief)
        for client in list(self._clients):
            client.transport.abort()
        await asyncio.sleep(0)


def _kind(number: int) -> str:
    place = number % 100
    if place < WATCHERS:
        return "watch"
    if place < WATCHERS + SLOW:
        return "slow" if place % 2 else "list"
    return "work"


def _request() -> str:
    """One of the mixture."""
    number = random.randrange(KEYS)  # noqa: S311
    key = f"{number % PLACES}/{number}"
    return random.choices(  # noqa: S311
        (
            f"GET {key}\n", f"SET {key} {VALUE}\n", f"PUT {key} ttl=60 = {VALUE}\n", f"DEL {key}\n",
            f"INCR n/{number}\n",
            f"LIST {number % PLACES}/* limit=5\n", f"BEGIN\nSET {key} 1\nINCR n/{number}\nCOMMIT\n",
        ),
        (70, 10, 5, 5, 4, 3, 3),
    )[0]  # fmt: skip


async def main(port: int, size: int, coming: int, work: int) -> None:
    """See the module's docstring."""
    os.nice(NICE)
    crowd = Crowd(port, size, coming, work)
    await crowd.connect()
    print("ready", flush=True)  # noqa: T201
    running = asyncio.create_task(crowd.run())
    await asyncio.to_thread(sys.stdin.read)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    await crowd.close()
    print(json.dumps(vars(crowd.seen)))  # noqa: T201


if __name__ == "__main__":
    with suppress(ImportError):
        import uvloop

        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    asyncio.run(main(*map(int, sys.argv[1:5])))
