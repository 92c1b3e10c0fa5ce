"""The commands that ask and are answered."""

from collections.abc import Awaitable, Callable

from kvd.cli import keys, listing, server
from kvd.cli.arguments import Arguments
from kvd.cli.deleting import delete
from kvd.cli.output import Output
from kvd.client import Client

COMMANDS: dict[str, Callable[[Client, Arguments, Output], Awaitable[None]]] = {
    "get": keys.get,
    "set": keys.set_,
    "del": delete,
    "keys": listing.keys,
    "list": listing.list_,
    "count": listing.count,
    "ttl": keys.ttl,
    "touch": keys.touch,
    "incr": keys.incr,
    "info": server.info,
    "ping": server.ping,
}
"""The commands that ask and are answered; watch, which goes on, has a connection of another kind."""
