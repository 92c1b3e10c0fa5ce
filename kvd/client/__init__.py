"""The client library: kvd for asyncio programs; kvd.client.sync is the same without an event loop.

    async with await connect("127.0.0.1:5830") as kv:
        revision = await kv.set("lock/db", "worker-7", ttl=30, if_revision=0)
        async with kv.watch("lock/*") as changes:
            async for event in changes:
                print(event.position, event.verb, event.key, event.value)

Its errors are those of kvd.errors, and BadAddress, Unreachable, TimedOut, ProtocolError, Conflict and WatchEnded.
Arguments of a wrong type are a TypeError, before anything is sent.

aio          asyncio's face: its client
aio_calls    asyncio's face: requests
watch        asyncio's face: changes
sync         the synchronous face: its client
sync_calls   the synchronous face: requests
sync_watch   the synchronous face: changes
mirror       asyncio's face: a live copy
sync_mirror  the synchronous face: a live copy
mirroring    a live copy
lock         asyncio's face: leases, locks, elections
sync_lock    the synchronous face: leases, locks, elections
leasing      a key that lives as long as this program
locking      locks and elections
calling      requests, on one connection after another
following    changes, on one connection after another
watching     changes, on one connection
pipelines    many requests in flight
committing   transactions of both faces
transaction  writes that are done together
places       where a position is kept
tasks        what asyncio's face gives to what both share
connection   a connection, for asyncio
line_connection  the same, whose lines are taken as they are
silence      when a daemon that says nothing is given up, for asyncio
threads      what the synchronous face gives to what both share
sockets      a connection, on a socket that a thread waits for
raw          a connection for whole lines as they are
bulk         copies of many keys, and the writes that make them anew
faces        what both faces give
dialing      how a daemon is reached
detached     calls that may wait for ever
tls          TLS to a daemon
login        who a client is
protocol     the protocol without I/O
received     what has come, as whole lines
requests     what can be asked
listings     requests for one page after another
limits       how a client connects, and how long it waits
arguments    what a caller gives, checked before anything is sent
replies      what the replies to requests mean
pushed       what the lines of a watch mean
beside       the lines beside changes
lines        the daemon's lines, and the words in them
words        what a client gives its callers
errors       what goes wrong in a client, beside refusals
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kvd.client.aio import Client, connect
    from kvd.client.dialing import DEFAULT_ADDRESS, DEFAULT_PORT, check_address, parse_address
    from kvd.client.errors import BadAddress, Conflict, LeaseLost, ProtocolError, TimedOut, Unreachable, WatchEnded
    from kvd.client.lock import Election, Lease, Lock
    from kvd.client.mirror import Mirror
    from kvd.client.places import FilePosition
    from kvd.client.tls import tls_context
    from kvd.client.watch import Follow, Watch
    from kvd.client.words import Changes, Connected, Copy, Event, Item, WatchOptions, is_text
    from kvd.model import LARGEST_VALUE

__all__ = [
    "DEFAULT_ADDRESS",
    "DEFAULT_PORT",
    "LARGEST_VALUE",
    "BadAddress",
    "Changes",
    "Client",
    "Conflict",
    "Connected",
    "Copy",
    "Election",
    "Event",
    "FilePosition",
    "Follow",
    "Item",
    "Lease",
    "LeaseLost",
    "Lock",
    "Mirror",
    "ProtocolError",
    "TimedOut",
    "Unreachable",
    "Watch",
    "WatchEnded",
    "WatchOptions",
    "check_address",
    "connect",
    "is_text",
    "parse_address",
    "tls_context",
]

_HOMES = {
    "kvd.client.aio": "Client connect",
    "kvd.client.dialing": "DEFAULT_ADDRESS DEFAULT_PORT check_address parse_address",
    "kvd.client.errors": "BadAddress Conflict LeaseLost ProtocolError TimedOut Unreachable WatchEnded",
    "kvd.client.lock": "Election Lease Lock",
    "kvd.client.mirror": "Mirror",
    "kvd.client.places": "FilePosition",
    "kvd.client.tls": "tls_context",
    "kvd.client.watch": "Follow Watch",
    "kvd.client.words": "Changes Connected Copy Event Item WatchOptions is_text",
    "kvd.model": "LARGEST_VALUE",
}
"""The modules in which these names are: a program that starts for one request loads what it needs, and no more."""


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names.split():
            found = globals()[name] = getattr(import_module(module), name)
            return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
