"""Keep a copy of the configuration that is stored in kvd, and print it whenever it changes, as one line of JSON.

    python docs/examples/follow_config.py [HOST:PORT]

`kvctl set config/colour green` in another terminal then shows at once.  When the daemon is lost, the program connects
again and begins with a new copy.
"""

import asyncio
import json
import random
import sys

from kvd.client import DEFAULT_ADDRESS, Item, WatchEnded, connect
from kvd.errors import ConnectionLost, Unavailable

PREFIX = "config/"
RETRY = 1.0
"""Seconds between attempts to connect, at the most, unless the daemon says how long to wait."""


def show(config: dict[str, Item]) -> None:
    """Print the copy; a real program would apply it here."""
    values = {key.removeprefix(PREFIX): item.value.decode(errors="replace") for key, item in config.items()}
    print(json.dumps(values, sort_keys=True), flush=True)


async def follow(address: str) -> None:
    """Show the configuration now and after each change, until the daemon is lost."""
    async with await connect(address) as kv, kv.watch(PREFIX + "*") as changes:
        # The watch begins before the keys are listed, so no change is missed between the two.
        config = {item.key: item async for item in kv.list(PREFIX + "*")}
        show(config)
        async for event in changes:
            known = config.get(event.key)
            if known and event.revision <= known.revision:
                continue  # the listing had it already
            if event.value is None:  # DEL or EXPIRE
                config.pop(event.key, None)
            else:
                config[event.key] = Item(event.key, event.value, event.revision)
            show(config)


async def main(address: str = DEFAULT_ADDRESS) -> None:
    """Follow for ever."""
    while True:
        try:
            await follow(address)
        except (ConnectionLost, Unavailable, WatchEnded) as error:
            print(f"follow_config: {error}; trying again", file=sys.stderr)
            pause = random.uniform(RETRY / 2, RETRY)  # noqa: S311  # so that not all come at once
            await asyncio.sleep(error.retry or pause)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
