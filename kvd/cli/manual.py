"""The manual page, in roff, of the same text as the pages of kvctl --help."""

from kvd import __version__
from kvd.cli.command import Option
from kvd.cli.commands import COMMANDS
from kvd.cli.usage import ENVIRONMENT, SEVERAL, STATUSES, TEXTS, TITLE, all_notes, all_options, usage


def manual() -> str:
    """The page."""
    name, _, what = TITLE.partition(": ")
    sections = [
        f'.TH KVCTL 1 "" "kvctl {__version__}"',
        f".SH NAME\n{_text(name)} \\- {_text(what)}",
        ".SH SYNOPSIS\n.nf\n" + "\n".join(_text(usage(command)) for command in COMMANDS.values()) + "\n.fi",
        ".SH COMMANDS\n" + "\n".join(f".TP\n.B {_text(c.name)}\n{_text(c.help)}." for c in COMMANDS.values()),
        ".SH DESCRIPTION\n" + "\n.PP\n".join(map(_text, all_notes())),
        ".SH OPTIONS\n" + "\n".join(map(_option, (*all_options(), *TEXTS))),
        ".SH EXIT STATUS\n" + "\n".join(map(_status, STATUSES)) + f"\n.PP\n{_text(SEVERAL)}",
        ".SH ENVIRONMENT\n" + _text(ENVIRONMENT),
    ]
    return "\n".join(sections) + "\n"


def _option(option: Option) -> str:
    return f".TP\n.B {_text(option.usage)}\n{_text(option.help)}"


def _status(status: tuple[int, str]) -> str:
    return f".TP\n.B {status[0]}\n{_text(status[1])}"


def _text(text: str) -> str:
    """Text of which nothing is taken for a request."""
    lines = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").split("\n")
    return "\n".join(f"\\&{line}" if line.startswith((".", "\\(aq")) else line for line in lines)
