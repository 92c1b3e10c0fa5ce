"""The command that goes on: watch."""

import asyncio
import os
import signal
import time
from collections.abc import Sequence
from typing import Protocol

from kvd.cli import readers
from kvd.cli.command import ON_A_TERMINAL, PATTERN, Arguments, Command, Option, how
from kvd.cli.executing import Commands
from kvd.cli.following import GONE, Retrying, State, beginning, gone, present
from kvd.cli.hangup import call_at_hangup, cancelling
from kvd.cli.latest import Latest
from kvd.cli.output import Output, say
from kvd.cli.printing import Printing
from kvd.cli.status import DEADLINE, TERMINATED, USAGE, Failure
from kvd.client import Copy, Event, Follow

MOST_SHOWN = 10
"""Names in a message: enough to see what they are."""
VERBS = ("SET", "DEL", "EXPIRE")


class Taker(Protocol):
    """Does something with changes."""

    async def take(self, change: Event | Copy) -> None:
        """Do it; raise Failure."""


class Source(Protocol):
    """Gives changes; to ask for the next one says that the one before is done with."""

    async def next(self, seconds: float | None = None) -> Event | Copy:
        """Wait for a change; raise TimeoutError."""


def check(args: Arguments) -> None:
    """Refuse what cannot be together."""
    if args["--exec"] is not None and args["--json"]:
        raise Failure(USAGE, "--exec prints nothing: --json cannot go with it")


async def watch(args: Arguments, out: Output) -> None:
    """Print changes, or run a command for each.  When nobody reads what is printed it is cancelled."""
    command = args["--exec"]
    cancel = cancelling()
    if command is None:
        call_at_hangup(1, cancel)
    taker = Commands(command) if command is not None else Printing(out, args["--keys"], in_thread=args["--latest"])
    terminated = asyncio.Event()

    def terminate() -> None:
        terminated.set()
        cancel()

    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, terminate)
    try:
        await _watch(args, taker)
    except asyncio.CancelledError:
        if terminated.is_set():
            raise Failure(TERMINATED) from None
        raise


async def _watch(args: Arguments, taker: Taker) -> None:
    state = State(args["--state"]) if args["--state"] is not None else None
    kept = state.load() if state else None
    position = await beginning(args, kept)
    is_latest, copies = args["--latest"], args["--sync"]
    if is_latest and position is None and not copies:
        position = await present(args)
    latest = Latest(state, with_copies=copies) if is_latest else None
    retrying = Retrying()
    changes = Follow(
        args["--addr"], *args["<PATTERN>"], position=position, place=latest or state, copies=copies or is_latest,
        retrying=retrying, **how(args),
    )  # fmt: skip
    try:
        async with changes:
            known = changes.position
            first = None if known else await changes.next()
            retrying.has_begun = True
            ignored = kept is not None and args["--since"] is not None
            _tell_what(args["<PATTERN>"], changes.position or "", " (from --state; --since is ignored)" * ignored)
            if first:
                await taker.take(first)
            await _take(args, changes, latest, taker, known)
    except GONE as error:
        begun = changes.position or position
        if begun is None:
            raise
        raise gone(begun, error.word) from None


async def _take(args: Arguments, changes: Follow, latest: Latest | None, taker: Taker, known: str | None) -> None:
    if not latest:
        await _go_on(args, changes, taker, known)
        return
    latest.begin(changes)
    try:
        await _go_on(args, latest, taker, known)
    finally:
        await latest.close()


async def _go_on(args: Arguments, source: Source, taker: Taker, known: str | None) -> None:
    """Take changes until there were enough, or the time is over; `known` is where it began, if with no copy."""
    until = None if args["--for"] is None else time.monotonic() + args["--for"]
    kinds, left = args["--only"] or VERBS, args["--count"]
    while True:
        try:
            change = await source.next(None if until is None else max(until - time.monotonic(), 0.001))
        except TimeoutError:
            raise Failure(DEADLINE, f"the watch has ended after {args['--for']:g} s, as --for says") from None
        if isinstance(change, Copy):
            say(f"the changes after {known} are no longer kept ({change.reason}): beginning from the present,"
                f" {change.position}")  # fmt: skip
        elif change.verb not in kinds:
            continue
        await taker.take(change)
        known = change.position
        if isinstance(change, Event) and left is not None:
            left -= 1
            if not left:
                return


def _tell_what(patterns: Sequence[str], position: str, why: str) -> None:
    """Say what is watched, and why from there; a shell may have put names of files in the place of a pattern."""
    keys = [pattern for pattern in patterns if not pattern.endswith("*")]
    others = len(patterns) - len(keys)
    files = [key for key in keys if os.path.lexists(key)]
    counts = [_counted(len(keys), "key")] * bool(keys) + [_counted(others, "pattern")] * bool(others)
    what = f"{' and '.join(counts)}: " if len(patterns) > 1 else ""
    what += ", ".join(patterns[:MOST_SHOWN]) or "every key"
    say(f"watching from {position}{why}: {what}{', ...' if len(patterns) > MOST_SHOWN else ''}")
    if files:
        directory = files[0][: files[0].rfind("/") + 1]
        say(f"names of files here are among them; to watch a pattern, quote it, such as '{directory}*'")


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


OPTIONS = (
    Option("--sync", "", "Begin with a copy of what there is, and again where the changes\nare no longer kept"),
    Option(
        "--since", "POSITION",
        "Begin with the changes after this position, or revision, unless\nthe file of --state has a position",
        readers.position,
    ),
    Option(
        "--state", "FILE",
        "Keep the position in this file, and go on from there when\nstarted again; each watch needs its own",
        readers.path,
    ),
    Option("--exec", "CMD", "Run this shell command for each change, and print nothing", readers.text),
    Option("--latest", "", "Of each key only the newest change, once the reader is ready"),
    Option("--count", "N", "End after so many changes", readers.number),
    Option("--for", "SECONDS", "End after so many seconds, with status 8", readers.seconds),
    Option("--keys", "", "Print no values"),
    Option("--only", "KINDS", "Of the changes only these: set, del, expire, with commas", readers.kinds),
)  # fmt: skip

COMMANDS = (
    Command(
        "watch", "[<PATTERN>...]", "Use watch to watch updates to any keys in kv store", watch, endless=True,
        options=OPTIONS, prepare=check, notes=(PATTERN, """\
watch prints POSITION SET KEY VALUE, POSITION DEL KEY and POSITION EXPIRE KEY; a
value that is not one line of text is in base64, and the word before it is SET64.
A copy is COPY REASON, PAIR REV KEY VALUE (or PAIR64) for each key, and POSITION
COPIED N.  On a terminal there are columns and colours.
When the daemon is lost it connects again by itself and goes on where it was.
Where the changes after its position are no longer kept it ends with status 4,
unless --sync is given.""", """\
The command of --exec runs once a change, in order, never two at once, with
KVD_POSITION, KVD_REVISION, KVD_OP (SET, DEL or EXPIRE) and KVD_KEY in its
environment and the value on standard input.  When it fails watch ends with its
status, and the position in --state is that of the change before.""", ON_A_TERMINAL),
    ),
)  # fmt: skip
