"""Who is connected to a daemon: what CLIENTS tells of each, and KICK.

A connection is called PROCESS-NUMBER, by the id of its process and how manieth it is there: a name that no other one of
the daemon has, in whatever order its processes are started again.  Each process knows its own connections; what it is
asked of all, it asks the others, a page at a time.
"""

import os
import time
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol
from urllib.parse import quote

from sortedcontainers import SortedDict

from kvd.requests import ClientName, ClientRange, Kick

PAGE = 100
"""Connections in one answer: with their patterns less than a pipe holds."""
SHOWN_PATTERNS, SHOWN_BYTES = 10, 256
"""Patterns of a watch that are told, and bytes of all of them together at the most."""
KICKED = "kicked", "an administrator has ended this connection"
"""Why a watch ends when KICK has ended its connection."""
SAFE = ":/@[]%*"
"""What stays as it is in a word that tells of a peer."""

Line = tuple[ClientName, bytes]
"""What is told of one connection."""
Question = ClientRange | Kick
Answer = list[Line] | bool
"""To a ClientRange the lines of a page, to a Kick whether there was such a connection."""


class Facts(NamedTuple):
    """What is known of a connection.

    address: as `peer.address_of` gives it.  user: "" for nobody.  requests: int, how many came.  held: int, bytes.
    patterns: that it watches.
    """

    address: str
    user: str
    requests: int
    held: int
    patterns: Sequence[bytes]


class Client(Protocol):
    """A connection."""

    def facts(self) -> Facts:
        """What is known of it now."""

    def kick(self) -> None:
        """End it."""


class Others(Protocol):
    """The other processes of the daemon."""

    async def ask(self, question: Question) -> Iterable[Answer]:
        """Their answers; nothing of one that has ended.  Raises Unavailable if one of them is silent."""


class NoOthers:
    """A process that is alone."""

    async def ask(self, question: Question) -> Iterable[Answer]:  # noqa: ARG002
        """See `Others`."""
        return ()


class Clients:
    """The connections of this process, and through `others` those of all."""

    def __init__(self, others: Others | None = None) -> None:
        self._others = others or NoOthers()
        self._process = os.getpid()
        self._count = 0
        self._all: SortedDict[ClientName, tuple[Client, int]] = SortedDict()

    def add(self, client: Client) -> ClientName:
        """It is connected, until `discard`; its name."""
        self._count += 1
        name = ClientName(self._process, self._count)
        self._all[name] = client, time.time_ns() // 1_000_000
        return name

    def discard(self, name: ClientName) -> None:
        """It is gone."""
        self._all.pop(name, None)

    async def page(self, wanted: ClientRange) -> list[Line]:
        """What is told of the next connections of the daemon, `limit` (PAGE at the most).  Raises Unavailable."""
        found = self._own(wanted)
        for more in await self._others.ask(wanted):
            assert isinstance(more, list)  # noqa: S101
            found += more
        return sorted(found)[: wanted.limit]

    async def kick(self, wanted: Kick) -> bool:
        """End a connection of the daemon; whether there was one.  Raises Unavailable."""
        if wanted.name.process == self._process:
            return self._end(wanted.name)
        return any(await self._others.ask(wanted))

    def answer(self, question: Question) -> Answer:
        """What another process asks."""
        return self._end(question.name) if isinstance(question, Kick) else self._own(question)

    def _own(self, wanted: ClientRange) -> list[Line]:
        names = self._all.irange(wanted.after, inclusive=(False, False)) if wanted.after else iter(self._all)
        return [(name, _line(name, *self._all[name])) for name, _ in zip(names, range(wanted.limit), strict=False)]

    def _end(self, name: ClientName) -> bool:
        found = self._all.get(name)
        if found:
            found[0].kick()
        return found is not None


def _line(name: ClientName, client: Client, since: int) -> bytes:
    """The item line's words."""
    facts = client.facts()
    known = {"address": facts.address, "user": facts.user}
    words = [bytes(name)]
    words += [f"{what}={quote(said, safe=SAFE) or '-'}".encode() for what, said in known.items()]
    words.append(b"since=%d requests=%d held=%d" % (since, facts.requests, facts.held))
    words.append(b"patterns=%d" % len(facts.patterns))
    left = SHOWN_BYTES
    for pattern in facts.patterns[:SHOWN_PATTERNS]:
        left -= len(pattern)
        if left >= 0:
            words.append(b"watch=" + pattern)
    return b" ".join(words)
