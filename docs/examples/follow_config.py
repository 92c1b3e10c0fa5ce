"""Keep a copy of the configuration that is stored in kvd, and print it whenever it changes, as one line of JSON.

    python docs/examples/follow_config.py [HOST:PORT]

`kvctl set config/colour green` in another terminal then shows at once.  When the daemon is lost, the program connects
again and goes on with the changes since then.
"""

import asyncio
import json
import sys

from kvd.client import DEFAULT_ADDRESS, Copy, connect
from kvd.errors import KvdError

PREFIX = "config/"


def show(config: dict[str, bytes]) -> None:
    """Print the copy; a real program would apply it here."""
    values = {key.removeprefix(PREFIX): value.decode(errors="replace") for key, value in config.items()}
    print(json.dumps(values, sort_keys=True), flush=True)


def tell(error: Exception, pause: float) -> None:
    """Say that the daemon was lost."""
    print(f"follow_config: {error}; trying again in {pause:.1f} s", file=sys.stderr)


async def main(address: str = DEFAULT_ADDRESS) -> None:
    """Show the configuration now and after each change, for ever."""
    config: dict[str, bytes] = {}
    async with await connect(address) as kv, kv.follow(PREFIX + "*", retrying=tell) as changes:
        async for change in changes:
            if isinstance(change, Copy):
                config = {key: item.value for key, item in change.items.items()}
            elif change.value is None:  # DEL or EXPIRE
                config.pop(change.key, None)
            else:
                config[change.key] = change.value
            show(config)


if __name__ == "__main__":
    if len(sys.argv) > 2:
        print("usage: follow_config.py [HOST:PORT]", file=sys.stderr)
        sys.exit(2)
    try:
        asyncio.run(main(*sys.argv[1:]))
    except (KvdError, KeyboardInterrupt) as error:
        sys.exit(f"follow_config: {error}" if isinstance(error, KvdError) else 130)
