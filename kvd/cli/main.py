"""kvctl as a program."""

import asyncio
import os
import sys
from contextlib import suppress
from typing import NoReturn

from kvd import __version__
from kvd.cli import interrupts
from kvd.cli.arguments import HELP, VERSION, arrange, parse
from kvd.cli.command import Arguments, Command
from kvd.cli.commands import COMMANDS
from kvd.cli.hangup import nobody_reads
from kvd.cli.output import Output, buffer_stdout, discard, report, say
from kvd.cli.status import DONE, INTERRUPTED, UNWRITTEN, Failure, asking
from kvd.cli.usage import page, whole, wrong_command


def command() -> NoReturn:
    """The program `kvctl`, without Python's own end: Ctrl-C amid it, or a thread that still runs, has it complain."""
    status = main()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with suppress(OSError):
                stream.flush()
    os._exit(status)


def main() -> int:
    """Run the command line; return the exit status."""
    interrupts.end_at_once()
    if sys.stdout is None:  # the shell's >&-
        return say("standard output is closed", UNWRITTEN)
    buffer_stdout()
    status = DONE
    try:
        status = run(sys.argv[1:])
        sys.stdout.flush()
    except OSError as error:
        if not nobody_reads(error):  # who has read has seen enough
            say(f"cannot write the output ({error.strerror})")
            status = status or UNWRITTEN
        discard(sys.stdout)
    return status


def run(argv: list[str]) -> int:
    """Do what the words ask for; return the exit status.  Raises OSError: the output cannot be written."""
    command: Command | None = None
    try:
        options, words = arrange(argv)
        command = COMMANDS.get(words[0]) if words else None
        if not HELP.isdisjoint(options):
            sys.stdout.write(page(command) if command else whole())
        elif VERSION in options:
            sys.stdout.write(f"kvctl {__version__}\n")
        elif command:
            perform(command, parsed(command, options, words))
        else:
            raise wrong_command(words)
        return DONE
    except asyncio.CancelledError:  # nobody reads what watch writes
        return DONE
    except KeyboardInterrupt:
        return DONE if command and command.endless else INTERRUPTED
    except Failure as failure:
        report(failure)
        meant = command or next((COMMANDS[word] for word in argv if word in COMMANDS), None)
        return failure.status if command or not meant else meant.failure or failure.status


def parsed(command: Command, options: list[str], words: list[str]) -> Arguments:
    """What was given to a command.  Raises Failure."""
    try:
        return parse(command, options, words)
    except Failure as failure:
        raise Failure(command.failure or failure.status, *failure.messages, usage=failure.usage) from None


def perform(command: Command, args: Arguments) -> None:
    """Run a command."""
    with asking():
        if args.get("--cert"):
            from kvd.cli.tls_hints import look_at  # for those alone who show one

            look_at(args["--cert"])
        command.prepare(args)
        running = command.run(args, Output(as_json=args["--json"], raw=args["--raw"]))
        if running is not None:
            interrupts.run(running)
