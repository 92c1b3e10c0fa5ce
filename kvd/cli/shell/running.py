"""kvctl shell: a prompt on a terminal, plain lines elsewhere."""

import os
from functools import partial

from kvd.cli.command import Arguments, how
from kvd.cli.output import Output, say
from kvd.cli.status import asking
from kvd.client.line_connection import LineConnection


def is_interactive() -> bool:
    """Whether somebody types, and sees what comes, on a terminal that can show a prompt among other lines."""
    return _is_at_a_terminal() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown")


def _is_at_a_terminal() -> bool:
    return os.isatty(0) and os.isatty(1)


async def talk(args: Arguments, out: Output) -> None:
    """Run the shell.  Raises Failure."""
    connect = partial(LineConnection.open, args["--addr"], **how(args))
    if is_interactive():
        from kvd.cli.shell.prompt import Prompt  # it needs prompt_toolkit

        with asking():
            await Prompt(connect, raw=args["--raw"]).run()
    else:
        from kvd.cli.shell.piped import pipe

        if _is_at_a_terminal():
            say("this terminal, whose TERM is dumb, has no prompt: type lines, Ctrl-D ends the shell")
        await pipe(connect, out)
