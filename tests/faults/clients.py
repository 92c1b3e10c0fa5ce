"""Who watches with the clients that people use: kvctl watch, the synchronous library, and a client of another language.

They go on by themselves through whatever happens to the daemon, and are themselves killed, stopped and cut off; what
they tell is held against the same history as what the watchers see that know every line.
"""

import asyncio
import json
import os
import random
import signal
import sys
import time
from base64 import b64decode, b64encode
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from kvd.client import Copy, Event, FilePosition, is_text
from kvd.client.errors import Unreachable
from kvd.client.sync import Follow
from tests.faults.cutter import Cutter
from tests.faults.history import Change, History, HistoryReplaced, Mark, Pair, Watch, form
from tests.support.kvctl import ENVIRONMENT, PROGRAM
from tests.support.processes import ROOT

LIFE = 3.0
"""Seconds from one harm to the next, on average, and
STOPPED: for which one is stopped, at the most."""
STOPPED = 1.0
AGAIN = 0.2
"""Seconds until one is started again that has ended, for it found no daemon."""
LOOK = 0.2
"""Seconds after which the library's follower looks whether it is to end."""
LONGEST_LINE = 1 << 24


def value_form(value: bytes) -> str:
    """A value as `history.form` gives it."""
    return form(value.decode()) if is_text(value) else form(b64encode(value).decode(), base64=True)


class Client:
    """Notes what a client tells; a `Watcher` to all others.

    sees_progress: it is told of no revision beyond those that match.
    """

    sees_progress = False

    def __init__(self, history: History, port: int, seed: str, place: Path, name: str, *patterns: str) -> None:
        """place: a directory in which it may keep files."""
        self.name, self.patterns = name, patterns
        self._history, self._place = history, place
        self._cutter = Cutter(port)
        self._chance = random.Random(f"{seed} {name}")
        self._steady = False
        self._watch: Watch | None = None
        self._position = ""

    def has_seen(self, revision: int) -> bool:
        """Whether a watch is in flight, and all up to there was told."""
        return self._watch is not None and _revision(self._position) >= revision

    def settle(self) -> None:
        """From now on do it no harm."""
        self._steady = True

    def finish(self, revision: int) -> None:
        """All up to this revision, at least, must have come by now."""
        if self._watch:
            self._watch.events.append(Mark("FINAL", max(revision, _revision(self._position))))

    async def run(self) -> None:
        """Watch until cancelled."""
        async with self._cutter:
            while True:
                await self.live()
                await asyncio.sleep(AGAIN)

    async def live(self) -> None:
        """Be started, watch, and end."""
        raise NotImplementedError

    # ---- what it tells

    def goes_on(self, position: str) -> None:
        """It begins with the changes after a position, all before which it has told."""
        if self._watch and _revision(position) > _revision(self._position):
            self._watch.events.append(Mark("PROGRESS", _revision(position)))
        self._see(position)
        self._begin("RESUME", ())

    def copied(self, verb: str, position: str, pairs: tuple[Pair, ...]) -> None:
        """It begins with a copy."""
        self._see(position)
        self._begin(verb, pairs)

    def changed(self, position: str, verb: str, key: str, value: bytes | None) -> None:
        """A change has come."""
        assert self._watch
        self._see(position)
        change = Change(_revision(position), verb, key, "" if value is None else value_form(value))
        self._watch.events.append(self._history.see(change, time.monotonic()))

    def moved(self, position: str) -> None:
        """The position has moved without a change."""
        assert self._watch
        self._see(position)
        self._watch.events.append(Mark("PROGRESS", _revision(position)))

    def _begin(self, verb: str, pairs: tuple[Pair, ...]) -> None:
        begin = _revision(self._position)
        self._watch = Watch(self.name, verb, self.patterns, begin, begin, time.monotonic(), time.monotonic(), pairs)
        self._history.watches.append(self._watch)

    def _see(self, position: str) -> None:
        before, after = self._position.partition("@")[2], position.partition("@")[2]
        if before not in ("", after):
            raise HistoryReplaced(f"{self.name}: the store was {before} and is {after}")
        self._position = position


class ProgramClient(Client):
    """A client that is a program, which writes JSON lines."""

    async def live(self) -> None:
        """Run it to its end, which mostly is violent."""
        process = await asyncio.create_subprocess_exec(
            *self.command(), env=ENVIRONMENT, limit=LONGEST_LINE,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        assert process.stdin
        assert process.stdout
        harming = asyncio.create_task(self._harm(process))
        try:
            process.stdin.write(self.asks().encode())
            # What it has written before its end counts; a line without its end is not written.
            while (line := await process.stdout.readline()).endswith(b"\n"):
                self.take(json.loads(line))
        finally:
            harming.cancel()
            _send(process, signal.SIGKILL)
            await process.wait()

    async def _harm(self, process: asyncio.subprocess.Process) -> None:
        while True:
            await asyncio.sleep(self._chance.expovariate(1 / LIFE))
            if self._steady:
                continue
            match self._chance.choice(("kill", "terminate", "stop", "cut", "cut")):
                case "kill":
                    _send(process, signal.SIGKILL)
                case "terminate":
                    _send(process, signal.SIGTERM)
                case "stop":
                    _send(process, signal.SIGSTOP)
                    await asyncio.sleep(self._chance.uniform(0, STOPPED))
                    _send(process, signal.SIGCONT)
                case _:
                    self._cutter.cut()

    def command(self) -> list[str]:
        """What to run; it is asked for each time."""
        raise NotImplementedError

    def asks(self) -> str:
        """What it gets on standard input."""
        return ""

    def take(self, told: dict[str, Any]) -> None:
        """A line that it has written."""
        raise NotImplementedError


class KvctlWatch(ProgramClient):
    """kvctl watch --state: what it told after the position in its file comes again when it was killed."""

    def command(self) -> list[str]:
        """With the position of its own file, which it has kept after what it told."""
        state = self._place / f"{self.name}.state"
        if kept := FilePosition(state).load():
            self.goes_on(kept)
        self._pairs: list[Pair] = []
        options = ["--addr", self._cutter.address, "--json", "--sync", "--state", str(state)]
        return [sys.executable, str(PROGRAM), "watch", *options, "--", *self.patterns]

    def take(self, told: dict[str, Any]) -> None:
        """As kvctl's --json has it."""
        value = b64decode(told["base64"]) if "base64" in told else told.get("value", "").encode()
        match told["verb"]:
            case "COPY":
                self._pairs = []
            case "PAIR":
                self._pairs.append(Pair(told["revision"], told["key"], value_form(value)))
            case "COPIED":
                self.copied("SYNC", told["position"], tuple(self._pairs))
            case verb:
                self.changed(told["position"], verb, told["key"], value if verb == "SET" else None)


class AdapterFollow(ProgramClient):
    """The client of another language, by the adapter with which it is certified; the test keeps its position."""

    def command(self) -> list[str]:
        """The one of Perl, which needs no compiler and is on most machines."""
        if self._position:
            self.goes_on(self._position)
        return ["perl", str(ROOT / "clients/perl/adapter.pl")]

    def asks(self) -> str:
        """Two requests of the kit's."""
        patterns = " ".join(self.patterns)
        asked: list[Mapping[str, str]] = [
            {"op": "connect", "address": self._cutter.address, "timeout": "30"},
            {"op": "follow", "patterns": patterns, "position": self._position or "-"},
        ]
        return "".join(f"{json.dumps(one)}\n" for one in asked)

    def take(self, told: dict[str, Any]) -> None:
        """An event; its copies have no revisions, and are not compared."""
        match told.get("event"):
            case "copied":
                self.copied("COPY", told["position"], ())
            case "position" if told["position"] == self._position:
                # It tells this only of an OK: it has lost its connection, perhaps within a transaction.
                self.goes_on(self._position)
            case "position":
                self.moved(told["position"])
            case "set" | "del" | "expire" as kind:
                value = b64decode(told["value64"]) if kind == "set" else None
                self.changed(told["position"], kind.upper(), told["key"], value)


class SyncFollow(Client):
    """The library without an event loop, with its position in a file; it is closed, and made anew, and cut off."""

    async def live(self) -> None:
        """Follow for a while."""
        place = FilePosition(self._place / f"{self.name}.state")
        follow = Follow(self._cutter.address, *self.patterns, place=place)
        try:
            await asyncio.to_thread(follow.__enter__)
        except Unreachable:
            return
        if kept := place.load():
            self.goes_on(kept)
        try:
            until = time.monotonic() + self._chance.expovariate(1 / LIFE)
            while self._steady or time.monotonic() < until:
                with suppress(TimeoutError):
                    self._take(await asyncio.to_thread(follow.next, LOOK))
            if self._chance.random() < 0.5:
                self._cutter.cut()
            await asyncio.to_thread(follow.__exit__, None)
        finally:
            follow.close()

    def _take(self, told: Event | Copy) -> None:
        if isinstance(told, Event):
            self.changed(told.position, told.verb, told.key, told.value)
            return
        pairs = [Pair(item.revision, item.key, value_form(item.value)) for item in told.items.values()]
        self.copied("SYNC", told.position, tuple(pairs))


def clients(history: History, port: int, seed: str, place: Path) -> list[Client]:
    """All of them.  place: a directory for their files."""
    return [
        KvctlWatch(history, port, seed, place, "kvctl", "c/*", "t/*"),
        KvctlWatch(history, port, seed, place, "kvctl-all", "*"),
        SyncFollow(history, port, seed, place, "library", "w/*", "x/*"),
        AdapterFollow(history, port, seed, place, "perl", "t/*", "n/*"),
    ]


def _send(process: asyncio.subprocess.Process, number: int) -> None:
    """Not by the process's own methods, which may take its status from who waits for it."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.kill(process.pid, number)


def _revision(position: str) -> int:
    return int(position.partition("@")[0] or 0)
