"""All commands, group by group."""

from kvd.cli import keys, listing, server, terminal, users, watching
from kvd.cli.command import COMMON, Command, Option

COMMANDS: dict[str, Command] = {
    command.name: command for group in (keys, watching, listing, server, terminal, users) for command in group.COMMANDS
}

OPTIONS: dict[str, Option] = {
    option.name: option for command in COMMANDS.values() for option in (*COMMON, *command.options)
}
"""Every option that does something; --help and --version only show a text."""
