"""The commands for people at a terminal: top, shell.  What they need beyond Python is loaded when they run."""

import sys
from importlib.util import find_spec

from kvd.cli import readers
from kvd.cli.command import ON_A_TERMINAL, Arguments, Command, Option
from kvd.cli.output import Output
from kvd.cli.status import REFUSED, USAGE, Failure


async def top(args: Arguments, out: Output) -> None:
    from kvd.cli.screen.running import show  # no other command is to wait for it

    await show(args, out)


async def shell(args: Arguments, out: Output) -> None:
    from kvd.cli.shell.running import talk

    await talk(args, out)


def prepare_top(args: Arguments) -> None:
    from kvd.cli.screen.running import is_live

    if is_live(args):
        _need("top", "rich", "; `kvctl top --once` does without it")


def prepare_shell(args: Arguments) -> None:
    from kvd.cli.shell.running import is_interactive

    if args["--json"]:
        raise Failure(USAGE, "shell shows the daemon's lines as they are, and has no --json")
    if is_interactive():
        _need("shell", "prompt_toolkit", "; from a pipe shell takes lines without it")


def _need(command: str, package: str, otherwise: str) -> None:
    """Raise Failure where a package is not installed."""
    if not find_spec(package):
        install = f"{sys.executable} -m pip install {package}"
        raise Failure(
            REFUSED,
            f"{command} needs the Python package {package}, which is not installed: install it with `{install}`"
            f"{otherwise}",
        )


COMMANDS = (
    Command(
        "top", "", "Use top to see live what the daemon does, how much, and to which keys", top,
        options=(
            Option("--interval", "S", "Look every so many seconds (unless given, 1)", readers.interval),
            Option("--once", "", "Print the figures of one interval, and end"),
        ),
        prepare=prepare_top, endless=True,
        notes=("""\
top shows rates, from one look to the next, and the busiest prefixes of keys, up
to the first '/', for which it watches every key while they are shown.  q ends it,
and p hides the prefixes.  It goes on when the daemon is started again.  Without a
terminal, and with --once or --json, it prints plain lines.""",),
    ),
    Command(
        "shell", "", "Use shell to talk to the daemon in its own words, with completion and history", shell,
        prepare=prepare_shell,
        notes=("""\
shell takes the lines of the protocol, such as GET KEY (HELP lists them), and shows
what comes back, and the changes of a WATCH as they come.  TAB completes verbs and
keys, Ctrl-C clears the line, Ctrl-D ends it.  It connects again by itself, and
goes on with its watch.  From a pipe it takes lines, too, without all that.""", ON_A_TERMINAL),
    ),
)  # fmt: skip
