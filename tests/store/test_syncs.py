"""How long syncs to disk take is told of a disk that is slow: that of a library, which each engine is given."""

import asyncio
import subprocess
import time
from pathlib import Path

import pytest

from kvd.counts import Counts, Tally
from kvd.embedded import server as embedded
from kvd.metrics import SYNCS
from tests.support.checking import ask_engine
from tests.support.processes import PATIENCE, needs

SLOW_DISK = """
#include <unistd.h>
int fdatasync(int file) { usleep(%d); return 0; }
"""
SYNC_TIME = 0.004
"""Seconds."""


def slow_disk(directory: Path) -> str:
    needs("gcc")
    source, library = directory / "slow.c", directory / "slow.so"
    source.write_text(SLOW_DISK % (SYNC_TIME * 1_000_000))
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    return str(library)


@pytest.mark.parametrize("fsync", ["always", "everysec"])
async def test_of_each_second_the_longest_sync_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fsync: str
) -> None:
    """As the engine tells; where it does not sync itself, the daemon's own, one for each look."""
    monkeypatch.setenv("LD_PRELOAD", slow_disk(tmp_path))
    monkeypatch.setattr(embedded, "SEAL_PAUSE", 0.1)
    if fsync == "everysec":
        monkeypatch.setattr("kvd.embedded.seal._sync", lambda _: time.sleep(SYNC_TIME))
    server = embedded.EmbeddedServer(tmp_path / "data", fsync)
    tally = Tally(SYNCS, Counts())
    times: list[float] = []

    def took(seconds: float) -> None:
        times.append(seconds)
        tally.observe(0, seconds)

    server.syncs.took = took
    # Also the engine's start may sync, in a second before.
    began = time.time()
    await server.start()
    keeping = asyncio.create_task(server.keep_sealed())
    try:
        async with asyncio.timeout(PATIENCE):
            while len(times) < 2:
                await asyncio.to_thread(ask_engine, server.path, "SET", "a", "1")
                await asyncio.sleep(0.05)
    finally:
        keeping.cancel()
        await server.stop()
    assert all(SYNC_TIME <= seconds < PATIENCE for seconds in times)
    if fsync == "always":
        # Of a second that is over, and of none twice.
        assert len(times) <= time.time() - int(began)
    assert sum(tally.cells) == len(times)
