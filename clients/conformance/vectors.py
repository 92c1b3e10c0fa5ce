"""Rules that are transcripts: the client says what it can say of each, the kit's own connections say the rest."""

import asyncio
import base64
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

from adapter import Adapter, Answer, Event, Wrong, members_of
from case import TIMEOUT, Rule, must
from transcript import Step, is_as_expected, moved_reply, moved_request, operation, steps_of, unescaped

PATIENCE = 10.0  # seconds for a line of the daemon
LONGEST_LINE = 1 << 22  # bytes: more than any line of a transcript has
STATUS_WORDS = ("OK", "OK64", "NONE", "CONFLICT", "ERR")
PUSHED = ("CHANGE ", "PROGRESS ", "END ")


def rules(paths: list[Path], address: "asyncio.Future[str]") -> list[Rule]:
    """One a file; they are played one after another, for each wants an empty store."""
    turn = asyncio.Lock()
    made = []
    for path in paths:
        steps = steps_of(path.read_text(encoding="utf-8").split("\n"))
        if steps is not None:
            says = f"The conversation of {path} holds."
            made.append(Rule(f"vectors/{path.stem}", says, partial(_play, steps, address, turn)))
    return made


async def _play(steps: list[Step], address: "asyncio.Future[str]", turn: asyncio.Lock, command: list[str]) -> str:
    async with turn, AsyncExitStack() as stack:
        player = Player(await address, command, stack)
        await player.begin()
        for step in steps:
            try:
                await player.play(step, steps)
            except Wrong as wrong:
                raise Wrong(f"line {step.number}, {step.text!r}: {wrong}") from None
        return f"{player.said} requests by the client, {player.others} by the kit"


class Wire:
    """A connection of the kit's own."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    def send(self, line: str) -> None:
        self.send_bytes(f"{line}\n".encode())

    def send_bytes(self, data: bytes) -> None:
        self._writer.write(data)

    def shut_down(self) -> None:
        self._writer.write_eof()

    async def line(self) -> str:
        """The next line, or "" where the connection has ended."""
        try:
            return (await asyncio.wait_for(self._reader.readline(), PATIENCE)).decode().removesuffix("\n")
        except TimeoutError:
            raise Wrong(f"no line came within {PATIENCE:g} seconds") from None

    async def all(self, request: str) -> list[str]:
        """The lines that answer a request, outside any watch."""
        self.send(request)
        lines = [await self.line()]
        while lines[-1].partition(" ")[0] not in STATUS_WORDS:
            lines.append(await self.line())
        return lines

    def close(self) -> None:
        self._writer.close()


class Player:
    """Plays a transcript on a daemon and with a client."""

    def __init__(self, address: str, command: list[str], stack: AsyncExitStack) -> None:
        self._address, self._command, self._stack = address, command, stack
        self._wires: dict[str, Wire] = {}
        self._asked: dict[str, list[str]] = {}  # the requests of each connection whose status line is due
        self._early: list[tuple[str, str]] = []
        self._told: list[tuple[str, str]] = []  # lines that stand for the client's answers
        self._followers: dict[str, Adapter] = {}
        self._queued = False
        self.said = self.others = 0

    async def begin(self) -> None:
        """Find the store empty, and note where it is."""
        wire = await self._connect()
        info = dict(line.split(" ", 2)[1:] for line in (await wire.all("INFO"))[:-1])
        if (await wire.all("COUNT"))[-1] != "OK 0":
            raise Wrong(f"the store of {self._address} is not empty: the vectors want one of their own")
        self._store, self._base = info["store"], int(info["revision"])
        self._stack.push_async_callback(self._clean)
        self._client = await self._adapter()

    async def play(self, step: Step, steps: list[Step]) -> None:
        if step.sent and (step.raw or step.text in ("<half-close>", "<close>")):
            await self._act(step)
        elif not step.sent:
            await (self._expect_event(step) if step.peer in self._followers else self._expect(step))
        elif self._only_follows(step.peer, steps):
            await self._follow(step)
        else:
            await self._send(step, steps)

    async def _act(self, step: Step) -> None:
        """What no client can say."""
        if step.peer not in self._wires:
            self._wires[step.peer] = await self._connect()
        self.others += 1
        wire = self._wires[step.peer]
        if step.raw:
            text = moved_request(step.text, self._base).replace("@STORE", f"@{self._store}")
            data = unescaped(text)
            self._asked.setdefault(step.peer, []).extend(data.decode(errors="replace").split("\n")[:-1])
            wire.send_bytes(data)
        elif step.text == "<half-close>":
            wire.shut_down()
        else:
            self._asked.pop(step.peer, None)
            self._wires.pop(step.peer).close()

    async def _send(self, step: Step, steps: list[Step]) -> None:
        text = moved_request(step.text, self._base).replace("@STORE", f"@{self._store}")
        self._asked.setdefault(step.peer, []).append(text)
        reply = next((s.text for s in steps if s.number > step.number and s.peer == step.peer and not s.sent), "")
        closed = any(s.peer == step.peer and s.text == "<closed>" for s in steps)
        asked = None if self._queued or closed or reply.startswith("ERR usage") else operation(text)
        self._queued = (self._queued or text.upper() == "BEGIN") and text.upper() not in ("COMMIT", "ABORT")
        if asked is None:
            self.others += 1
            if step.peer not in self._wires:
                self._wires[step.peer] = await self._connect()
            self._wires[step.peer].send(text)
        else:
            self.said += 1
            answer = await self._client.ask(**asked)
            self._told.append((step.peer, _line_of(answer, asked["op"])))

    async def _expect(self, step: Step) -> None:
        asked = self._asked.get(step.peer, [])
        wanted = moved_reply(asked[0] if asked else "", step.text, self._base).replace("@STORE", f"@{self._store}")
        if not step.text.startswith(PUSHED) and step.text.partition(" ")[0] in STATUS_WORDS and asked:
            asked.pop(0)
        for kept in (self._told, self._early):
            for peer, line in kept:
                if peer == step.peer and (kept is self._told or is_as_expected(line, wanted)):
                    kept.remove((peer, line))
                    must(is_as_expected(line, wanted), f"the client gave {line!r}")
                    return
        if step.peer not in self._wires:
            self._wires[step.peer] = await self._connect()
        line = await self._wires[step.peer].line()
        while _is_early(line, step.text, wanted):
            if line.startswith("CHANGE "):
                self._early.append((step.peer, line))
            line = await self._wires[step.peer].line()
        if step.text == "<closed>":
            must(line == "", "the connection goes on")
            self._wires.pop(step.peer)
            asked.clear()
        else:
            must(is_as_expected(line, wanted), f"the daemon sent {line!r}")

    @staticmethod
    def _only_follows(peer: str, steps: list[Step]) -> bool:
        """Whether all that a connection is for is one FOLLOW, which then is the client's."""
        sent = [step.text for step in steps if step.sent and step.peer == peer]
        return len(sent) == 1 and sent[0].startswith("FOLLOW ")

    async def _follow(self, step: Step) -> None:
        text = moved_request(step.text, self._base).replace("@STORE", f"@{self._store}")
        _, position, *patterns = text.split(" ")
        follower = self._followers[step.peer] = await self._adapter()
        answer = await follower.ask("follow", position=position, patterns=" ".join(patterns) or "*")
        must(answer.kind == "ok", f"follow was answered with {answer}")
        self._asked[step.peer] = [position]
        self.said += 1

    async def _expect_event(self, step: Step) -> None:
        text = moved_reply("", step.text, self._base).replace("@STORE", f"@{self._store}")
        word, _, rest = text.partition(" ")
        if word == "OK" and not self._asked[step.peer].count("copy"):
            return  # a client need not tell that a watch without a copy has begun
        event: Event | None = Event("position")
        while event and event.kind == "position":
            event = await self._followers[step.peer].event(PATIENCE)
        if event and event.kind in ("copy", "pair", "gone"):
            event = replace(event, position="")  # if it tells one, it is the one that it had
        must(event == _event_of(word, rest), f"the client told {event}")
        if word in ("COPY", "OK"):
            self._asked[step.peer] = ["copy"] if word == "COPY" else []

    async def _adapter(self) -> Adapter:
        adapter = await self._stack.enter_async_context(Adapter(self._command))
        await adapter.ask("connect", address=self._address, timeout=TIMEOUT)
        return adapter

    async def _connect(self) -> Wire:
        host, _, port = self._address.rpartition(":")
        wire = Wire(*await asyncio.open_connection(host.strip("[]"), int(port), limit=LONGEST_LINE))
        self._stack.callback(wire.close)
        return wire

    async def _clean(self) -> None:
        await (await self._connect()).all("DEL * limit=1000000")


def _is_early(line: str, text: str, wanted: str) -> bool:
    """Whether a line that was pushed is not the one that stands there."""
    if line.startswith("PROGRESS "):
        return not is_as_expected(line, wanted)
    return line.startswith("CHANGE ") and not text.startswith(PUSHED)


def _line_of(answer: Answer, op: str) -> str:
    """An answer of the client as the line that it stands for."""
    if answer.kind == "error":
        return f"ERR {answer.code}"
    if answer.value is None:
        return "NONE"
    if answer.kind == "conflict" or op != "get":
        return f"{answer.kind.upper()} {answer.value.decode()}"
    members = members_of(answer.value)
    return f"OK {members['value']}" if "value" in members else f"OK64 {members['value64']}"


def _event_of(word: str, rest: str) -> Event:
    """The event that a line of a watch stands for."""
    if word == "COPY":
        return Event("copy")
    if word == "OK":
        return Event("copied", position=rest)
    first, _, rest = rest.partition(" ")
    if word == "CHANGE":
        kind, _, rest = rest.partition(" ")
        key, _, value = rest.partition(" ")
        kinds = {"SET": "set", "SET64": "set", "DEL": "del", "EXPIRE": "expire"}
        return Event(kinds[kind], key, _value_of(kind, value), first)
    key, _, value = rest.partition(" ")
    return Event("gone" if word == "GONE" else "pair", key, _value_of(word, value))


def _value_of(word: str, value: str) -> bytes | None:
    if word in ("DEL", "EXPIRE", "GONE"):
        return None
    return base64.b64decode(value) if word.endswith("64") else value.encode()
