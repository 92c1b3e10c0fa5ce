"""Users for tests."""

from collections.abc import Mapping
from functools import cache

from kvd.access.passwords import hash_of
from kvd.access.users import Users, parse

PASSWORD = "geheim wort "  # noqa: S105
"""Of every user here; its end counts, too."""


@cache
def hashed(password: str = PASSWORD) -> str:
    """A hash of a password, made once."""
    return hash_of(password.encode())


def users_text(rules: Mapping[str, Mapping[str, str]], password: str = PASSWORD) -> str:
    """A file of users: by name, by pattern, what they may, with commas.  All have the password but `default`."""
    lines = []
    for name, given in rules.items():
        lines.append(f"[users.'{name}']")
        if name != "default":
            lines.append(f"passwords = ['{hashed(password)}']")
        lines.append(f"[users.'{name}'.rules]")
        lines += [f"'{pattern}' = {rights.split(',')}" for pattern, rights in given.items()]
    return "\n".join(lines)


def users_of(rules: Mapping[str, Mapping[str, str]], password: str = PASSWORD) -> Users:
    """The same, read."""
    return parse(users_text(rules, password), "test")
