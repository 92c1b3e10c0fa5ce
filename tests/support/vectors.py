"""Transcripts of conversations, as tests/vectors has them, and who plays them."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from typing import NamedTuple

from kvd.settings import OPTIONS, Settings, read
from tests.support.async_peers import AsyncPeer, connected
from tests.support.processes import PATIENCE, ROOT

VECTORS = sorted((ROOT / "tests/vectors").glob("*.txt"))
"""Those without users."""
CLOSED = "<closed>"
HALF_CLOSE, CLOSE = "<half-close>", "<close>"
STOP = "the daemon is told to stop"
SECONDS = r"(?:0|[1-9][0-9]{0,9})(?:\.[0-9]{1,3})?"
LARGE = 4099
"""Bytes of a piece of what would take too long byte by byte."""
_ITEMS = ("KEY", "PAIR", "PAIR64", "SIZE", "GONE", "COPY", "CHANGED", "INFO", "CLIENT", "HELP")
_PUSHED = ("CHANGE ", "PROGRESS ", "END ")
_LINE = re.compile(r"([CS])([2-9]?)([:~])(?: (.*))?")
_ESCAPE = re.compile(r"\\(?:([nrt\\])|x([0-9a-f]{2})|\{([1-9][0-9]*) ([^}]*)\})")
_CHARACTERS = {"n": b"\n", "r": b"\r", "t": b"\t", "\\": b"\\"}


class Step(NamedTuple):
    """One line of a transcript.

    sent: by the client, else expected by it.  peer: which connection, STOP for none.  raw: what is sent as it is, with
    no line end but its own, in the place of text.
    """

    number: int
    sent: bool
    peer: str
    text: str
    raw: bytes | None = None


def steps_of(lines: Iterable[str]) -> list[Step]:
    """Parse a transcript."""
    steps = []
    for number, line in enumerate(lines, 1):
        if not line or line.startswith(("#", "D: --")):
            continue
        if line == "D: stop":
            steps.append(Step(number, True, STOP, ""))
            continue
        match = _LINE.fullmatch(line)
        assert match, f"line {number} is not of a transcript: {line!r}"
        peer, text = match[2], match[4] or ""
        if match[3] == ":":
            steps.append(Step(number, match[1] == "C", peer, text))
        elif match[1] == "C":
            steps.append(Step(number, True, peer, text, unescaped(text)))
        else:
            *whole, rest = unescaped(text).split(b"\n")
            assert not rest, f"line {number}: what is expected ends in \\n"
            steps += [Step(number, False, peer, one.decode()) for one in whole]
    return steps


def options_of(lines: Iterable[str]) -> list[str]:
    """Those that the daemon is started with."""
    return [word for line in lines if line.startswith("D: --") for word in line.split(" ")[1:]]


def settings_of(options: list[str]) -> Settings:
    """As the command line gives them."""
    given = dict(zip(options[::2], options[1::2], strict=True))
    return read({option.name: given.get(option.name) for option in OPTIONS}, {})


def unescaped(text: str) -> bytes:
    """What `C~` and `S~` stand for."""
    data, place = b"", 0
    for match in _ESCAPE.finditer(text):
        before = text[place : match.start()]
        assert "\\" not in before, f"no such escape: {text!r}"
        character, byte, count, repeated = match.groups()
        data += before.encode()
        if count:
            data += int(count) * unescaped(repeated)
        else:
            data += _CHARACTERS[character] if character else bytes.fromhex(byte)
        place = match.end()
    assert "\\" not in text[place:], f"no such escape: {text!r}"
    return data + text[place:].encode()


Open = Callable[[], Awaitable[AsyncPeer]]


class Player:
    """Plays a transcript against a daemon."""

    def __init__(
        self, connect: Open, end: str = "\n", pieces: bool = False, *, stop: Callable[[], None] | None = None,
        login: str = "",
    ) -> None:  # fmt: skip
        """end: str, of each line that is sent.  stop: tells the daemon to.

        pieces: whether it is sent byte by byte, and what is large in pieces.
        login: str, the line with which the player itself says who it is, if it has to.
        """
        self._login = login
        self._connect = connect
        self._stop = stop
        self._end = end
        self._pieces = pieces
        self._peers: dict[str, AsyncPeer] = {}
        self._shut: set[str] = set()
        self._amid: set[str] = set()
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
                await self._say(step)
            else:
                async with asyncio.timeout(PATIENCE):
                    await self._expect(step)

    async def finish(self) -> None:
        """No further line may have come on any connection that can still be asked."""
        assert not self._early
        for name, peer in self._peers.items():
            if name not in self._shut:
                self._send(name, b"PING end\n")
                line = await peer.line()
                while line.startswith("PROGRESS "):
                    line = await peer.line()
                assert line == "OK end"

    async def _say(self, step: Step) -> None:
        if step.raw is not None:
            store = (await self._with_store("@STORE")).encode() if b"@STORE" in step.raw else b""
            self._send(step.peer, step.raw.replace(b"@STORE", store))
        elif step.text == HALF_CLOSE:
            self._peers[step.peer].shut_down()
            self._shut.add(step.peer)
        elif step.text == CLOSE:
            await self._peers.pop(step.peer).close()
        else:
            self._send(step.peer, (await self._with_store(step.text) + self._end).encode())

    def _send(self, name: str, data: bytes) -> None:
        size = len(data) if not self._pieces else 1 if len(data) < LARGE else LARGE
        for start in range(0, len(data), size):
            self._peers[name].send(data[start : start + size])

    async def _expect(self, step: Step) -> None:
        wanted = _matcher(await self._with_store(step.text))
        for peer, line in self._early:
            if peer == step.peer and wanted(line):
                self._early.remove((peer, line))
                return
        line = await self._peers[step.peer].line()
        while step.peer not in self._amid and self._is_kept(step, line, wanted):
            line = await self._peers[step.peer].line()
        if step.text == CLOSED:
            assert line == "", f"line {step.number}: the connection goes on with {line!r}"
            del self._peers[step.peer]
            self._shut.discard(step.peer)
            return
        assert wanted(line), f"line {step.number}: wanted {step.text[:200]!r}, got {line[:200]!r}"
        self._amid.discard(step.peer)
        if line.partition(" ")[0] in _ITEMS:
            self._amid.add(step.peer)

    def _is_kept(self, step: Step, line: str, wanted: Callable[[str], object]) -> bool:
        """Whether a line that comes between two replies is not the one that is to come now."""
        if line.startswith("PROGRESS "):
            return not wanted(line)
        if line.startswith("CHANGE ") and not step.text.startswith(_PUSHED):
            self._early.append((step.peer, line))
            return True
        return False

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


def _matcher(text: str) -> Callable[[str], object]:
    """Whether a line is what an expected one, which may have marks, stands for."""
    if not text.endswith(" ...") and "SECONDS" not in text:
        return text.__eq__
    pattern = re.escape(text).replace(r"\ \.\.\.", "( .*)?").replace("SECONDS", SECONDS)
    return re.compile(pattern).fullmatch


def tcp(port: int, stack: AsyncExitStack) -> Open:
    """Opens connections to a daemon, for as long as the stack."""

    async def connect() -> AsyncPeer:
        return await stack.enter_async_context(connected(port))

    return connect
