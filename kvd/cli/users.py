"""The command for the file of users: user."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kvd.access.passwords import hash_of
from kvd.access.quotas import Quota, rule_words
from kvd.access.rights import Right, Rights
from kvd.access.users import DEFAULT, MOST_PASSWORDS, NAME_RULE, User, is_name, rule
from kvd.access.users_file import editing, load
from kvd.cli import readers
from kvd.cli.command import Arguments, Command, Option
from kvd.cli.output import Output, say
from kvd.cli.password import new_password
from kvd.cli.status import ABSENT, USAGE, Failure
from kvd.errors import StartError

FILE, RULE, NO_PASSWORD, KEEP_OLD, DROP_OLD = "--file", "--rule", "--no-password", "--keep-old", "--drop-old"
VARIABLE = "KVD_USERS"
OWNERS = "who may write a key deletes with it the keys that live with it (with=), whatever the rules say of those"


def prepare(args: Arguments) -> None:
    """Look at the words, and ask for what is not among them.  Raises Failure."""
    action = ACTIONS.get(args["<ACTION>"])
    if action is None:
        raise Failure(USAGE, f"user: unknown action {args['<ACTION>']!a}: expected {', '.join(ACTIONS)}")
    _check_words(args, *action.expected)
    args[FILE] = args[FILE] or os.environ.get(VARIABLE)
    if not args[FILE]:
        raise Failure(USAGE, f"user: no file of users: expected {FILE}=FILE, or its path in {VARIABLE}")
    args["password"] = None
    if action.asks(args):
        args["password"] = _hash_of(new_password(args["<NAME>"]))


def _hash_of(password: bytes) -> str:
    """Raises Failure where kvctl is one file, without what is compiled."""
    try:
        return hash_of(password)
    except ImportError:
        raise Failure(USAGE, "user: a password needs the Python package argon2-cffi, which is not here") from None


async def user(args: Arguments, out: Output) -> None:
    try:
        ACTIONS[args["<ACTION>"]].run(args, out)
    except StartError as error:
        raise Failure(USAGE, str(error)) from None


# ---- the actions


def add(args: Arguments, out: Output) -> None:
    name = args["<NAME>"]
    with editing(Path(args[FILE]), FILE) as users:
        if name in users:
            raise Failure(USAGE, f"there is a user {name} already; nothing was changed")
        entry: dict[str, Any] = {"passwords": [args["password"]]} if args["password"] else {}
        entry["rules"] = _rules(args[RULE])
        users[name] = entry
    out.line(f"added {name}", added=name)


def passwd(args: Arguments, out: Output) -> None:
    name = args["<NAME>"]
    with editing(Path(args[FILE]), FILE) as users:
        entry = _entry(users, name)
        old = list(entry.get("passwords", []))
        kept = old[: MOST_PASSWORDS - 1] if args[KEEP_OLD] else []
        entry["passwords"] = old[:1] if args[DROP_OLD] else [args["password"], *kept]
        valid = len(entry["passwords"])
    out.line(f"{name} has {valid} valid password{'s' if valid != 1 else ''}", name=name, passwords=valid)


def delete(args: Arguments, out: Output) -> None:
    name = args["<NAME>"]
    with editing(Path(args[FILE]), FILE) as users:
        _entry(users, name)
        del users[name]
    out.line(f"deleted {name}", deleted=name)


def list_(args: Arguments, out: Output) -> None:
    for found in load(Path(args[FILE]), FILE).all:
        pairs = zip(found.rules, found.quotas, strict=True)
        rules = {pattern.decode(): _words(rights, quota) for (pattern, rights), quota in pairs}
        shown = " ".join(f"{pattern}={','.join(rights)}" for pattern, rights in rules.items())
        passwords = len(found.hashes)
        out.line(f"{found.name} passwords={passwords} {shown}".rstrip(), name=found.name, passwords=passwords,
                 rules=rules)  # fmt: skip


def can(args: Arguments, out: Output) -> None:
    name, right, key = args["<NAME>"], args["<RIGHT>"], args["<KEY>"]
    found = load(Path(args[FILE]), FILE).get(name)
    if found is None:
        raise _no_user(name)
    wanted, touched = _question(right, key)
    may = found.rights.allow(wanted, touched)
    reason = _rule_for(found, wanted, touched) if may else "no rule allows it"
    out.line(f"{'yes' if may else 'no'}: {reason}", name=name, right=right, key=key, may=may)
    if may and wanted is Right.WRITE:
        say(f"note: {OWNERS}")
    if not may:
        raise Failure(ABSENT)


class Action:
    """What user does.  expected: the words after the action.  asks: whether it needs a new password."""

    def __init__(
        self, run: Callable[[Arguments, Output], None], *expected: str,
        asks: Callable[[Arguments], bool] = lambda _: False,
    ) -> None:  # fmt: skip
        self.run, self.expected, self.asks = run, expected, asks


ACTIONS = {
    "add": Action(add, "<NAME>", asks=lambda args: not args[NO_PASSWORD] and args["<NAME>"] != DEFAULT),
    "passwd": Action(passwd, "<NAME>", asks=lambda args: not args[DROP_OLD]),
    "del": Action(delete, "<NAME>"),
    "list": Action(list_),
    "can": Action(can, "<NAME>", "<RIGHT>", "<KEY>"),
}


# ---- what they need


def _check_words(args: Arguments, *expected: str) -> None:
    words = ("<NAME>", "<RIGHT>", "<KEY>")
    given = tuple(word for word in words if args[word] is not None)
    if given != expected:
        usage = " ".join(("kvctl user", args["<ACTION>"], *expected))
        raise Failure(USAGE, f"wrong arguments: expected {usage}")
    name = args["<NAME>"]
    if name is not None and not is_name(name):
        raise Failure(USAGE, f"invalid name {name!a}: {NAME_RULE}")
    if name == DEFAULT and args["<ACTION>"] == "passwd":
        raise Failure(USAGE, f"{DEFAULT} has no password: it stands for those who have not said who they are")


def _entry(users: Any, name: str) -> Any:
    if name not in users:
        raise _no_user(name)
    return users[name]


def _no_user(name: str) -> Failure:
    return Failure(ABSENT, f"there is no user {name}")


def _rules(given: list[str]) -> dict[str, list[str]]:
    """The rules that --rule gives, as the file has them; one that is wrong is a StartError."""
    rules: dict[str, list[str]] = {}
    for text in given:
        match = rule_words(text)
        if not match:
            raise Failure(
                USAGE, f"{RULE}: invalid rule {text!a}: expected PATTERN=RIGHT,..., such as 'app/*=read,write'"
            )
        pattern = match[1]
        if pattern in rules:
            raise Failure(USAGE, f"{RULE}: two rules for {pattern!a}: expected one with all rights")
        (_, rights), quota = rule(pattern, tuple(match[2].split(",")), RULE)
        rules[pattern] = _words(rights, quota)
    return rules


def _words(rights: frozenset[Right], quota: Quota) -> list[str]:
    return [*(right.value for right in Right if right in rights), *quota.words]


def _question(right: str, key: str) -> tuple[Right, bytes]:
    """What can asks.  Raises StartError."""
    (touched, rights), _ = rule(key, (right,), "can")
    return next(iter(rights)), touched


def _rule_for(found: User, right: Right, touched: bytes) -> str:
    """The rule that allows it, in words."""
    pairs = zip(found.rules, found.quotas, strict=True)
    (pattern, rights), quota = next(pair for pair in pairs if Rights([pair[0]]).allow(right, touched))
    return f"{pattern.decode()}={','.join(_words(rights, quota))}"


COMMANDS = (
    Command(
        "user", "<ACTION> [<NAME>] [<RIGHT>] [<KEY>]",
        "Use user add|passwd|del|list|can to edit and question the file of users", user, prepare=prepare,
        is_local=True,
        options=(
            Option(FILE, "FILE", f"The file of users (kvd --users); without it the variable {VARIABLE}", readers.text),
            Option(
                RULE, "RULE",
                "Allow something, PATTERN=read,write,watch or some of these,\n"
                "and perhaps max-keys=N or max-bytes=SIZE; several times",
                readers.text, several=True,
            ),
            Option(NO_PASSWORD, "", "Add a user who has none, but comes with a certificate"),
            Option(KEEP_OLD, "", "Leave the password before valid, too"),
            Option(DROP_OLD, "", "Leave only the newest password valid, and ask for none"),
        ),
        notes=("""\
user add <NAME> and user passwd <NAME> take the password from standard input; on a
terminal they ask for it, twice.  user can <NAME> <RIGHT> <KEY> says whether a user
may read, write or watch a key, or all of a pattern; status 1: no.  A running kvd
takes the file anew when it gets SIGHUP, and kvctl info quotas shows how much of
max-keys and max-bytes is taken.
Note: who may write a key deletes with it the keys that live with it (with=),
whatever the rules say of those.""",),
    ),
)  # fmt: skip
