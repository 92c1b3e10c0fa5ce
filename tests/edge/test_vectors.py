"""The transcripts of tests/vectors, through edges."""

from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.support.edges import tree
from tests.support.processes import Redis
from tests.support.vectors import VECTORS, Player, options_of, settings_of, steps_of, tcp

NOT_HERE = {
    "info": "INFO of an edge tells more",
    "compacted": "an edge may still have what its upstream does not keep",
    "minimum": "waits for so short a time that an edge may be stale",
    "shutdown": "stops the daemon",
}
LEVELS = 3


@pytest.mark.parametrize("vector", [one for one in VECTORS if one.stem not in NOT_HERE], ids=lambda path: path.stem)
async def test_transcript_holds_through_three_edges(vector: Path, redis_of_all: Redis) -> None:
    lines = vector.read_text().split("\n")
    redis_of_all.cli("FLUSHALL")
    async with tree(redis_of_all.unix_url, settings_of(options_of(lines)), LEVELS) as ports, AsyncExitStack() as stack:
        player = Player(tcp(ports[-1], stack))
        await player.play(steps_of(lines))
        await player.finish()
