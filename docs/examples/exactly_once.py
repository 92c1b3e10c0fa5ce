"""Sum up the orders that are stored in kvd, each exactly once, whatever dies in between.

    python docs/examples/exactly_once.py [HOST:PORT]

Each order is a new key under orders/, its value an amount.  The sum and the position up to which it counts are written
in one transaction: so a program that was killed goes on from there, and of two only one counts each order.
"""

import sys

from kvd.client import DEFAULT_ADDRESS, Conflict, Copy, Event
from kvd.client.sync import Client, connect
from kvd.errors import KvdError, Uncertain

ORDERS, TOTAL, CURSOR = "orders/*", "total", "cursor/total"


def amount(key: str, value: bytes) -> int:
    """What an order adds; 0, with a line on standard error, if its value is no amount."""
    if value.removeprefix(b"-").isdigit() and len(value) < 16:
        return int(value)
    print(f"exactly_once: {key} is no amount; skipped", file=sys.stderr)
    return 0


def count(kv: Client, change: Event | Copy, revision: int) -> int:
    """Count one change, or all there is, if the cursor has still this revision; return its new one."""
    with kv.transaction() as together:
        if isinstance(change, Copy):  # the first time, or what was missed is no longer kept
            together.set(TOTAL, str(sum(amount(key, item.value) for key, item in change.items.items())))
        elif change.value is not None:
            together.incr(TOTAL, amount(change.key, change.value))
        together.set(CURSOR, change.position, if_revision=revision)  # the last one, so the revision is its own
    return together.revision


def main(address: str = DEFAULT_ADDRESS) -> None:
    """Count what comes after the cursor, for ever."""
    with connect(address) as kv:
        while True:
            cursor = kv.gets(CURSOR)
            position, revision = (cursor.value.decode(), cursor.revision) if cursor else (None, 0)
            try:
                with kv.follow(ORDERS, position=position) as changes:
                    for change in changes:
                        revision = count(kv, change, revision)
                        print(kv.get_text(TOTAL), flush=True)
            except (Conflict, Uncertain) as error:  # another program counts, too, or the daemon was lost meanwhile
                print(f"exactly_once: {error}; reading the cursor again", file=sys.stderr)


if __name__ == "__main__":
    if len(sys.argv) > 2:
        print("usage: exactly_once.py [HOST:PORT]", file=sys.stderr)
        sys.exit(2)
    try:
        main(*sys.argv[1:])
    except (KvdError, KeyboardInterrupt) as error:
        sys.exit(f"exactly_once: {error}" if isinstance(error, KvdError) else 130)
