"""A live copy, for the synchronous face."""

import ssl
from collections.abc import Sequence
from typing import Self

from kvd.client import arguments, limits
from kvd.client.arguments import Seconds
from kvd.client.dialing import Addresses
from kvd.client.faces import run
from kvd.client.following import Following
from kvd.client.limits import CONNECT_TIMEOUT, TIMEOUT
from kvd.client.login import login_of
from kvd.client.mirroring import Mirrored, Mirroring
from kvd.client.threads import ThreadFace
from kvd.client.tls import File, tls_context
from kvd.client.words import WatchOptions


class Mirror(Mirrored):
    """A mapping of the keys that match to their values, which is kept up to date through restarts and lost connections.

        with Mirror("127.0.0.1:5830", "config/*") as config:
            print(config["config/colour"])

    Entering it waits for the first copy, and raises Unreachable if no daemon answers.  Reading it asks nobody; a thread
    of its own keeps it up to date.  It is a
    little behind the store: `reach` waits until it is as far as somewhere.

    tls, ca, cert, key, user, password: as `connect` takes them.
    """

    def __init__(
        self,
        address: str | Sequence[str],
        *patterns: str,
        connect_timeout: Seconds = CONNECT_TIMEOUT,
        timeout: Seconds | None = TIMEOUT,
        tls: bool | ssl.SSLContext = False,
        ca: File | None = None,
        cert: File | None = None,
        key: File | None = None,
        user: str | None = None,
        password: str | None = None,
    ) -> None:
        face, login = ThreadFace(), login_of(user, password)
        waits = limits.checked(connect_timeout, timeout, tls=tls_context(tls, ca, cert, key), login=login)
        addresses, options = Addresses(arguments.addresses(address)), WatchOptions(batches=True)
        following = Following(face, addresses, waits, patterns, None, None, True, None, options)
        self._mirroring = Mirroring(face, following)

    def __enter__(self) -> Self:
        run(self._mirroring.open())
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Keep it up to date no longer; what was there stays."""
        run(self._mirroring.close())

    def reach(self, position: int | str, timeout: Seconds | None = None) -> None:
        """Wait until it has all changes up to a revision or position; raise TimeoutError, ConnectionLost."""
        run(self._mirroring.reach(arguments.place(position), arguments.patience_or_none(timeout, "timeout")))
