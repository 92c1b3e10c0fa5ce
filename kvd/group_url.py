"""The URL of servers that replicate each other, given by those who say which of them is the primary."""

from typing import NamedTuple
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

SENTINEL, CLUSTER = "sentinel", "cluster"
LEAST_SENTINELS = 3
"""A majority of fewer does not survive the loss of one."""

_PORTS = {SENTINEL: 26379, CLUSTER: 6379}
_OWN = ("sentinel_username", "sentinel_password")
"""Parameters of the query that are for the Sentinels alone."""


class GroupUrl(NamedTuple):
    """Such a URL, taken apart.

    kind: SENTINEL or CLUSTER.  nodes: hosts and ports of the Sentinels, or of some of the cluster's nodes.
    user: "user:password@" as it was written, or "".  sentinel_user: the same, of the Sentinels.
    name: of the primary, as the Sentinels have it.  query: what is for the library that connects.
    """

    kind: str
    scheme: str
    user: str
    sentinel_user: str
    nodes: tuple[tuple[str, int], ...]
    name: str
    database: str
    query: str

    @property
    def passwords(self) -> list[str]:
        """Those in it, as they were written, "" for none."""
        return [user.removesuffix("@").partition(":")[2] for user in (self.user, self.sentinel_user)]

    def of_data(self, host: str, port: int) -> str:
        """The URL of one server that holds data."""
        return self._url(self.user, host, port, self.database)

    def of_witness(self, host: str, port: int, *, as_data: bool = False) -> str:
        """The URL of one that says where the primary is.  as_data: with the credentials of those that hold data."""
        user = self.user if as_data or self.kind == CLUSTER else self.sentinel_user
        return self._url(user, host, port, "")

    def _url(self, user: str, host: str, port: int, database: str) -> str:
        host = f"[{host}]" if ":" in host else host
        return f"{self.scheme}://{user}{host}:{port}/{database}{'?' if self.query else ''}{self.query}"


def is_group(url: str) -> bool:
    """Whether a URL is meant to be one of a group."""
    scheme = url.partition("://")[0].lower()
    return scheme in {f"{one}+{kind}" for one in ("redis", "rediss") for kind in _PORTS}


def parse(url: str) -> GroupUrl:
    """A URL taken apart.  Raises ValueError that says what is wrong with it, and shows nothing of it."""
    scheme, _, rest = url.partition("://")
    scheme, _, kind = scheme.lower().partition("+")
    rest, _, query = rest.partition("?")
    places, _, path = rest.partition("/")
    user, at, hosts = places.rpartition("@")
    # What the library would not take.
    urlsplit(f"//{user}{at}host")
    given = dict(parse_qsl(query, strict_parsing=bool(query)))
    own = [given.pop(name, "") for name in _OWN]
    nodes = tuple(dict.fromkeys(_node(host, _PORTS[kind]) for host in hosts.split(",")))
    name, _, database = path.partition("/")
    if kind == CLUSTER:
        if path not in ("", "0"):
            raise ValueError("a cluster has no names and no databases: expected nothing after the nodes")
    elif not name:
        raise ValueError("it lacks the name that the Sentinels know the primary by: expected it after the Sentinels")
    elif database and not database.isdecimal():
        raise ValueError("what follows the name is no number of a database")
    elif len(nodes) < LEAST_SENTINELS:
        raise ValueError(
            f"it names {len(nodes)} of the Sentinels: expected at least three, for the majority of fewer does not "
            "survive the loss of one"
        )
    sentinel_user = f"{quote(own[0], safe='')}:{quote(own[1], safe='')}@" if own[1] else ""
    return GroupUrl(kind, scheme, user + at, sentinel_user, nodes, name, database, urlencode(given))


def _node(text: str, default_port: int) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    if not parts.hostname:
        raise ValueError("one of its hosts is missing: expected HOST:PORT,HOST:PORT,...")
    return parts.hostname, parts.port or default_port
