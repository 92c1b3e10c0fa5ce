"""Takes a lock again and again, and writes to a file while it holds it: LOCK_HOLDER ADDRESS NAME FILE FACE.

A line of the file is the fence, a time of the system's clock at which the lock was held, and the process; there is one
every few milliseconds, whatever the program waits for.  While it holds the lock, it writes its fence to two keys: to
NAME.bare as it is, and to NAME.fenced in a transaction with the fence.  It does not look again before whether it still
has the lock, as lock.fence() would.
"""

import asyncio
import os
import sys
import threading
import time
from contextlib import suppress

from kvd import client
from kvd.client import Conflict, LeaseLost, leasing, lock, sync, sync_lock
from kvd.errors import KvdError

TTL = 1.0
"""Seconds."""
TURNS = 3
"""Writes each time that it holds the lock."""
PAUSE = 0.05
"""Seconds before each of them, in which it may be stopped."""
LOOK = 0.005
"""Seconds between the lines."""


class Log:
    """The file."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def note(self, held: lock.Lock | sync_lock.Lock) -> bool:
        """Write a line if the lock is held; the time is one before that was seen."""
        at = leasing.clock()
        try:
            fence = held.revision
        except LeaseLost:
            return False
        os.write(self._file, f"{fence} {at:.6f} {os.getpid()}\n".encode())
        return True


def patiently_connected(address: str) -> sync.Client:
    """Connect, also where it is refused at first: the way there may be cut as soon as this begins."""
    while True:
        with suppress(KvdError):
            return sync.connect(address, timeout=TTL, reconnect=60)
        time.sleep(LOOK)


async def connected(address: str) -> client.Client:
    """The same in tasks."""
    while True:
        with suppress(KvdError):
            return await client.connect(address, timeout=TTL, reconnect=60)
        await asyncio.sleep(LOOK)


def in_threads(address: str, name: str, log: Log) -> None:
    def look(held: sync_lock.Lock, is_over: threading.Event) -> None:
        while log.note(held) and not is_over.wait(LOOK):
            pass

    with patiently_connected(address) as kv:
        while True:
            is_over = threading.Event()
            with suppress(LeaseLost, Conflict, KvdError), kv.lock(name, TTL) as held:
                key, fence = held.key, held.revision
                threading.Thread(target=look, args=(held, is_over)).start()
                for _ in range(TURNS):
                    time.sleep(PAUSE)
                    kv.set(f"{name}.bare", str(fence))
                    with kv.transaction() as together:
                        together.check(key, if_revision=fence)
                        together.set(f"{name}.fenced", str(fence))
            is_over.set()
            time.sleep(LOOK)


async def in_tasks(address: str, name: str, log: Log) -> None:
    async def look(held: lock.Lock) -> None:
        while log.note(held):  # noqa: ASYNC110
            await asyncio.sleep(LOOK)

    async with await connected(address) as kv:
        while True:
            with suppress(LeaseLost, Conflict, KvdError):
                async with kv.lock(name, TTL) as held:
                    key, fence = held.key, held.revision
                    looking = asyncio.create_task(look(held))
                    for _ in range(TURNS):
                        await asyncio.sleep(PAUSE)
                        await kv.set(f"{name}.bare", str(fence))
                        async with kv.transaction() as together:
                            together.check(key, if_revision=fence)
                            together.set(f"{name}.fenced", str(fence))
                await looking
            await asyncio.sleep(LOOK)


if __name__ == "__main__":
    where, which, path, face = sys.argv[1:]
    in_threads(where, which, Log(path)) if face == "threads" else asyncio.run(in_tasks(where, which, Log(path)))
