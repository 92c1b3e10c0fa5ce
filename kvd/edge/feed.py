"""The feed: one FOLLOW of everything keeps the copy up to date, and hands each change to the hub, in order, once.

When the upstream is lost it goes on at the next address, from where it was: watchers notice nothing.  When the history
was replaced they are all told, and the copy is made anew.
"""

import asyncio
import logging
from collections.abc import Callable

from kvd.backoff import Backoff
from kvd.client.errors import ProtocolError, TimedOut
from kvd.edge.clock import Clock
from kvd.edge.copy import Copy
from kvd.edge.freshness import Freshness
from kvd.edge.lines import Lines
from kvd.edge.parsing import OPTIONS, Parser
from kvd.edge.pipe import position_of
from kvd.edge.relaying import refusal_of
from kvd.edge.upstream import Unfit, Upstream
from kvd.errors import ConnectionLost, Denied, KvdError, NotAuthenticated
from kvd.model import Position
from kvd.watch.hub import WHY_ALL_END, Hub

logger = logging.getLogger("kvd.edge")

PUBLISH_CHANGES = 1000
"""Changes that are handed on before others have their turn."""
LEAST_BEATS = 4
"""PROGRESS lines in the time after which a silent upstream is lost."""


class TooLarge(KvdError):
    """The copy takes more memory than it may."""


class Feed:
    """Keep `run` running; `join` returns when there is a copy.

    copy: the keys.  position: of the copy, None before there is one.
    silent: called with the address of an upstream that says nothing any more; to be set.
    """

    def __init__(self, upstream: Upstream, freshness: Freshness, clock: Clock, most: int) -> None:
        """most: bytes that the copy may take, 0 for any number."""
        self._upstream = upstream
        self._turn = upstream.turn()
        self._freshness = freshness
        self._clock = clock
        self._most = most
        self._lines: Lines | None = None
        self._parser: Parser | None = None
        self._coming: Copy | None = None
        self._copied = asyncio.Event()
        self._reason = ""
        self.failure: KvdError | None = None
        self.silent: Callable[[str], None] = lambda _: None
        self.copy = Copy()
        self.position: Position | None = None

    @property
    def keys_so_far(self) -> int:
        """Of a copy that is being made."""
        return len(self._coming) if self._coming else 0

    @property
    def _hub(self) -> Hub:
        return self._freshness.hub

    async def join(self) -> None:
        """See `session.watching.Log`."""
        await self._copied.wait()

    def leave(self) -> None:
        """See `session.watching.Log`; it follows in any case."""

    async def run(self) -> None:
        """Follow until cancelled."""
        backoff = Backoff(jitter=True)
        while True:
            try:
                lines = self._lines = await self._upstream.connect(self._turn, self._freshness.patience)
                try:
                    await self._follow(lines, backoff)
                except TimedOut:
                    self.silent(lines.address)
                    raise
                except (NotAuthenticated, Denied) as error:
                    raise self._upstream.refused(lines.address, error) from None
                finally:
                    self._lines = self._parser = self._coming = None
                    await lines.close()
            except TooLarge as error:
                if str(error) != str(self.failure):
                    logger.error("cannot follow: %s", error)
                self.failure = error
            except Unfit as error:
                self.failure = error
            except (KvdError, ValueError, IndexError) as error:
                logger.log(logging.WARNING if backoff.is_fresh else logging.DEBUG, "lost the upstream: %s", error)
                self.failure = error if isinstance(error, KvdError) else ProtocolError(f"unexpected line ({error})")
            await asyncio.sleep(backoff.next())

    def leave_behind(self) -> str:
        """Follow another upstream, if there is one and this one is not just sending something; the address, or ""."""
        lines, parser = self._lines, self._parser
        if len(self._upstream.addresses) == 1 or not (lines and parser) or lines.is_amid or parser.is_amid:
            return ""
        lines.leave()
        return lines.address

    async def _follow(self, lines: Lines, backoff: Backoff) -> None:
        parser = Parser(self._clock)
        place = bytes(self.position) if self.position else b"-"
        beat = max(0.05, min(1.0, self._freshness.patience / LEAST_BEATS))
        lines.send(b"PROGRESS %.3f\nFOLLOW %b %b *\n" % (beat, place, OPTIONS))
        replies = 0
        while True:
            for line in await lines.read():
                word, _, rest = line.partition(b" ")
                take = parser.lines.get(word)
                if take:
                    take(rest)
                    if len(parser.changes) >= PUBLISH_CHANGES:
                        self._publish(parser)
                        await asyncio.sleep(0)
                elif word == b"COPY":
                    self._begin_copy(parser, rest.decode())
                elif word == b"OK":
                    replies += 1
                    if replies == 2:
                        self._begin(parser, line)
                        self._parser = parser
                        backoff.reset()
                        self._upstream.follows(lines.address)
                        logger.info("follows %s at %s", lines.address, rest.decode())
                elif word in (b"END", b"ERR"):
                    self._end(word, rest)
            self._publish(parser)
            self._check_size(parser)

    def _publish(self, parser: Parser) -> None:
        changes = parser.take()
        if changes and self.position:
            self.copy.apply(changes)
            self.position = Position(changes[-1].revision, self.position.store)
            self._hub.publish(self.position.store, changes)

    def _check_size(self, parser: Parser) -> None:
        """Raises TooLarge; then nothing is left of it."""
        size = (parser.copy or self.copy).size
        if self._most and size > self._most:
            self._forget()
            self._hub.end_all("compacted", "this daemon has no room for a copy of the store")
            raise TooLarge(f"the copy takes {size} bytes and more, and may take {self._most}: --max-memory")

    def _forget(self) -> None:
        self._freshness.doubt()
        self.copy, self.position = Copy(), None
        self._copied.clear()

    def _begin_copy(self, parser: Parser, reason: str) -> None:
        self._reason = "compacted" if reason == "compacted" else "store"
        if self._reason == "store":
            self._lose_history()
        self._coming = parser.copy = Copy()
        parser.copy.begin()

    def _lose_history(self) -> None:
        """What is here is of no more use, and nobody is to see it."""
        if self.position:
            self._freshness.doubt()
            self._hub.end_all("store", WHY_ALL_END["store"])

    def _begin(self, parser: Parser, line: bytes) -> None:
        """What follows are changes after a position, which the copy has."""
        position = position_of(line)
        if position is None:
            raise ProtocolError("expected a position")
        if parser.copy is None:
            return
        parser.copy.end()
        self._coming = None
        if self.position:
            self._hub.end_all(self._reason, WHY_ALL_END[self._reason])
        self.copy, parser.copy = parser.copy, None
        self.position = position
        self._hub.start(position)
        self._copied.set()

    def _end(self, word: bytes, rest: bytes) -> None:
        """The watch is over, or was refused.  Raises ConnectionLost, Refusal."""
        code = rest.split(b" ")[1 if word == b"END" else 0]
        if word == b"END" and code == b"store":
            self._lose_history()
        if refusal := refusal_of(word + b" " + rest):
            raise refusal
        raise ConnectionLost(f"{word.decode()} {rest.decode()}")

    def attach(self, hub: Hub) -> None:
        """Hand changes to this hub from now on."""
        self._freshness.hub = hub
        if self.position:
            hub.start(self.position)
