#!/usr/bin/env python3
"""Certifies a client of kvd.

Usage: certify.py [options] ADAPTER [ARGUMENT...]

ADAPTER is the command of a program that drives the client: README.md says how.  Every rule is checked with a process of
its own.  Exit status: 0 if the client goes wrong in none, 1 if it does, 2 for wrong options.
"""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from fnmatch import fnmatchcase
from pathlib import Path

import follows
import gaps
import logins
import replies
import vectors
from adapter import Wrong
from case import Rule
from daemon import NoDaemon, daemon_at

HERE = Path(__file__).parent
AT_ONCE = 8  # rules: most of them wait, for pauses and for silence


class WrongWords(Exception):
    """Options that ask for nothing that there is."""


def parsed(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("certify.py", description="Certifies a client of kvd.")
    parser.add_argument("--address", metavar="HOST:PORT", help="play the vectors on this daemon, whose store is empty")
    parser.add_argument("--kvd", metavar="PROGRAM", help="start this kvd for the vectors (default: the one on PATH)")
    parser.add_argument("--no-vectors", action="store_true", help="there is no kvd: leave the vectors out")
    parser.add_argument("--vectors", metavar="DIR", type=Path, action="append", help="play those of DIR, too")
    parser.add_argument("--login", action="store_true", help="the client logs in: check that, too")
    parser.add_argument("--only", metavar="PATTERN", action="append", help="rules such as 'follow/*'")
    parser.add_argument("--at-once", metavar="N", type=int, default=AT_ONCE, help="rules at a time")
    parser.add_argument("--list", action="store_true", help="say what the rules are")
    parser.add_argument("adapter", nargs=argparse.REMAINDER, help="the command of the adapter")
    options = parser.parse_args(words)
    if not options.adapter and not options.list:
        parser.error("expected the command of an adapter")
    return options


async def check(rule: Rule, command: list[str], room: asyncio.Semaphore) -> bool:
    """Report on one rule; False where the client goes wrong."""
    async with room:
        try:
            did, holds = await rule.check(command), True
        except Wrong as wrong:
            did, holds = str(wrong), False
        except OSError as error:
            did, holds = f"{command[0]} cannot be run: {error.strerror}", False
    say(f"{'ok   ' if holds else 'WRONG'}  {rule.name}: {did}")
    if not holds:
        say(f"       the rule: {rule.says}")
    return holds


async def certify(options: argparse.Namespace) -> int:
    """Check all rules that are asked for, and say what came of it."""
    async with AsyncExitStack() as stack:
        address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        paths = sorted(path for place in [HERE / "vectors", *(options.vectors or [])] for path in place.glob("*.txt"))
        rules = [] if options.no_vectors else vectors.rules(paths, address)
        rules += [*replies.RULES, *follows.RULES, *gaps.RULES, *(logins.RULES if options.login else [])]
        rules = [rule for rule in rules if any(fnmatchcase(rule.name, only) for only in options.only or ["*"])]
        if options.list:
            say(*(f"{rule.name}\n       {rule.says}" for rule in rules))
            return 0
        if not rules:
            raise WrongWords(f"no rule is called {' or '.join(options.only)}")
        if any(rule.name.startswith("vectors/") for rule in rules):
            address.set_result(await stack.enter_async_context(daemon_at(options.address, options.kvd)))
        room = asyncio.Semaphore(options.at_once)
        held = await asyncio.gather(*(check(rule, options.adapter, room) for rule in rules))
    wrong = held.count(False)
    part = " (without the vectors)" if options.no_vectors else ""
    part = " (of a part of the rules)" if options.only else part
    say(
        f"certified{part}: {len(held)} rules hold"
        if not wrong
        else f"not certified: {wrong} of {len(held)} rules broken"
    )
    return 1 if wrong else 0


def say(*lines: str) -> None:
    sys.stdout.write("".join(line + "\n" for line in lines))
    sys.stdout.flush()


def main() -> int:
    try:
        return asyncio.run(certify(parsed(sys.argv[1:])))
    except (NoDaemon, WrongWords) as error:
        sys.stderr.write(f"certify.py: {error}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main())
