"""Replies of an edge that were not those of its root, or that its next reply contradicted."""

import pytest

from kvd.settings import Settings
from tests.support.async_peers import AsyncPeer, connected
from tests.support.edges import tree
from tests.support.processes import PATIENCE, Redis

SLOW = Settings(max_stale=PATIENCE)
LARGE = "x" * 40_000
"""More than is sent together with other values."""


@pytest.fixture
def store_url(redis_of_all: Redis) -> str:
    """Of an empty one."""
    redis_of_all.cli("FLUSHALL")
    return redis_of_all.unix_url


async def test_ttl_behind_a_large_value_is_that_of_the_store(store_url: str) -> None:
    """It was `OK -`, for the copy does not have it."""
    async with tree(store_url, SLOW, 2) as ports, connected(ports[-1]) as peer:
        await peer.ask(f"SET large {LARGE}")
        await peer.ask("PUT k ttl=900 = v")
        peer.send("TTL k\nGET large\nTTL k\nGET large\nTTL none\nTTL k\nGETS k\n")
        replies = await peer.lines(7)
        assert replies[1] == replies[3] == f"OK {LARGE}"
        assert replies[4:] == ["NONE", replies[5], "OK 2 v"]
        assert all(800 < float(replies[place].removeprefix("OK ")) <= 900 for place in (0, 2, 5))


@pytest.mark.parametrize("request_", ["TTL gone/{}", "DEL gone/*", "DEL gone/* limit=5"])
async def test_what_an_edge_said_is_gone_is_not_there(store_url: str, request_: str) -> None:
    """What had expired at the root was still read at the edge, until it was swept."""
    async with tree(store_url, SLOW, 2) as ports, connected(ports[0]) as root, connected(ports[-1]) as edge:
        for number in range(5):
            key = f"gone/{number}"
            await edge.ask(f"PUT {key} ttl=0.05 = v")
            while await root.ask(f"TTL {key}") != "NONE":
                pass
            edge.send(f"{request_.format(number)}\nGET {key}\nCOUNT gone/*\n")
            assert await edge.lines(3) == ["NONE", "NONE", "OK 0"]


async def test_refused_positions_are_refused_in_the_words_of_the_root(store_url: str) -> None:
    async with tree(store_url, SLOW, 2) as ports, connected(ports[0]) as root, connected(ports[-1]) as edge:

        async def both(request: str) -> set[str]:
            return {await peer.ask(request) for peer in (root, edge)}

        store = await _store(root)
        assert await both("SET k v") == {"OK 1", "OK 2"}
        assert await both(f"RESUME 3@{store}") == {"ERR future the store is at 2, and has not come so far"}
        assert await both("RESUME 1@other") == {f"ERR store the history is that of {store}; SYNC to begin anew"}


async def _store(peer: AsyncPeer) -> str:
    return (await peer.ask("UNWATCH")).partition("@")[2]
