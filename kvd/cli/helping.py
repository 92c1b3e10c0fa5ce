"""The commands that tell of kvctl itself: help, completion."""

from kvd.cli import readers
from kvd.cli.command import Arguments, Command, Option
from kvd.cli.output import Output
from kvd.cli.status import USAGE, Failure

SHELLS = ("bash", "zsh", "fish")


def check_shell(args: Arguments) -> None:
    """Raises Failure."""
    if args["<SHELL>"] not in SHELLS:
        raise Failure(USAGE, f"no such shell: {args['<SHELL>']!a}: expected {', '.join(SHELLS)}")


def check_command(args: Arguments) -> None:
    """Raises Failure."""
    from kvd.cli.commands import COMMANDS
    from kvd.cli.usage import wrong_command

    command = args["<COMMAND>"]
    if command is not None and command not in COMMANDS:
        raise wrong_command([command])


async def help_(args: Arguments, out: Output) -> None:
    """Print a page; the pages know all commands, of which this is one."""
    from kvd.cli.commands import COMMANDS
    from kvd.cli.manual import manual
    from kvd.cli.usage import page, whole

    if args["--man"]:
        text = manual()
    elif args["<COMMAND>"] is None:
        text = whole()
    else:
        text = page(COMMANDS[args["<COMMAND>"]])
    out.write(text.encode())


async def completion(args: Arguments, out: Output) -> None:
    """Print a script for a shell."""
    from kvd.cli.completing import script

    out.write(script(args["<SHELL>"]).encode())


COMMANDS = (
    Command(
        "help", "[<COMMAND>]", "Use help <COMMAND> to read what kvctl COMMAND --help shows", help_,
        prepare=check_command,
        options=(Option("--man", "", "Print the manual page: kvctl help --man | man -l -"),), is_local=True,
        reads=(("<COMMAND>", readers.text),),
    ),
    Command(
        "completion", "<SHELL>", "Use completion bash|zsh|fish to print what completes words in that shell",
        completion, prepare=check_shell, is_local=True, reads=(("<SHELL>", readers.text),), notes=("""\
bash: source <(kvctl completion bash); zsh: source <(kvctl completion zsh), after
compinit; fish: kvctl completion fish | source.  Keys are completed, too.""",),
    ),
)  # fmt: skip
