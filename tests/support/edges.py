"""Daemons in the test's own loop, with sockets, and trees of edges of them."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace

from kvd.addresses import Address
from kvd.edge.location import EdgeLocation
from kvd.edge.store import EdgeStore
from kvd.process.sockets import listen
from kvd.reloadable import NOTHING, Reloadable
from kvd.server import Server
from kvd.settings import Settings
from kvd.store.location import StoreLocation
from tests.support.peers import Peer
from tests.support.processes import PATIENCE

ANYWHERE = (Address("127.0.0.1", 0),)


def until_done(peer: Peer, request: str) -> str:
    """The reply of an edge, asked until it is OK: a pause of the machine makes it stale, or loses it its upstream."""
    end = time.monotonic() + PATIENCE
    while not (reply := peer.ask(request)).startswith("OK"):
        assert reply.startswith(("ERR unavailable ", "ERR uncertain ")), reply
        assert time.monotonic() < end, reply
        time.sleep(0.02)
    return reply


@asynccontextmanager
async def served(
    location: StoreLocation | EdgeLocation, settings: Settings, loaded: Reloadable = NOTHING
) -> AsyncIterator[int]:
    """A daemon's port, at an address of its own."""
    listeners = listen(ANYWHERE)
    server = Server(settings, location, listeners, loaded)
    await server.start()
    task = asyncio.create_task(server.run())
    try:
        address = listeners[0].address
        assert isinstance(address, Address)
        yield address.port
    finally:
        await server.drain()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await server.close()


@asynccontextmanager
async def root(url: str, settings: Settings) -> AsyncIterator[int]:
    """A daemon on a Redis."""
    location = StoreLocation(url, None)
    store = location.open(settings)
    await store.start()
    await store.close()
    async with served(location, settings) as port:
        yield port


@asynccontextmanager
async def edge(*upstreams: int, settings: Settings | None = None, loaded: Reloadable = NOTHING) -> AsyncIterator[int]:
    """A daemon that follows others."""
    settings = replace(settings or Settings(), follow=tuple(f"127.0.0.1:{port}" for port in upstreams))
    store = EdgeStore(settings)
    await store.start(wait=PATIENCE)
    async with served(EdgeLocation(store), replace(settings, max_value=store.max_value()), loaded) as port:
        yield port


@asynccontextmanager
async def tree(url: str, settings: Settings, levels: int) -> AsyncIterator[list[int]]:
    """The ports of a root, and of as many edges, each of the one before."""
    async with AsyncExitStack() as stack:
        ports = [await stack.enter_async_context(root(url, settings))]
        for _ in range(levels):
            ports.append(
                await stack.enter_async_context(edge(ports[-1], settings=replace(settings, max_stale=PATIENCE)))
            )
        yield ports
