"""Passwords: one for a daemon, and a new one that comes from standard input, or is asked for, twice, and not shown."""

import os
from pathlib import Path
from typing import Any

from kvd.cli.status import USAGE, Failure

VARIABLE = "KVCTL_PASSWORD"


def login(args: dict[str, Any]) -> dict[str, str]:
    """Who says so with --user, and the password: never an argument, which others see.  Raises Failure."""
    user, path = args["--user"], args["--password-file"]
    if user is None:
        if path is not None:
            raise Failure(USAGE, "--password-file: whose password is it? expected --user NAME beside it")
        return {}
    from kvd.access.users import NAME_RULE, is_name, why_unusable  # for those alone who log in

    password = os.environ.get(VARIABLE, "") if path is None else _first_line(path)
    if not password:
        raise Failure(USAGE, f"--user: no password: expected it in {VARIABLE}, or --password-file FILE")
    if not is_name(user):
        raise Failure(USAGE, f"--user: invalid name {user!a}: {NAME_RULE}")
    if why := why_unusable(os.fsencode(password)):
        raise Failure(USAGE, f"the password cannot be used: {why}")
    return {"user": user, "password": password}


def _first_line(path: str) -> str:
    from kvd.access.users import LONGEST_PASSWORD

    try:
        with Path(path).open("rb") as opened:
            line = opened.readline(LONGEST_PASSWORD + 3)
    except OSError as error:
        raise Failure(USAGE, f"--password-file: cannot read {path!r} ({error.strerror})") from None
    return os.fsdecode(line.removesuffix(b"\n").removesuffix(b"\r"))


def new_password(name: str) -> bytes:
    """Ask for a new password of a user.  Raises Failure."""
    from kvd.access.users import why_unusable

    if os.isatty(0):
        password = _asked(f"new password of {name}: ")
        if _asked("the same again: ") != password:
            raise Failure(USAGE, "the two passwords differ; nothing was changed")
    else:
        password = _read()
    if why := why_unusable(password):
        raise Failure(USAGE, f"the password cannot be used: {why}")
    return password


def _asked(prompt: str) -> bytes:
    import getpass

    try:
        return os.fsencode(getpass.getpass(prompt))
    except EOFError:
        raise Failure(USAGE, "no password was given") from None


def _read() -> bytes:
    """All of standard input, without the end of its line; Failure if it has several."""
    from kvd.access.users import LONGEST_PASSWORD

    data = b""
    try:
        while piece := os.read(0, LONGEST_PASSWORD + 3 - len(data)):
            data += piece
    except OSError as error:
        raise Failure(USAGE, f"cannot read the password from standard input ({error.strerror})") from None
    password = data.removesuffix(b"\n").removesuffix(b"\r")
    if b"\n" in password or b"\r" in password:
        raise Failure(
            USAGE, "standard input has several lines: expected one password, of one line; nothing was changed"
        )
    return password
