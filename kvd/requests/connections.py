"""Who is connected, and what the daemon tells of itself."""

from typing import NamedTuple

from kvd.requests.keys import Touched


class Auth(NamedTuple):
    """AUTH: a user's name and password; the password is not shown."""

    user: bytes
    password: bytes

    def touches(self) -> Touched:
        return ()

    def __repr__(self) -> str:
        return f"Auth(user={self.user!r})"


class ClientName(NamedTuple):
    """What a connection is called: the id of its process, and how manieth it is there."""

    process: int
    number: int

    def __bytes__(self) -> bytes:
        return b"%d-%d" % self

    def __str__(self) -> str:
        return f"{self.process}-{self.number}"


class ClientRange(NamedTuple):
    """CLIENTS: the connections after one (None: from the first on), `limit` (int) at the most, 0 for all."""

    after: ClientName | None = None
    limit: int = 0

    def touches(self) -> Touched:
        return ()


class Kick(NamedTuple):
    """KICK: the connection that is to end."""

    name: ClientName

    def touches(self) -> Touched:
        return ()


class Ping(NamedTuple):
    """PING: the text to give back, None for none."""

    text: bytes | None = None

    def touches(self) -> Touched:
        return ()


class Help(NamedTuple):
    """HELP: the verb in capitals, None for all."""

    verb: bytes | None = None

    def touches(self) -> Touched:
        return ()


class Info(NamedTuple):
    """INFO: the section of the metrics, "" for what a client needs to know."""

    section: str = ""

    def touches(self) -> Touched:
        return ()


class Nothing(NamedTuple):
    """Of verbs without arguments."""

    def touches(self) -> Touched:
        return ()
