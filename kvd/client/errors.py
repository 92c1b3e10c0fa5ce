"""What goes wrong in a client, beside the refusals of kvd.errors."""

from kvd.errors import ConnectionLost, KvdError


class BadAddress(KvdError):
    """Not the address of a daemon."""


class Unreachable(ConnectionLost):
    """No daemon answers there; nothing was asked of it."""


class Conflict(KvdError):
    """A condition did not hold; revision: int, the key's present one, 0 if there is no such key."""

    def __init__(self, revision: int) -> None:
        super().__init__(f"the key's revision is {revision}" if revision else "there is no such key")
        self.revision = revision


class WatchEnded(KvdError):
    """The daemon ended a watch that was complete up to here.

    position: str.  code: str, `compacted`, `store` or `shutdown`.  text: str, for people.
    """

    def __init__(self, position: str, code: str, text: str) -> None:
        super().__init__(f"the watch ended at {position} ({code}): {text}")
        self.position, self.code, self.text = position, code, text
