"""A password that comes from standard input; on a terminal it is asked for, twice, and not shown."""

import getpass
import os

from kvd.access.users import LONGEST_PASSWORD, why_unusable
from kvd.cli.status import USAGE, Failure


def new_password(name: str) -> bytes:
    """Ask for a new password of a user.  Raises Failure."""
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
    try:
        return os.fsencode(getpass.getpass(prompt))
    except EOFError:
        raise Failure(USAGE, "no password was given") from None


def _read() -> bytes:
    """All of standard input, without the end of its line; Failure if it has several."""
    data = b""
    try:
        while piece := os.read(0, LONGEST_PASSWORD + 3 - len(data)):
            data += piece
    except OSError as error:
        raise Failure(USAGE, f"cannot read the password from standard input ({error.strerror})") from None
    return data.removesuffix(b"\n").removesuffix(b"\r")
