"""kvctl as a program."""

import asyncio
import os
import sys

from kvd import __version__
from kvd.cli.arguments import Arguments, arrange, parse
from kvd.cli.commands import COMMANDS
from kvd.cli.output import Output, discard, report, say
from kvd.cli.status import DONE, INTERRUPTED, UNWRITTEN, Failure, asking
from kvd.cli.usage import HELP
from kvd.cli.watching import watch
from kvd.client import DEFAULT_ADDRESS, Watch, connect


def main() -> int:
    """Run the command line; return the exit status."""
    if sys.stdout is None:  # the shell's >&-
        return say("standard output is closed", UNWRITTEN)
    try:
        status = run(sys.argv[1:])
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # who reads has seen enough
        status = DONE
    except OSError as error:
        status = say(f"cannot write the output ({error.strerror})", UNWRITTEN)
    discard(sys.stdout)
    return status


def run(argv: list[str]) -> int:
    """Do what the words ask for; return the exit status.  Raises OSError: the output cannot be written."""
    words: list[str] = []
    try:
        options, words = arrange(argv)
        if "-h" in options or "--help" in options:
            sys.stdout.write(HELP)
        elif "--version" in options:
            sys.stdout.write(f"kvctl {__version__}\n")
        else:
            args = parse(options, words)
            with asking():
                asyncio.run(perform(args))
        return DONE
    except asyncio.CancelledError:  # nobody reads what watch writes
        return DONE
    except KeyboardInterrupt:  # the way to end a watch
        return DONE if words[:1] == ["watch"] else INTERRUPTED
    except Failure as failure:
        report(failure)
        return failure.status


async def perform(args: Arguments) -> None:
    """Run one command."""
    out = Output(as_json=args["--json"], raw=args["--raw"])
    address = args["--addr"] or os.environ.get("KVCTL_ADDR") or DEFAULT_ADDRESS
    if args["watch"]:
        await watch(Watch(address, *args["<PATTERN>"]), out)
    else:
        command = next(command for name, command in COMMANDS.items() if args[name])
        async with await connect(address) as kv:
            await command(kv, args, out)
