"""All commands, group by group; a group is loaded when one of its commands is asked for."""

from collections.abc import Iterator, Mapping
from importlib import import_module

from kvd.cli.command import COMMON, Command, Option

GROUPS = {
    "keys": "get set append del edit ttl touch incr",
    "watching": "watch",
    "waiting": "wait",
    "listing": "keys list count",
    "transfer": "export import mirror backup",
    "lines": "send txn",
    "locks": "lock elect",
    "server": "info ping clients kick",
    "terminal": "top shell",
    "users": "user",
    "helping": "help completion",
}
"""The modules of the groups, and their commands: a test compares."""


class _Commands(Mapping[str, Command]):
    """The commands by their names."""

    def __init__(self) -> None:
        self._groups = {name: group for group, names in GROUPS.items() for name in names.split()}

    def __getitem__(self, name: str) -> Command:
        group: tuple[Command, ...] = import_module(f"kvd.cli.{self._groups[name]}").COMMANDS
        return next(command for command in group if command.name == name)

    def __contains__(self, name: object) -> bool:
        return name in self._groups

    def __iter__(self) -> Iterator[str]:
        return iter(self._groups)

    def __len__(self) -> int:
        return len(self._groups)


COMMANDS: Mapping[str, Command] = _Commands()


def find_option(name: str, command: Command | None) -> Option | None:
    """What does something for this command, or else for any; --help and --version only show a text."""
    own = (*COMMON, *(command.options if command else ()))
    if found := next((option for option in own if option.name == name), None):
        return found
    every = (option for other in COMMANDS.values() for option in other.options)
    return next((option for option in every if option.name == name), None)
