"""The pages of kvctl: one for each command, which docopt reads, and one of all together."""

import textwrap
from collections.abc import Iterable

from kvd.cli.command import COMMON, Command, Option
from kvd.cli.commands import COMMANDS
from kvd.cli.status import USAGE, Failure

TEXTS = (Option("-h, --help", "", "Print this"), Option("--version", "", "Print the version"))
"""The options that show a text, whatever stands beside them."""

_MARGIN = 20
"""Columns before what an option is for."""

_WIDTH = 88
"""Columns of a line of the usage."""

TITLE = "kvctl: read, write and watch the keys of kvd"

STATUSES = (
    (0, "done"),
    (1, "no such key, or --if does not hold"),
    (2, "wrong words: an option, an argument, a key or a value that cannot be"),
    (
        3,
        "the daemon cannot be reached, was lost or silent while it was asked to read,\n"
        "or is none: its replies make no sense",
    ),
    (4, "refused for good: the same again would be refused again"),
    (5, "the output could not be written"),
    (6, "not done, for the daemon cannot do it now: try again"),
    (7, "perhaps done: the daemon, or its store, was lost or silent during a write"),
    (8, "the time of --for has passed"),
)
SEVERAL = "Of several keys the most serious counts: 7, 3, 4, 2, 6, 1."

ENVIRONMENT = """\
What no option says comes from a variable: KVCTL_ADDR, KVCTL_TLS, KVCTL_CA,
KVCTL_CERT, KVCTL_KEY, KVCTL_USER, KVCTL_PASSWORD_FILE, KVCTL_TIMEOUT; or else from
the context that KVCTL_CONTEXT names in the file of settings, KVCTL_CONFIG or
~/.config/kvd/kvctl.toml (below XDG_CONFIG_HOME, if that is set).  What the context
of --context says is stronger than the variables."""

_HELP = """\
{title}

Usage:
{usages}
  kvctl (--help | --version)

Commands:
{commands}
kvctl COMMAND --help shows the part of this page that is about one command.

{notes}

{environment}

Options:
{options}

Exit status:
{statuses}
{several}
"""

_PAGE = """\
{help}

Usage:
{usage}

{notes}Options:
{options}

kvctl --help shows all commands, and the exit statuses.
"""


def whole() -> str:
    """All commands on one page."""
    return _HELP.format(
        title=TITLE,
        usages="\n".join(map(usage, COMMANDS.values())),
        commands="".join(f"  {f'{command.name}  ':8}{command.help}\n" for command in COMMANDS.values()),
        notes="\n\n".join(all_notes()),
        environment=ENVIRONMENT,
        options=_options((*all_options(), *TEXTS)),
        statuses="\n".join(f"  {number}  {text}".replace("\n", "\n     ") for number, text in STATUSES),
        several=SEVERAL,
    )


def options_of(command: Command) -> tuple[Option, ...]:
    """What may be given with a command."""
    return (*command.options, *command.common, *TEXTS)


def all_options() -> list[Option]:
    """Every option that does something, with what it does for each command."""
    options = (option for command in COMMANDS.values() for option in (*COMMON, *command.options))
    return list(dict.fromkeys(options))


def all_notes() -> list[str]:
    """The paragraphs of all pages."""
    return list(dict.fromkeys(note for command in COMMANDS.values() for note in command.notes))


def page(command: Command) -> str:
    """The page of one command."""
    return _PAGE.format(
        help=command.help,
        usage=usage(command),
        notes="".join(f"{note}\n\n" for note in command.notes),
        options=_options(options_of(command)),
    )


def wrong_arguments(command: Command, options: list[str], words: list[str]) -> Failure:
    """options: the names of those that were given.  words: what came after the command's name."""
    known = {option.name for option in (*command.options, *command.common)}
    text = f"wrong arguments for {command.name}"
    if unknown := next((name for name in options if name not in known), ""):
        text += f": unknown option {unknown}"
    elif repeated := next((name for name in options if options.count(name) > 1), ""):
        text += f": repeated option {repeated}"
    elif "[<PATTERN>]" in command.words and len(words) > 1:
        text += ": expected one pattern, quoted if it has a '*', or the shell puts names of files in its place"
    elif command.verbatim and len(words) > command.verbatim and words[1].partition("=")[0] in known:
        text += f": {words[1]} stands where the value does; expected options before or after both words"
    elif command.before:
        text += f": expected {' '.join(command.before)} and, after --, the command to run"
    return Failure(USAGE, f"{text}; see kvctl {command.name} --help", usage=[usage(command)])


def wrong_command(words: list[str]) -> Failure:
    """The usage names the commands alone, or what was wrong would be scrolled away."""
    text = "no command"
    if words:
        import difflib  # no other command is to wait for it

        near = difflib.get_close_matches(words[0].lower(), COMMANDS, n=1)
        text = f"no such command: {words[0]!a}" + "".join(f"; did you mean {name}?" for name in near)
    names = _folded(f"kvctl [options] {' | '.join(COMMANDS)}")
    return Failure(USAGE, f"{text}; see kvctl --help", usage=[names])


def usage(command: Command) -> str:
    """How a command is written."""
    options = (
        f"[{option.usage}]{'...' if option.several else ''}" for option in command.options if not option.in_words
    )
    return _folded(" ".join(filter(None, ("kvctl [options]", command.name, command.words, *options))))


def _folded(text: str) -> str:
    return textwrap.fill(
        text, _WIDTH, initial_indent="  ", subsequent_indent=" " * 8, break_long_words=False, break_on_hyphens=False
    )


def _options(options: Iterable[Option]) -> str:
    """A row each; after what is too long for its column what it is for begins a line of its own."""
    indent = "\n" + " " * _MARGIN
    rows = []
    for option in options:
        name = f"  {option.usage}"
        space = " " * (_MARGIN - len(name)) if len(name) <= _MARGIN - 2 else indent
        rows.append(name + space + option.help.replace("\n", indent))
    return "\n".join(rows)
