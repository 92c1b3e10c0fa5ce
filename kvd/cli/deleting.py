"""The command that takes any number of keys: del."""

import asyncio
import os
from contextlib import suppress

from kvd.cli import interrupts
from kvd.cli.command import Arguments, how
from kvd.cli.output import Output, agreed, say
from kvd.cli.pipelining import each
from kvd.cli.status import ABSENT, LOST, UNKNOWN, USAGE, Failure, absent, asking, most_serious
from kvd.client import Client, connect

Outcome = int | Failure
"""The revision that a key's deletion took, or why there is none."""


CHUNK = 10_000
"""Keys in one request of --prefix: some tenths of a second, so that a daemon is not taken for silent."""


def check_deletion(args: Arguments) -> None:
    """Look at the options, and ask on a terminal whether all that begin so are meant.  Raises Failure."""
    prefix = args["--prefix"]
    if args["--if"] and (prefix is not None or len(args["<KEY>"]) > 1):
        raise Failure(USAGE, "--if goes with one key, for no two keys have the same revision")
    if prefix is None or args["--yes"]:
        return
    if os.isatty(0):
        number = interrupts.run(_count(args))
        what = f"{number} key{'s' if number != 1 else ''} that begin{'s' if number == 1 else ''} with {prefix!a}"
        if number and not agreed(f"delete {what}? [y/N] "):
            raise Failure(ABSENT, "nothing was deleted")
    elif not prefix:  # a script's variable that is not set
        raise Failure(USAGE, "--prefix: all keys begin with ''; expected --yes beside it, if all of them are meant")


async def _count(args: Arguments) -> int:
    async with await connect(args["--addr"], reconnect=0, **how(args)) as kv:
        return await kv.count(f"{args['--prefix']}*")


async def _delete_all(kv: Client, prefix: str, out: Output) -> None:
    """Print how many, if that is certain and all; raise Failure that says what is certain otherwise."""
    deleted = 0
    try:
        number = CHUNK
        while number >= CHUNK:
            with asking(writing=True):
                number = await kv.delete_all(f"{prefix}*", CHUNK)
            deleted += number
    except asyncio.CancelledError:  # the daemon goes on with what it was asked for
        say(_done(deleted, perhaps_more=True))
        raise
    except Failure as failure:
        done = _done(deleted, perhaps_more=failure.status in (LOST, UNKNOWN))
        raise Failure(failure.status, *failure.messages, done) from None
    out.line(f"{deleted}", prefix=prefix, deleted=deleted)


def _done(deleted: int, *, perhaps_more: bool) -> str:
    when = " before the last request, and perhaps more by it" if perhaps_more else ""
    return f"{deleted} keys were deleted{when}; to run del again is safe"


async def delete(kv: Client, args: Arguments, out: Output) -> None:
    """Delete the keys, whatever becomes of some of them; raise Failure that says what."""

    async def outcome(key: str) -> Outcome:
        try:
            with asking(writing=True):
                revision = await kv.delete(key, if_revision=args["--if"])
        except Failure as failure:
            return failure
        return absent(key) if revision is None else revision

    if args["--prefix"] is not None:
        await _delete_all(kv, args["--prefix"], out)
        return
    keys = args["<KEY>"]
    outcomes: list[Outcome | None] = [None] * len(keys)
    try:
        await each(outcome, keys, outcomes)
    finally:  # not before: that nobody reads what is printed leaves no key undeleted
        with suppress(OSError):  # it is met again at the end; what became of the keys is told before
            for key, revision in zip(keys, outcomes, strict=True):
                if isinstance(revision, int):
                    out.line(f"{revision}", key=key, revision=revision)
    if failure := _failure(keys, outcomes):
        raise failure


def _failure(keys: list[str], outcomes: list[Outcome | None]) -> Failure | None:
    """What did not go well; of several keys it names those to which the same happened."""
    failures = {key: outcome for key, outcome in zip(keys, outcomes, strict=True) if isinstance(outcome, Failure)}
    if len(keys) == 1:
        return failures.get(keys[0])
    missing = [key for key, failure in failures.items() if failure.status == ABSENT]
    messages = list(absent(*missing).messages) if missing else []
    refused: dict[str, list[str]] = {}
    for key, failure in failures.items():
        if failure.status != ABSENT:
            refused.setdefault(str(failure), []).append(key)
    messages += [f"{text}: {', '.join(names)}" for text, names in refused.items()]
    return Failure(most_serious(failure.status for failure in failures.values()), *messages) if messages else None
