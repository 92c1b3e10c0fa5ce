"""The client that is to be certified, behind its adapter: a process that reads and writes JSON lines."""

import asyncio
import base64
import json
import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast

LONGEST_LINE = 1 << 23  # bytes: more than any answer has
PATIENCE = 15.0  # seconds until an answer or an event that does not come is missed


class Wrong(Exception):
    """What the client did is not what the rule says."""


@dataclass(frozen=True)
class Answer:
    """One answer.  kind: ok, conflict or error; value: None for none; code: of an error; retry: seconds, if told."""

    kind: str
    value: bytes | None = None
    code: str = ""
    retry: float | None = None

    def __str__(self) -> str:
        if self.kind == "error":
            return f"error {self.code}" + (f" (retry after {self.retry:g} s)" if self.retry is not None else "")
        shown = "none" if self.value is None else shorten(self.value)
        return shown if self.kind == "ok" else f"{self.kind} {shown}"


@dataclass(frozen=True)
class Event:
    """One event of a followed pattern: copy, pair, gone, copied, set, del, expire, position or error."""

    kind: str
    key: str = ""
    value: bytes | None = None
    position: str = ""
    code: str = ""


def shorten(value: bytes) -> str:
    """For people."""
    text = repr(value)[1:]
    return text if len(text) <= 50 else f"{text[:40]}... ({len(value)} bytes)"


def members_of(value: bytes) -> dict[str, str]:
    """A value as an adapter is given it: as text where it is text, else in base64."""
    with suppress(UnicodeDecodeError):
        text = value.decode()
        if all(char == "\t" or not (char < " " or "\x7f" <= char <= "\x9f" or char in "\u2028\u2029") for char in text):
            return {"value": text}
    return {"value64": base64.b64encode(value).decode()}


def _value_of(message: dict[str, Any], name: str) -> bytes | None:
    encoded, plain = message.get(f"{name}64"), message.get(name)
    if isinstance(encoded, str):
        return base64.b64decode(encoded, validate=True)
    return None if plain is None else str(plain).encode()


def _answer_of(message: dict[str, Any]) -> Answer:
    if "error" in message:
        retry = message.get("retry")
        return Answer("error", code=str(message["error"]), retry=None if retry in (None, "") else float(str(retry)))
    kind = "conflict" if "conflict" in message else "ok"
    if not {"ok", "ok64", "conflict"} & message.keys():
        raise Wrong(f"the adapter answered {message}, which has none of ok, ok64, conflict and error")
    return Answer(kind, _value_of(message, kind))


class Adapter:
    """One adapter process, for one rule."""

    def __init__(self, command: list[str]) -> None:
        self._command = command
        self._answers: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self._events: asyncio.Queue[Event | None] = asyncio.Queue()
        self._stderr = b""

    async def __aenter__(self) -> "Adapter":
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(
            *self._command, stdin=pipe, stdout=pipe, stderr=pipe, limit=LONGEST_LINE, start_new_session=True
        )
        self._stdin = cast(asyncio.StreamWriter, self._process.stdin)
        self._tasks = [asyncio.ensure_future(self._read()), asyncio.ensure_future(self._read_errors())]
        return self

    async def __aexit__(self, *_: object) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        await self._process.wait()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def ask(self, op: str, **members: str) -> Answer:
        """Do one operation."""
        line = json.dumps({"op": op} | members, ensure_ascii=False) + "\n"
        with suppress(ConnectionError):
            self._stdin.write(line.encode())
            await self._stdin.drain()
        try:
            message = await asyncio.wait_for(self._answers.get(), PATIENCE)
        except TimeoutError:
            raise Wrong(f"{op} was not answered within {PATIENCE:g} seconds") from None
        if message is None:
            raise Wrong(f"the adapter ended instead of answering {op}: {self._last_words()}")
        return _answer_of(message)

    async def event(self, patience: float = PATIENCE) -> Event | None:
        """The next event, or None if none comes in time."""
        try:
            event = await asyncio.wait_for(self._events.get(), patience)
        except TimeoutError:
            return None
        if event is None:
            raise Wrong(f"the adapter ended: {self._last_words()}")
        return event

    async def _read(self) -> None:
        stdout = cast(asyncio.StreamReader, self._process.stdout)
        try:
            while line := await stdout.readline():
                message = json.loads(line)
                if "event" not in message:
                    self._answers.put_nowait(message)
                    continue
                text = {name: str(message.get(name) or "") for name in ("event", "key", "position", "error")}
                value = _value_of(message, "value")
                self._events.put_nowait(Event(text["event"], text["key"], value, text["position"], text["error"]))
        except (ValueError, TypeError, AttributeError) as error:
            self._stderr += f"(what it wrote is not the JSON lines that README.md describes: {error})".encode()
        self._answers.put_nowait(None)
        self._events.put_nowait(None)

    async def _read_errors(self) -> None:
        stderr = cast(asyncio.StreamReader, self._process.stderr)
        while data := await stderr.read(1 << 16):
            self._stderr = (self._stderr + data)[-4096:]

    def _last_words(self) -> str:
        lines = self._stderr.decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"
