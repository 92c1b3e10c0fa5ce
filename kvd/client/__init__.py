"""The client library: kvd for asyncio programs.

    async with await connect("127.0.0.1:5830") as kv:
        revision = await kv.set("lock/db", "worker-7", ttl=30, if_revision=0)
        async with kv.watch("lock/*") as changes:
            async for event in changes:
                print(event.position, event.verb, event.key, event.value)

Its errors are those of kvd.errors, and BadAddress, Unreachable, TimedOut, ProtocolError, Conflict and WatchEnded.
Arguments of a wrong type are a TypeError, before anything is sent.

client      a connection for requests
watch       a connection that changes come on
dialing     how a daemon is reached
connection  lines to and from a daemon
silence     when a daemon that says nothing is given up
replies     what a reply must look like
arguments   what a caller gives, checked before anything is sent
words       words of the wire, written and read
errors      what goes wrong in a client, beside refusals
"""

from kvd.client.client import Client, connect
from kvd.client.dialing import DEFAULT_ADDRESS, DEFAULT_PORT, parse_address
from kvd.client.errors import BadAddress, Conflict, ProtocolError, TimedOut, Unreachable, WatchEnded
from kvd.client.watch import Watch
from kvd.client.words import Event, Item, is_text
from kvd.model import LARGEST_VALUE

__all__ = [
    "DEFAULT_ADDRESS",
    "DEFAULT_PORT",
    "LARGEST_VALUE",
    "BadAddress",
    "Client",
    "Conflict",
    "Event",
    "Item",
    "ProtocolError",
    "TimedOut",
    "Unreachable",
    "Watch",
    "WatchEnded",
    "connect",
    "is_text",
    "parse_address",
]
