"""Who watches: some for good, some that are cut off at random, some slow, some that begin with a copy; and a herd,
which loses its connections at once, and comes back at once.
"""

import asyncio
import random
import time
from collections.abc import Sequence
from typing import Any

from tests.faults.connection import ITEMS, STATUS, Connection, Lost, pair
from tests.faults.history import Change, History, HistoryReplaced, Mark, Violation, Watch, form
from tests.faults.workload import SHARED

STAY, SLOW_STAY = 1.0, 5.0
"""Seconds that a watcher stays connected, on average; a slow one long enough to fall behind."""
AWAY = (0.0, 0.0, 0.1, 3.0)
"""Seconds that it is away at the most."""
SLOW_BUFFER = 8 * 1024
"""Bytes that the kernel takes for a slow reader."""
PROGRESS, HERDS_PROGRESS = "0.1", "2"
"""Seconds between two of these lines; a herd would be told more than it could read."""
AT_THE_DOOR = 16
"""Members of the herd that try to connect at once; hundreds would do nothing else while the daemon is away."""
REFUSED_PAUSE = 0.2
"""Seconds that one of the herd waits at the most when it is refused."""


class Refused(Lost):
    """The daemon cannot do now what was asked, and the watcher ends the connection to try again."""


class Watcher:
    """Watches, and takes up where it was whenever the connection is lost.

    steady: never ends a connection by itself, and nothing that it has not seen may be dropped.
    copies: begins each connection with SYNC.  door: of the herd, which is as steady, but may come too late; entered to
    connect.
    """

    def __init__(
        self, history: History, port: int, seed: str, features: Sequence[str], name: str, patterns: Sequence[str],
        *, steady: bool = False, copies: bool = False, slow: bool = False, progress: bool = False,
        door: asyncio.Semaphore | None = None,
    ) -> None:  # fmt: skip
        self.name = name
        self.patterns = tuple(patterns)
        self._history = history
        self._port = port
        self._features = features
        self._chance = random.Random(f"{seed} {name}")
        self._steady = steady or door is not None
        self._door = door
        self._copies = copies and "sync" in features
        self._slow = slow
        self._prompt = steady
        self._progress = progress and "progress" in features
        self._store = ""
        self._position = ""
        self._anew = True
        self._watch: Watch | None = None

    @property
    def _revision(self) -> int:
        """Up to where all that matches was seen."""
        return int(self._position.partition("@")[0] or 0)

    def has_seen(self, revision: int) -> bool:
        """Whether a watch is in flight, and complete up to there."""
        return self._watch is not None and self._revision >= revision

    @property
    def sees_progress(self) -> bool:
        """Whether it learns of revisions that do not match, too."""
        return self._progress

    def settle(self) -> None:
        """From now on, stay connected and read fast."""
        self._steady = True
        self._slow = False

    def finish(self, revision: int) -> None:
        """All up to this revision, at least, must have come by now."""
        self._mark(Mark("FINAL", max(revision, self._revision)))

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            connection = await self._connect()
            before = self._watch
            try:
                if self._progress:
                    await self._ask(connection, f"PROGRESS {HERDS_PROGRESS if self._door else PROGRESS}")
                await self._begin(connection)
                await self._follow(connection)
            except Refused:
                if self._door:
                    await asyncio.sleep(self._chance.uniform(0, REFUSED_PAUSE))
            except Lost:
                if self._watch and self._watch is not before:
                    self._watch.lost = time.monotonic()
            except ValueError as error:
                raise Violation(f"{self.name}: a line that makes no sense: {error}") from None
            finally:
                connection.cut(at_once=self._chance.random() < 0.5)
            if not self._steady:
                await asyncio.sleep(self._chance.uniform(0, self._chance.choice(AWAY)))

    async def _connect(self) -> Connection:
        if self._door:
            async with self._door:
                return await Connection.open(self._port)
        return await Connection.open(self._port, SLOW_BUFFER if self._slow else 0)

    # ---- what it asks

    async def _begin(self, connection: Connection) -> None:
        """Begin a watch, by the best way there is."""
        if self._position and "resume" in self._features and not self._copies and not self._anew:
            verb = "RESUME"
        else:
            verb = "SYNC" if "sync" in self._features and (self._position or self._copies) else "WATCH"
        asked = self._revision
        start = time.monotonic()
        words = [verb, self._position, *self.patterns] if verb == "RESUME" else [verb, *self.patterns]
        word, rest, items = await self._ask(connection, " ".join(words))
        if word == "OK":
            copy = tuple(pair(*item) for item in items)
            begin = self._see_position(rest)
            self._watch = Watch(self.name, verb, self.patterns, asked, begin, start, time.monotonic(), copy)
            self._history.watches.append(self._watch)
            self._anew = False
            return
        self._refused(verb, rest)
        await self._begin(connection)

    def _refused(self, verb: str, why: str) -> None:
        code = why.partition(" ")[0]
        self._history.ends[code] += 1
        if code == "unavailable":
            raise Refused(why)
        if code == "store":
            raise HistoryReplaced(f"{self.name}: {verb} from {self._position} was refused: {why}")
        if code != "compacted":
            raise Violation(f"{self.name}: {verb} from {self._position} was refused: {why}")
        if self._prompt:
            raise Violation(f"{self.name} was never away, and yet {verb} was refused: {why}")
        self._anew = True

    async def _ask(self, connection: Connection, request: str) -> tuple[str, str, list[tuple[str, str]]]:
        """The reply: its status word, the rest, its items.  What is pushed before it belongs to the old watch."""
        connection.send(f"{request}\n".encode())
        items: list[tuple[str, str]] = []
        while True:
            word, _, rest = (await connection.line()).partition(" ")
            if word in STATUS:
                return word, rest, items
            if word in ITEMS:
                items.append((word, rest))
            elif items:
                raise Violation(f"{self.name}: pushed within a reply: {word} {rest}"[:200])
            else:
                self._take(word, rest)

    # ---- what it is told

    async def _follow(self, connection: Connection) -> None:
        """Read until it is time to go, or the watch has ended."""
        while True:
            stay = self._chance.expovariate(1 / (SLOW_STAY if self._slow else STAY))
            try:
                async with asyncio.timeout(None if self._steady else stay):
                    await self._read(connection)
                    return
            except TimeoutError:
                pass
            if self._steady:
                continue
            way = self._chance.choice(("leave", "leave", "ask", "replace", "unwatch"))
            if way == "leave":
                return
            if way == "ask":
                await self._ask(connection, "PING")
                self._mark(Mark("REPLY"))
                continue
            if way == "unwatch":
                word, rest, _ = await self._ask(connection, "UNWATCH")
                if word != "OK":
                    raise Refused(rest)
                # If the watch had ended before, the position is the store's, and not what was seen.
                if self._watch:
                    self._mark(Mark("UNWATCH", self._see_position(rest)))
                    self._watch = None
            await self._begin(connection)

    async def _read(self, connection: Connection) -> None:
        """Take what is pushed; comes back when the watch has ended."""
        while self._watch:
            if self._slow:
                await asyncio.sleep(self._chance.expovariate(1 / 0.02))
            # A watch may be quiet for as long as it likes.
            word, _, rest = (await connection.line(patient=True)).partition(" ")
            self._take(word, rest)

    def _take(self, word: str, rest: str) -> None:
        if not self._watch:
            raise Violation(f"{self.name} watches nothing and is sent: {word} {rest}"[:200])
        if word == "CHANGE":
            position, verb, text = rest.split(" ", 2)
            key, _, value = text.partition(" ")
            revision = self._see_position(position)
            value = form(value, base64=verb == "SET64") if verb.startswith("SET") else ""
            change = Change(revision, "SET" if verb == "SET64" else verb, key, value)
            self._watch.events.append(self._history.see(change, time.monotonic()))
        elif word == "PROGRESS":
            self._mark(Mark("PROGRESS", self._see_position(rest)))
        elif word == "END":
            position, code, text = rest.split(" ", 2)
            self._mark(Mark("END", self._see_position(position)))
            self._watch = None
            self._history.ends[code] += 1
            if code == "store":
                raise HistoryReplaced(f"{self.name}: END {position} {code} {text}")
            if code == "compacted" and self._prompt:
                raise Violation(f"{self.name}: END {position} {code} {text}")
        else:
            raise Violation(f"{self.name}: a line without a meaning: {word} {rest}"[:200])

    def _mark(self, mark: Mark) -> None:
        if self._watch:
            self._watch.events.append(mark)

    def _see_position(self, position: str) -> int:
        revision, _, store = position.partition("@")
        if self._store not in ("", store):
            raise HistoryReplaced(f"{self.name}: the store was {self._store} and is {store}")
        self._store = store
        self._position = position
        return int(revision)


def watchers(history: History, port: int, seed: str, features: Sequence[str], herd: int) -> list[Watcher]:
    """All of them.  The first two see everything: by them the others are judged.  herd: how many more there are."""
    door = asyncio.Semaphore(AT_THE_DOOR)

    def make(name: str, *patterns: str, **kind: Any) -> Watcher:
        return Watcher(history, port, seed, features, name, patterns, **kind)

    def member(number: int) -> Watcher:
        return make(f"herd-{number}", *herd_patterns(number), progress=number % 2 == 0, door=door)

    return [
        make("steady", "*", steady=True),
        make("steady-too", "*", steady=True, progress=True),
        make("all", "*", progress=True),
        make("prefixes", "w/*", "x/*", progress=True),
        make("keys", "c/0", "c/1", "n/0", "t/1*"),
        make("overlap", "w/*", "w/1*", "w/1", "*"),
        make("transactions", "t/*", "n/*", progress=True),
        make("slow", "*", slow=True),
        make("slow-values", "w/*", slow=True, progress=True),
        make("slow-transactions", "t/*", "n/*", slow=True, progress=True),
        make("quiet", "nobody/writes/this", progress=True),
        make("copy", "*", copies=True),
        make("copies", "c/*", "t/*", "x/*", copies=True, progress=True),
        *map(member, range(herd)),
    ]


def herd_patterns(number: int) -> tuple[str, ...]:
    """What a member of the herd watches.  Most of it is quiet, or else the test would do nothing but read."""
    kind, which = number % 10, number // 10
    seldom = f"q/{which % SHARED['q/']}"
    if kind == 0:
        return (f"w/{which % SHARED['w/']}",)
    if kind == 1:
        return (f"t/{which % SHARED['t/']}", f"t/{(which + 1) % SHARED['t/']}", seldom)
    if kind == 2:
        return (f"c/{which % SHARED['c/']}", f"{seldom}*", "nobody/*")
    if kind == 3:
        return (f"nobody/{which}/*",)
    if kind == 4:
        return (f"{seldom}*", f"q/{(which + 7) % SHARED['q/']}*")
    return (seldom,)
