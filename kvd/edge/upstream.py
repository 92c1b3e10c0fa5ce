"""Which daemon is followed, and how it is reached."""

import logging
import secrets
from collections.abc import Sequence
from pathlib import Path

from kvd.client import requests
from kvd.client.connection import Connection
from kvd.client.dialing import Addresses, check_address, parse_target
from kvd.client.errors import BadAddress
from kvd.client.limits import CONNECT_TIMEOUT, Limits
from kvd.client.login import login_of
from kvd.client.tls import tls_context
from kvd.edge.lines import Lines
from kvd.errors import ConnectionLost, Denied, NotAuthenticated, Refusal, StartError, Unavailable
from kvd.settings import Settings

logger = logging.getLogger("kvd.edge")

NEEDED = "edges"
"""The feature that a daemon must have to be followed."""


class Unfit(Unavailable):
    """The daemon there cannot be followed: it follows this one, is of an older version, or refuses who this edge is."""


class Upstream:
    """The daemons of one store, any of which will do.

    path: the ids of the edges between clients and the store, this one first.  facts: what INFO said last.
    failures: of each address why it could not be followed when that was last tried.
    """

    def __init__(self, settings: Settings) -> None:
        """Raises StartError."""
        self.addresses = settings.follow
        self.id = secrets.token_hex(4)
        self.path: tuple[str, ...] = (self.id,)
        self.facts: dict[str, str] = {}
        self.address = ""
        self.failures: dict[str, ConnectionLost | Unavailable] = {}
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

        Raises ConnectionLost, Unavailable, Unfit.
        """
        return Lines(await turn.first(self._open), silence)

    def is_hopeless(self) -> bool:
        """Whether none of them can be followed, for what time does not mend."""
        unfit = {address for address, failure in self.failures.items() if isinstance(failure, Unfit)}
        return unfit == {parse_target(address).address for address in self.addresses}

    def follows(self, address: str) -> None:
        """It is being followed."""
        self.failures.pop(address, None)

    def refused(self, address: str, error: Refusal) -> Unfit:
        """What to raise where a daemon does not let this edge follow."""
        return self._unfit(address, f"{address} refuses this edge ({error.code}): {error}")

    async def _open(self, address: str) -> Connection:
        try:
            connection = await Connection.open(address, self._limits.connect, self._limits.tls, self._limits.login)
            facts = await connection.begin(requests.info())
        except (ConnectionLost, Unavailable) as error:
            self.failures[address] = error
            raise
        except (NotAuthenticated, Denied) as error:
            # It is one of several, of which others may take this edge.
            raise self.refused(address, error) from None
        except Refusal as error:
            raise Unavailable(f"{address} refuses this edge ({error.code}): {error}") from None
        try:
            self._check(address, facts)
        except Unfit:
            await connection.close()
            raise
        return connection

    def _check(self, address: str, facts: dict[str, str]) -> None:
        path = facts.get("path", "").split()
        if self.id in path:
            why = "follows this daemon, by itself or through others: expected one that does not"
            raise self._unfit(address, f"{address} {why}")
        if NEEDED not in facts.get("features", "").split():
            raise self._unfit(address, f"{address} is a daemon of an older version, which cannot be followed")
        self.address, self.facts, self.path = address, facts, (self.id, *path)

    def _unfit(self, address: str, why: str) -> Unfit:
        if str(self.failures.get(address)) != why:
            logger.error("cannot follow: %s", why)
        self.failures[address] = Unfit(why)
        return Unfit(why)


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
