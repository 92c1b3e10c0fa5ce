"""Who a client is, for a daemon that has users."""

from typing import NamedTuple

from kvd.wire import words

LOGIN_TIMEOUT = 30.0
"""Seconds that a daemon may take for it: it makes hashes of passwords, and lets those wait who have failed."""


class Login(NamedTuple):
    """A user's name and password; the password is not shown."""

    user: bytes
    password: bytes

    def __repr__(self) -> str:
        return f"Login(user={self.user!r})"


def login_of(user: str | None, password: str | None) -> Login | None:
    """What was given; None: nothing.  Raises TypeError, and ValueError for what no user can have."""
    if user is None and password is None:
        return None
    if user is None or password is None:
        raise ValueError("user and password: one of them is given; expected both")
    if not (isinstance(user, str) and isinstance(password, str)):
        raise TypeError("user and password must be str")
    given = Login(user.encode(errors="surrogateescape"), password.encode(errors="surrogateescape"))
    if not words.is_user(given.user):
        raise ValueError("user: expected 1 to 64 letters, digits and . _ @ -")
    if why := words.why_no_password(given.password):
        raise ValueError(f"password: {why}")
    return given
