"""The command that waits for a key: wait."""

import time

from kvd.cli import readers
from kvd.cli.command import Arguments, Command, Option, how
from kvd.cli.following import Retrying
from kvd.cli.output import Output, json_value
from kvd.cli.status import DEADLINE, USAGE, Failure
from kvd.client import Copy, Follow, Item


def check(args: Arguments) -> None:
    """A pattern is no key."""
    if "*" in args["<KEY>"]:
        raise Failure(USAGE, f"invalid key {args['<KEY>']!a}: expected one key, without '*'")


async def wait(args: Arguments, out: Output) -> None:
    """Wait, without asking again and again: the daemon tells of each change."""
    key, seconds = args["<KEY>"], args["--for"]
    until = None if seconds is None else time.monotonic() + seconds
    retrying = Retrying()
    async with Follow(args["--addr"], key, retrying=retrying, **how(args)) as changes:
        while True:
            try:
                change = await changes.next(None if until is None else max(until - time.monotonic(), 0.001))
            except TimeoutError:
                raise Failure(DEADLINE, f"{key} {_unmet(args)} after {seconds:g} s") from None
            retrying.has_begun = True
            if isinstance(change, Copy):
                item = change.items.get(key)
            else:
                item = None if change.value is None else Item(key, change.value, change.revision)
            if _holds(args, item):
                break
    if out.as_json:
        out.line("", key=key, **({} if item is None else {"revision": item.revision, **json_value(item.value)}))
    elif item is not None and args["<VALUE>"] is None and not args["--gone"]:
        out.value(item.value)


def _unmet(args: Arguments) -> str:
    if args["<VALUE>"] is None:
        return "is still there" if args["--gone"] else "is not there"
    return "still has that value" if args["--gone"] else "does not have that value"


def _holds(args: Arguments, item: Item | None) -> bool:
    wanted: bytes | None = args["<VALUE>"]
    is_there = item is not None and (wanted is None or item.value == wanted)
    return is_there is not bool(args["--gone"])


COMMANDS = (
    Command(
        "wait", "<KEY> [<VALUE>]", "Use wait <KEY> [<VALUE>] to wait until that key is there, or has that value", wait,
        options=(
            Option(
                "--gone", "", "Wait until there is no such key; with <VALUE>, until the\nkey does not have that value"
            ),
            Option("--for", "SECONDS", "End after so many seconds, with status 8", readers.seconds),
        ),
        prepare=check, reads=(("<VALUE>", readers.literal),), notes=("""\
wait ends at once if it is so already; it writes the value as get does, if none is
named.  When the daemon is lost it connects again by itself.""",),
    ),
)  # fmt: skip
