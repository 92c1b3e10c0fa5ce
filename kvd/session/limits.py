"""The limits of connections: how large each is, what is said when it is reached, and where that is counted."""

from enum import Enum
from typing import NamedTuple

from kvd.counts import Counts
from kvd.errors import LimitReached
from kvd.session.complaints import Complaints
from kvd.settings import Settings


class Limit(Enum):
    """One limit.  Its value: the name of its count in `counts.Counts`, and what is said, with its size in braces."""

    MEMORY = (
        "limited_memory", "connections hold more than they may together (--connection-memory), and this one the most"
    )  # fmt: skip
    LINE = "limited_line", "a line must end within {line:g} s (--line-time)"
    TRANSACTION = (
        "limited_transaction",
        "a transaction must end within {transaction:g} s of its BEGIN (--transaction-time); nothing was done",
    )
    IDLE = "limited_idle", "nothing was asked for {idle:g} s (--idle-time)"
    LOGIN = "limited_login", "AUTH must succeed within {login:g} s (--login-time)"
    HANDSHAKES = (
        "limited_handshakes",
        "a TLS handshake must end within {handshake:g} s (--handshake-time), and sooner where others need its place "
        "(--handshakes)",
    )
    ADDRESS = (
        "limited_address", "there are too many connections from this address (--address-connections); close some"
    )  # fmt: skip
    REQUESTS = (
        "limited_requests", "too many requests are in flight (--requests-in-flight); nothing was done; try again later"
    )  # fmt: skip
    BYTES = (
        "limited_requests",
        "the store has as much to do as connections may leave to it (--connection-memory); nothing was done; try again "
        "later",
    )  # fmt: skip
    PATTERNS = "limited_patterns", "expected at most {patterns} patterns (--watch-patterns)"
    QUOTA = "limited_quota", "there may be no more keys or bytes (max-keys, max-bytes)"

    @property
    def count(self) -> str:
        """The name of its count."""
        return self.value[0]

    @property
    def text(self) -> str:
        """What is said, with its size in braces."""
        return self.value[1]


class Sizes(NamedTuple):
    """How large the limits are, for one process; 0: there is none.

    memory: bytes that its connections may hold together.  line, transaction, idle, login, handshake: seconds.
    handshakes: of TLS at once.  address: connections of one address.  requests: those at the store at once.  patterns:
    of a watch.
    """

    memory: int = 0
    line: float = 0
    transaction: float = 0
    idle: float = 0
    login: float = 0
    handshake: float = 0
    handshakes: int = 0
    address: int = 0
    requests: int = 0
    patterns: int = 0

    @classmethod
    def of(cls, settings: Settings) -> "Sizes":
        """Each process has its part of what is for the daemon."""
        workers = settings.workers
        return cls(
            settings.memory.held_by_each(workers), settings.line_time, settings.transaction_time, settings.idle_time,
            settings.login_time, settings.handshake_time, -(-settings.handshakes // workers),
            -(-settings.address_connections // workers),
            -(-settings.requests_in_flight // workers), settings.watch_patterns,
        )  # fmt: skip

    @property
    def times(self) -> list[tuple[Limit, float]]:
        """The limits of time that there are, and their seconds."""
        times = {
            Limit.LINE: self.line, Limit.TRANSACTION: self.transaction, Limit.IDLE: self.idle, Limit.LOGIN: self.login,
        }  # fmt: skip
        return [(limit, seconds) for limit, seconds in times.items() if seconds]


class Limits:
    """The limits, for all sessions of one process."""

    def __init__(self, sizes: Sizes, counts: Counts, complaints: Complaints) -> None:
        self.sizes = sizes
        self._counts = counts
        self._complaints = complaints

    def reached(self, limit: Limit, times: int = 1) -> LimitReached:
        """Count it, so many times; what a peer is to be told."""
        setattr(self._counts, limit.count, getattr(self._counts, limit.count) + times)
        return LimitReached(limit.text.format(**self.sizes._asdict()))

    def ended(self, peer: str, limit: LimitReached, **known: object) -> None:
        """Have the log say why a connection was ended.  known: what goes with it."""
        self._complaints.limited.write(peer, limit, **known)
