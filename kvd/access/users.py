"""Users, as a TOML file has them:

[users.alice]
passwords = ["$argon2id$..."]
rules = { "app/*" = ["read", "write", "watch", "max-keys=1000", "max-bytes=10MB"], "*" = ["read"] }

[users.default]
rules = { "public/*" = ["read"] }
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from kvd.access.passwords import is_hash
from kvd.access.quotas import MOST_PATTERNS, Quota, quota_of
from kvd.access.rights import Right, Rights, Rule
from kvd.errors import Refusal, StartError
from kvd.model import ALL_KEYS
from kvd.wire import words

DEFAULT = "default"
"""Who has not said who they are: its rules say what is allowed before AUTH."""
MOST_PASSWORDS = 2
"""One that is new, and one that some still have."""
RIGHTS = ", ".join(right.value for right in Right)
_RIGHTS = {right.value for right in Right}
QUOTAS = "max-keys=N, max-bytes=SIZE"

LONGEST_PASSWORD = words.MAX_PASSWORD
"""Bytes of a password."""
why_unusable = words.why_no_password
"""What is wrong with a password that is to be one; "" if nothing is."""
NAME_RULE = "a user's name is 1 to 64 letters, digits and . _ @ -, the first one a letter or a digit"


def is_name(name: str) -> bool:
    """Whether a user may be called that."""
    return name.isascii() and words.is_user(name.encode()) is not None


class User(NamedTuple):
    """One user.  hashes: of the passwords, as `passwords` makes them; those of DEFAULT, and of who comes with a
    certificate, may be none.  rules: in the order of the file.  quotas: of each of the rules."""

    name: str
    hashes: tuple[str, ...]
    rules: tuple[Rule, ...]
    rights: Rights
    quotas: tuple[Quota, ...] = ()


class Users:
    """All users, by name."""

    def __init__(self, users: Mapping[str, User]) -> None:
        self._users = dict(users)

    def __len__(self) -> int:
        return len(self._users)

    def __contains__(self, name: str) -> bool:
        return name in self._users

    def get(self, name: str) -> User | None:
        """The user of a name, if there is one; DEFAULT is not for AUTH."""
        return self._users.get(name)

    @property
    def all(self) -> list[User]:
        """All of them, by name."""
        return [self._users[name] for name in sorted(self._users)]


def parse(text: str, where: str) -> Users:
    """Read what a file says.  where: the file, for messages.  Raises StartError that says what is wrong."""
    import tomllib  # there are users

    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise StartError(f"{where}: not TOML: {error}") from None
    _known(found, {"users"}, where)
    users = _table(found.get("users", {}), f"{where}: users")
    made = {name: _user(name, given, where) for name, given in users.items()}
    limited = {
        pattern for user in made.values() for (pattern, _), quota in zip(user.rules, user.quotas, strict=True)
        if quota.words
    }  # fmt: skip
    if len(limited) > MOST_PATTERNS:
        raise StartError(
            f"{where}: {len(limited)} patterns have max-keys or max-bytes: expected {MOST_PATTERNS} at most"
        )
    return Users(made)


def _user(name: str, given: object, where: str) -> User:
    if not is_name(name):
        raise StartError(f"{where}: invalid name {name!a}: {NAME_RULE}")
    where = f"{where}: user {name}"
    entries = _table(given, where)
    _known(entries, {"passwords", "rules"}, where)
    hashes = _texts(entries.get("passwords", []), f"{where}: passwords")
    if len(hashes) > MOST_PASSWORDS:
        raise StartError(f"{where}: {len(hashes)} passwords: expected {MOST_PASSWORDS} at the most")
    if not all(map(is_hash, hashes)):
        raise StartError(f"{where}: invalid hash of a password: expected what kvctl user writes, $argon2id$...")
    if hashes and name == DEFAULT:
        raise StartError(f"{where}: it has a password: expected none, for it is who has not said who they are")
    rules = _table(entries.get("rules", {}), f"{where}: rules")
    given = [(pattern, _texts(said, f"{where}: {pattern!a}")) for pattern, said in rules.items()]
    found, quotas = zip(*[rule(pattern, said, where) for pattern, said in given], strict=True) if given else ((), ())
    return User(name, hashes, found, Rights(found, quotas), quotas)


def rule(pattern: str, said: tuple[str, ...], where: str) -> tuple[Rule, Quota]:
    """A rule in words, and its quota.  Raises StartError."""
    rights, quota = quota_of(said, f"{where}: {pattern!a}")
    try:
        touched = words.pattern(pattern.encode())
    except Refusal as error:
        raise StartError(f"{where}: invalid pattern {pattern!a}: {error}") from None
    if unknown := [word for word in rights if word not in _RIGHTS]:
        raise StartError(
            f"{where}: unknown right or quota {unknown[0]!a} of {pattern!a}: expected any of {RIGHTS}, {QUOTAS}"
        )
    found = frozenset(map(Right, rights))
    if not found:
        raise StartError(f"{where}: no rights of {pattern!a}: expected any of {RIGHTS}")
    if Right.ADMIN in found and touched != ALL_KEYS:
        raise StartError(f"{where}: admin for {pattern!a}: expected it for '*' only, for it goes for the whole daemon")
    return (touched, found), quota


def _known(given: Mapping[str, Any], known: set[str], where: str) -> None:
    if unknown := sorted(given.keys() - known):
        raise StartError(f"{where}: unknown entry {unknown[0]!a}: expected {' or '.join(sorted(known))}")


def _table(given: object, where: str) -> Mapping[str, Any]:
    if not isinstance(given, dict):
        raise StartError(f"{where}: expected a table")
    return given


def _texts(given: object, where: str) -> tuple[str, ...]:
    if not isinstance(given, list) or not all(isinstance(one, str) for one in given):
        raise StartError(f'{where}: expected a list of texts, such as ["read"]')
    return tuple(given)
