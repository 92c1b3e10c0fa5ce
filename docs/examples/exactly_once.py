"""Sum up the orders that are stored in kvd, each exactly once, whatever dies in between.

    python docs/examples/exactly_once.py [HOST:PORT]

Each order is a new key under orders/, its value an amount.  The sum and the position up to which it counts are written
in one transaction: both are there, or none.  So a program that was killed, or lost its daemon, goes on from where the
sum is; and of two that run at the same time only one counts each order.
"""

import sys

from kvd.client import DEFAULT_ADDRESS, Conflict, Copy, Event
from kvd.client.sync import Client, connect
from kvd.errors import Uncertain

ORDERS, TOTAL, CURSOR = "orders/*", "total", "cursor/total"


def count(kv: Client, change: Event | Copy, revision: int) -> int:
    """Count one change, or all there is, if the cursor has still this revision; return its new one."""
    with kv.transaction() as together:
        if isinstance(change, Copy):  # the first time, or what was missed is no longer kept
            together.set(TOTAL, str(sum(int(item.value) for item in change.items.values())))
        elif change.value is not None:
            together.incr(TOTAL, int(change.value))
        together.set(CURSOR, change.position, if_revision=revision)  # the last one, so the revision is its own
    return together.revision


def follow(kv: Client) -> None:
    """Count what comes after the cursor; raise Conflict if another program counts, too."""
    cursor = kv.gets(CURSOR)
    position, revision = (cursor.value.decode(), cursor.revision) if cursor else (None, 0)
    with kv.follow(ORDERS, position=position) as changes:
        for change in changes:
            revision = count(kv, change, revision)
            print(kv.get_text(TOTAL), flush=True)


def main(address: str = DEFAULT_ADDRESS) -> None:
    """Count for ever."""
    with connect(address) as kv:
        while True:
            try:
                follow(kv)
            except (Conflict, Uncertain) as error:  # the cursor says what was done
                print(f"exactly_once: {error}; reading the cursor again", file=sys.stderr)


if __name__ == "__main__":
    main(*sys.argv[1:])
