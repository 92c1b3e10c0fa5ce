"""What goes wrong in a client, beside the refusals of kvd.errors."""

from kvd.errors import ConnectionLost, KvdError, Uncertain

SHOWN = 60
"""Characters of what a stranger sent that a message repeats."""


class BadAddress(KvdError):
    """Not the address of a daemon."""


class Unreachable(ConnectionLost):
    """No daemon answers there; nothing was asked of it.

    refused: bool, nothing listens there: the machine refused the connection.  address: str, with its port; the last
    one of several, which the text tells all of.
    tls: bool, whether TLS was to be spoken.
    """

    def __init__(self, text: str, *, refused: bool = False, address: str = "", tls: bool = False) -> None:
        super().__init__(text)
        self.refused, self.address, self.tls = refused, address, tls


class TimedOut(ConnectionLost):
    """The daemon was silent for too long; the connection is closed."""


class TlsFailed(ConnectionLost):
    """The connection ended by an error of TLS, such as that the daemon wants a certificate."""


class ProtocolError(ConnectionLost):
    """The daemon sent what protocol.txt does not allow; the connection is closed."""


class Conflict(KvdError):
    """A condition did not hold, and nothing was changed.

    revision: int, the key's present one, 0 if there is no such key.  key: str, of a transaction the key whose condition
    it is; "" otherwise.
    """

    def __init__(self, revision: int, key: str = "") -> None:
        super().__init__(f"{key or 'the key'}'s revision is {revision}" if revision else _no_such(key))
        self.revision, self.key = revision, key


def _no_such(key: str) -> str:
    return f"there is no key {key}" if key else "there is no such key"


class WatchEnded(KvdError):
    """The daemon ended a watch that was complete up to here.

    position: str.  code: str, `compacted`, `store` or `shutdown`; after another one a client begins again.  text: str,
    for people.
    """

    def __init__(self, position: str, code: str, text: str, retry: float | None = None) -> None:
        super().__init__(f"the watch ended at {position} ({code}): {text}")
        self.position, self.code, self.text, self.retry = position, code, text, retry


class LeaseLost(KvdError):
    """A lease, or a lock, is over before it was given back: it could not be renewed in time, or somebody deleted it."""


def lost_at(address: str, why: ConnectionLost) -> ConnectionLost:
    """Why nothing more comes from there: an error of its own for each who asks."""
    return type(why)(f"lost kvd at {address} ({why})")


def shown(data: bytes | str) -> str:
    """What somebody else sent, quoted for a message: escaped, in one line, and not too long."""
    text = ascii(data[:SHOWN]).removeprefix("b")
    return text if len(data) <= SHOWN and len(text) <= 2 * SHOWN else f"{text[: 2 * SHOWN]}... ({len(data)} in all)"


def uncertain(lost: ConnectionLost) -> Uncertain:
    """What a write raises whose reply did not come."""
    return Uncertain(f"{lost}; the write may have been done, or not")
