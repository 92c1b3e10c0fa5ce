"""All commands, group by group."""

from kvd.cli import helping, keys, lines, listing, locks, server, terminal, transfer, users, waiting, watching
from kvd.cli.command import COMMON, Command, Option

GROUPS = (keys, watching, waiting, listing, transfer, lines, locks, server, terminal, users, helping)

COMMANDS: dict[str, Command] = {command.name: command for group in GROUPS for command in group.COMMANDS}

OPTIONS: dict[str, Option] = {
    option.name: option for command in COMMANDS.values() for option in (*COMMON, *command.options)
}
"""Every option that does something; --help and --version only show a text."""
