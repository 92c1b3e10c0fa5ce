"""Transcripts of conversations, as tests/vectors has them, and who plays them."""

import re
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from typing import NamedTuple

from tests.support.async_peers import AsyncPeer, connected

CLOSED = "<closed>"
STOP = "the daemon is told to stop"
SECONDS = r"(?:0|[1-9][0-9]{0,9})(?:\.[0-9]{1,3})?"
_PUSHED = ("CHANGE ", "END ")


class Step(NamedTuple):
    """One line of a transcript.  sent: by the client, else expected by it; peer: which connection, STOP for none."""

    number: int
    sent: bool
    peer: str
    text: str


def steps_of(lines: Iterable[str]) -> list[Step]:
    """Parse a transcript."""
    steps = []
    for number, line in enumerate(lines, 1):
        if not line or line.startswith("#"):
            continue
        if line == "D: stop":
            steps.append(Step(number, True, STOP, ""))
            continue
        match = re.fullmatch(r"([CS])([2-9]?):(?: (.*))?", line)
        assert match, f"line {number} is not of a transcript: {line!r}"
        steps.append(Step(number, match[1] == "C", match[2], match[3] or ""))
    return steps


Open = Callable[[], Awaitable[AsyncPeer]]


class Player:
    """Plays a transcript against a daemon."""

    def __init__(
        self, connect: Open, end: str = "\n", pieces: bool = False, *, stop: Callable[[], None] | None = None,
        login: str = "",
    ) -> None:  # fmt: skip
        """end: str, of each line that is sent.  pieces: whether it is sent byte by byte.  stop: tells the daemon to.

        login: str, the line with which the player itself says who it is, if it has to.
        """
        self._login = login
        self._connect = connect
        self._stop = stop
        self._end = end
        self._pieces = pieces
        self._peers: dict[str, AsyncPeer] = {}
        self._early: list[tuple[str, str]] = []
        self._store = ""

    async def play(self, steps: Iterable[Step]) -> None:
        """Fails at the first line that is not as expected."""
        for step in steps:
            if step.peer == STOP:
                assert self._stop
                self._stop()
                continue
            if step.peer not in self._peers:
                self._peers[step.peer] = await self._connect()
            if step.sent:
                self._send(step.peer, await self._with_store(step.text))
            else:
                await self._expect(step)

    async def finish(self) -> None:
        """No further line may have come on any open connection."""
        assert not self._early
        for name, peer in self._peers.items():
            self._send(name, "PING end")
            assert await peer.line() == "OK end"

    def _send(self, name: str, line: str) -> None:
        data = (line + self._end).encode()
        for piece in [bytes([byte]) for byte in data] if self._pieces else [data]:
            self._peers[name].send(piece)

    async def _expect(self, step: Step) -> None:
        wanted = re.escape(await self._with_store(step.text)).replace(r"\ \.\.\.", "( .*)?")
        wanted = wanted.replace("SECONDS", SECONDS)
        for peer, line in self._early:
            if peer == step.peer and re.fullmatch(wanted, line):
                self._early.remove((peer, line))
                return
        line = await self._peers[step.peer].line()
        while line.startswith("CHANGE ") and not step.text.startswith(_PUSHED):
            self._early.append((step.peer, line))
            line = await self._peers[step.peer].line()
        if step.text == CLOSED:
            assert line == "", f"line {step.number}: the connection goes on"
            del self._peers[step.peer]
        else:
            assert re.fullmatch(wanted, line), f"line {step.number}: wanted {step.text!r}, got {line!r}"

    async def _with_store(self, text: str) -> str:
        if "@STORE" not in text:
            return text
        self._store = self._store or await self._ask_store()
        return text.replace("@STORE", f"@{self._store}")

    async def _ask_store(self) -> str:
        peer = await self._connect()
        if self._login:
            assert await peer.ask(self._login) == "OK"
        peer.send("INFO\n")
        store = ""
        while (line := await peer.line()) != "OK":
            store = line.removeprefix("INFO store ") if line.startswith("INFO store ") else store
        return store


def tcp(port: int, stack: AsyncExitStack) -> Open:
    """Opens connections to a daemon, for as long as the stack."""

    async def connect() -> AsyncPeer:
        return await stack.enter_async_context(connected(port))

    return connect
