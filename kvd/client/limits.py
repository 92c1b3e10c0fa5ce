"""How a client connects, and how long it waits."""

import ssl
from typing import Any, NamedTuple

from kvd.client import arguments
from kvd.client.arguments import Seconds
from kvd.client.login import Login, login_of
from kvd.client.tls import File, tls_context

CONNECT_TIMEOUT = 5.0
"""Seconds."""
TIMEOUT = 30.0
"""Seconds of silence; a daemon answers within some 20, if only that its store is lost."""
LEASE = 10.0
"""Seconds: a holder that dies is waited for as long, and one that lives asks every third of them."""
RECONNECT = 30.0
"""Seconds: a daemon that is started again, or another one, is there within less."""


class Limits(NamedTuple):
    """How to connect, and how long to wait, in seconds.

    connect: for one daemon to answer a first PING.  silence: without a byte while one is due, None: for ever.
    reconnect: for a connection in place of one that was lost, 0: not at all.
    retry_uncertain: whether a write of unknown outcome is sent again.
    tls: None for a plain connection.  login: None for who has not to say who they are.
    """

    connect: float
    silence: float | None
    reconnect: float = 0
    retry_uncertain: bool = False
    tls: ssl.SSLContext | None = None
    login: Login | None = None

    def given(self) -> dict[str, Any]:
        """What a watch that connects in the same way is given, by name."""
        user, password = map(bytes.decode, self.login) if self.login else (None, None)
        return {
            "connect_timeout": self.connect, "timeout": self.silence, "tls": self.tls or False,
            "user": user, "password": password,
        }  # fmt: skip


def checked(
    connect_timeout: Seconds = CONNECT_TIMEOUT, timeout: Seconds | None = TIMEOUT, reconnect: Seconds = 0,
    retry_uncertain: bool = False, *, tls: bool | ssl.SSLContext = False, ca: File | None = None,
    cert: File | None = None, key: File | None = None, user: str | None = None, password: str | None = None,
) -> Limits:  # fmt: skip
    """The limits of a caller, given as `connect` takes them.  Raises TypeError, ValueError."""
    context, login = tls_context(tls, ca, cert, key), login_of(user, password)
    arguments.flag(retry_uncertain, "retry_uncertain")
    return Limits(
        arguments.patience(connect_timeout, "connect_timeout"),
        arguments.patience_or_none(timeout, "timeout"),
        arguments.duration(reconnect, "reconnect"),
        retry_uncertain,
        context,
        login,
    )
