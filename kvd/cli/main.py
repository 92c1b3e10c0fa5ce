"""kvctl as a program."""

import asyncio
import sys

from kvd import __version__
from kvd.cli.arguments import Arguments, arrange, parse, patience
from kvd.cli.commands import COMMANDS
from kvd.cli.hangup import nobody_reads
from kvd.cli.output import Output, discard, report, say
from kvd.cli.standard_input import value_on_stdin
from kvd.cli.status import DONE, INTERRUPTED, UNWRITTEN, Failure, asking
from kvd.cli.usage import HELP
from kvd.cli.watching import watch
from kvd.client import connect


def main() -> int:
    """Run the command line; return the exit status."""
    if sys.stdout is None:  # the shell's >&-
        return say("standard output is closed", UNWRITTEN)
    status = DONE
    try:
        status = run(sys.argv[1:])
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as error:
        if not nobody_reads(error):  # who has read has seen enough
            say(f"cannot write the output ({error.strerror})")
            status = status or UNWRITTEN
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
                if args["set"] and args["<VALUE>"] is None:
                    args["<VALUE>"] = value_on_stdin(args)
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
    if args["watch"]:
        await watch(args, out)
    else:
        command = next(command for name, command in COMMANDS.items() if args[name])
        async with await connect(args["--addr"], **patience(args)) as kv:
            await command(kv, args, out)
