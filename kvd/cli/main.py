"""kvctl as a program."""

import asyncio
import os
import sys

from kvd import __version__
from kvd.cli.arguments import Arguments, arrange, parse
from kvd.cli.commands import COMMANDS
from kvd.cli.output import Output, explain, say
from kvd.cli.status import ABSENT, DONE, INTERRUPTED, LOST, REFUSED, UNWRITTEN, USAGE, Failure
from kvd.cli.usage import HELP
from kvd.cli.watching import watch
from kvd.client import DEFAULT_ADDRESS, BadAddress, Conflict, Unreachable, Watch, WatchEnded, connect
from kvd.errors import ConnectionLost, Refusal


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
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the interpreter's own last flush
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
            asyncio.run(perform(parse(options, words)))
        return DONE
    except asyncio.CancelledError:  # nobody reads what watch writes
        return DONE
    except KeyboardInterrupt:  # the way to end a watch
        return DONE if words[:1] == ["watch"] else INTERRUPTED
    except Failure as failure:
        say(str(failure))
        explain(failure.explanation)
        return failure.status
    except BadAddress as error:
        return say(str(error), USAGE)
    except Conflict as conflict:
        return say(f"--if does not hold: {conflict}", ABSENT)
    except Unreachable as error:
        return say(f"{error}: start it with 'kvd', or name another with --addr HOST:PORT", LOST)
    except (ConnectionLost, WatchEnded) as error:
        return say(str(error), LOST)
    except Refusal as refusal:
        return say(f"{refusal.word}: {refusal}", REFUSED)


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
