"""The client library: kvd for asyncio programs.

    async with await connect("127.0.0.1:5830") as kv:
        revision = await kv.set("lock/db", "worker-7", ttl=30, if_revision=0)
        async with kv.watch("lock/*") as changes:
            async for event in changes:
                print(event.position, event.verb, event.key, event.value)

Its errors are those of kvd.errors, and BadAddress, Unreachable, Conflict and WatchEnded.
"""

from kvd.client.client import Client, connect
from kvd.client.connection import DEFAULT_ADDRESS, DEFAULT_PORT, parse_address
from kvd.client.errors import BadAddress, Conflict, Unreachable, WatchEnded
from kvd.client.watch import Watch
from kvd.client.words import Event, Item, is_text

__all__ = [
    "DEFAULT_ADDRESS",
    "DEFAULT_PORT",
    "BadAddress",
    "Client",
    "Conflict",
    "Event",
    "Item",
    "Unreachable",
    "Watch",
    "WatchEnded",
    "connect",
    "is_text",
    "parse_address",
]
