"""kvctl top: the live screen, or plain lines where there is no terminal for it."""

import asyncio
import os
import sys
import time
from functools import partial

from kvd.cli.command import Arguments, how
from kvd.cli.hangup import call_at_hangup, cancelling
from kvd.cli.interrupts import ended
from kvd.cli.output import Output, say
from kvd.cli.screen.looking import Looking
from kvd.cli.screen.plain import write
from kvd.cli.screen.prefixes import Prefixes, PrefixWatch
from kvd.cli.status import asking
from kvd.client.line_connection import LineConnection

MOST_PLAIN = 10
"""Prefixes among plain lines."""


def is_live(args: Arguments) -> bool:
    """Whether there is to be a live screen."""
    if args["--once"] or args["--json"]:
        return False
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown")


async def show(args: Arguments, out: Output) -> None:
    """Show what the daemon does until this is cancelled.  Raises Failure: it cannot be reached at first."""
    looking = Looking(args)
    prefixes = Prefixes()
    watch = PrefixWatch(partial(LineConnection.open, args["--addr"], **how(args)), prefixes)
    with asking():
        await looking.look()
        try:
            if is_live(args):
                from kvd.cli.screen.live import LiveScreen  # it needs rich

                await LiveScreen(", ".join(args["--addr"]), looking, prefixes, watch).run()
            else:
                await _print(looking, prefixes, watch, out, once=args["--once"])
        finally:
            await looking.close()


async def _print(looking: Looking, prefixes: Prefixes, watch: PrefixWatch, out: Output, *, once: bool) -> None:
    """Print plain lines: once, or once every interval until nobody reads them."""
    call_at_hangup(1, cancelling())
    watching = asyncio.create_task(watch.run())
    told = ""
    try:
        if once:
            await watch.known()  # else its part of the interval would be the shorter the later it begins
        await asyncio.sleep(looking.interval)
        if once:
            await looking.look()
            _write(looking, prefixes, out)
            return
        first = True

        def looked() -> None:
            nonlocal first, told
            if looking.why != told:
                say(looking.why or "the daemon answers again")
                told = looking.why
            if not looking.why:
                if not first and not out.as_json:
                    out.line("")
                first = False
                _write(looking, prefixes, out)

        await looking.run(looked)
    finally:
        await ended(watching)


def _write(looking: Looking, prefixes: Prefixes, out: Output) -> None:
    if looking.figures:
        prefixes.look(time.monotonic())
        write(out, looking.figures, prefixes.busiest(MOST_PLAIN))
        out.flush()
