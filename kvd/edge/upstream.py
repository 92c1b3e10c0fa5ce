"""Which daemon is followed, and how it is reached."""

import logging
import secrets
from collections.abc import Sequence
from pathlib import Path

from kvd.client import requests
from kvd.client.connection import Connection
from kvd.client.dialing import Addresses, check_address
from kvd.client.errors import BadAddress
from kvd.client.limits import CONNECT_TIMEOUT, Limits
from kvd.client.login import login_of
from kvd.client.tls import tls_context
from kvd.edge.lines import Lines
from kvd.errors import StartError, Unavailable
from kvd.settings import Settings

logger = logging.getLogger("kvd.edge")

NEEDED = "edges"
"""The feature that a daemon must have to be followed."""


class Unfit(Unavailable):
    """The daemon there is none that can be followed: it follows this one, or is of an older version."""


class Upstream:
    """The daemons of one store, any of which will do.

    path: the ids of the edges between clients and the store, this one first.  facts: what INFO said last.
    """

    def __init__(self, settings: Settings) -> None:
        """Raises StartError."""
        self.addresses = settings.follow
        self.id = secrets.token_hex(4)
        self.path: tuple[str, ...] = (self.id,)
        self.facts: dict[str, str] = {}
        self.address = ""
        self._told = ""
        self._limits = _limits(settings)
        try:
            for address in self.addresses:
                check_address(address)
        except BadAddress as error:
            raise StartError(f"--follow: {error}") from None

    def turn(self) -> Addresses:
        """The addresses, for one who tries one after the other."""
        return Addresses(self.addresses)

    async def connect(self, turn: Addresses, silence: float) -> Lines:
        """A connection to one of them that can be followed.  silence: seconds after which it is lost.

        Raises ConnectionLost, Refusal, Unfit.
        """
        return Lines(await turn.first(self._open), silence)

    async def _open(self, address: str) -> Connection:
        connection = await Connection.open(address, self._limits.connect, self._limits.tls, self._limits.login)
        facts = await connection.begin(requests.info())
        try:
            self._check(address, facts)
        except Unfit as error:
            # Here, for it may be one of several.
            if str(error) != self._told:
                self._told = str(error)
                logger.error("cannot follow: %s", error)
            await connection.close()
            raise
        return connection

    def _check(self, address: str, facts: dict[str, str]) -> None:
        path = facts.get("path", "").split()
        if self.id in path:
            raise Unfit(f"{address} follows this daemon, by itself or through others: expected one that does not")
        if NEEDED not in facts.get("features", "").split():
            raise Unfit(f"{address} is a daemon of an older version, which cannot be followed")
        self._told = ""
        self.address, self.facts, self.path = address, facts, (self.id, *path)


def _limits(settings: Settings) -> Limits:
    try:
        tls = tls_context(False, settings.follow_ca or None, settings.follow_cert or None, settings.follow_key or None)
        login = login_of(settings.follow_user or None, _password(settings.follow_password_file))
    except ValueError as error:
        raise StartError(f"--follow: {error}") from None
    return Limits(CONNECT_TIMEOUT, None, tls=tls, login=login)


def _password(file: str) -> str | None:
    if not file:
        return None
    try:
        return Path(file).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, ValueError) as error:
        raise StartError(f"--follow-password-file: cannot read {file!r}: {error}") from None


def shown(addresses: Sequence[str]) -> str:
    """Addresses, for people."""
    return ", ".join(addresses)
