"""Found beside 500 connections a second: each left a cycle, and the garbage collector stopped the daemon for 0.2 s and
more, once in 3 s, to look at all that 5,000 others had."""

import asyncio
import gc
import subprocess
import sys
import weakref

from kvd.session.linger import Linger
from tests.support.processes import ROOT

CHURN = """
import gc, signal
from kvd.process import service

class Churn:
    async def start(self):
        self.kept = [[] for _ in range(200_000)]
        before = gc.get_stats()[2]["collections"]
        for _ in range(3000):
            [[] for _ in range(1500)]
        print(gc.get_stats()[2]["collections"] - before)

    async def run(self):
        pass

    async def drain(self):
        pass

    async def close(self):
        pass

service.run(Churn(), lambda: None)
"""
"""A service that has many objects, and makes and drops as many as some twenty connections have, again and again."""


async def test_a_connection_that_is_closed_waits_for_no_collection() -> None:
    """Its peer neither sends nor closes, so that what waits for input is cancelled."""
    ended: list[weakref.ref[Linger]] = []
    over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        linger = Linger(reader, writer)
        ended.append(weakref.ref(linger))
        await linger.close(amid=False, longest=0.05)
        del linger
        over.set()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        gc.disable()
        try:
            _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            async with asyncio.timeout(10):
                await over.wait()
                await asyncio.sleep(0)
            assert [linger() for linger in ended] == [None]
        finally:
            gc.enable()
        writer.close()
        await writer.wait_closed()


def test_what_comes_and_goes_has_nobody_look_at_what_stays() -> None:
    command = [sys.executable, "-c", CHURN]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "0\n"
