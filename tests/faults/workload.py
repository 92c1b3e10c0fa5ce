"""Who writes and reads; `crew` has some more.  What each does follows from the seed; when, from the machine."""

import asyncio
import base64
import random
from abc import ABC, abstractmethod
from itertools import count

from tests.faults import numbered
from tests.faults.connection import Client, Connection, Lost, Request
from tests.faults.history import History, Read, Reply, Transaction, Write, form

PAUSE = 0.01
"""Seconds between two steps of a worker, on average."""
SELDOM_PAUSE = 0.05
"""Seconds more for a key that is written seldom."""
SIZES = ((10, 60), (300, 30), (6_000, 9), (200_000, 1))
"""How long values are, in bytes, and how often.  The store keeps those over 4 KiB apart."""
SHARED = {"w/": 40, "c/": 6, "n/": 4, "t/": 12, "q/": 80}
"""Keys that many write: their beginnings, and how many."""
MOST_WORKERS = 100
LIVES = (0.05, 0.3, 1.0, 2.5)
"""Times to live, in seconds."""


class Worker(ABC):
    """One client, which connects again whenever its connection is lost."""

    def __init__(self, history: History, port: int, seed: str, number: int) -> None:
        """number: no other worker has it."""
        self._history = history
        self._port = port
        self._name = f"{type(self).__name__.lower()}{number}"
        self.chance = random.Random(f"{seed} {self._name}")
        self._values = count(1)
        self._amounts = count(number, MOST_WORKERS)
        self._stopping = False
        self._cut = False

    def stop(self) -> None:
        """Finish the present step, and no more."""
        self._stopping = True

    def cut(self) -> None:
        """Break the connection in the middle of the next request."""
        self._cut = True

    async def run(self) -> None:
        """Work until `stop`."""
        while not self._stopping:
            connection = await Connection.open(self._port)
            self._client = Client(self._history, connection)
            try:
                await self.begin()
                while not self._stopping:
                    await self.step()
                    await asyncio.sleep(self.chance.expovariate(1 / PAUSE))
            except Lost:
                pass
            finally:
                connection.cut(at_once=True)

    async def begin(self) -> None:  # noqa: B027  # most have nothing to do
        """A new connection is there."""

    @abstractmethod
    async def step(self) -> None:
        """Some requests."""

    async def ask(self, *requests: Request) -> list[Reply]:
        """Send requests; perhaps not quite to the end."""
        cut, self._cut = self._cut, False
        last_line = requests[-1].lines.rpartition(b"\n")[0].rpartition(b"\n")[2]
        return await self._client.ask(requests, self.chance.randint(1, len(last_line) + 1) if cut else 0)

    # ---- requests

    def key(self, beginning: str) -> str:
        """One of the keys that begin so."""
        return f"{beginning}{self.chance.randrange(SHARED[beginning])}"

    def value(self) -> tuple[str, bool]:
        """A value that nobody else writes, and whether it is in base64."""
        size = self.chance.choices([size for size, _ in SIZES], [weight for _, weight in SIZES])[0]
        text = f"{self._name}.{next(self._values)}."
        text += "x" * (self.chance.randint(0, size) - len(text))
        if self.chance.random() < 0.1:
            return base64.b64encode(b"\xfe" + text.encode()).decode(), True
        return text, False

    def put(self, key: str, *, ttl: float = 0, condition: int = -1, plain: bool = False, owner: str = "") -> Request:
        """A SET or PUT of a new value."""
        text, is_base64 = self.value()
        write = Write("PUT", key, form(text, base64=is_base64), ttl=ttl, condition=condition, owner=owner)
        if plain and not is_base64:
            return Request(f"SET {key} {text}\n".encode(), write._replace(verb="SET"))
        options = (f" ttl={ttl:g}" if ttl else "") + (f" if={condition}" if condition >= 0 else "")
        options += (f" with={owner}" if owner else "") + (" base64" if is_base64 else "")
        return Request(f"PUT {key}{options} = {text}\n".encode(), write)

    def append(self) -> Request:
        """A PUT of a new value to a key that the server makes."""
        text, is_base64 = self.value()
        options = " base64" if is_base64 else ""
        write = Write("NEW", numbered.QUEUE, form(text, base64=is_base64))
        return Request(f"PUT {numbered.QUEUE}*{options} = {text}\n".encode(), write)

    @staticmethod
    def delete(key: str, condition: int = -1) -> Request:
        options = f" if={condition}" if condition >= 0 else ""
        return Request(f"DEL {key}{options}\n".encode(), Write("DEL", key, condition=condition))

    def increment(self, key: str) -> Request:
        """Always more, so that no sum comes twice; and each time by another amount, so that it tells who added it."""
        amount = next(self._amounts)
        return Request(f"INCR {key} {amount}\n".encode(), Write("INCR", key, amount=amount))

    @staticmethod
    def read(verb: str, key: str) -> Request:
        return Request(f"{verb} {key}{'*' if verb == 'LIST' else ''}\n".encode(), Read(verb, key))

    async def revision(self, key: str) -> int | None:
        """The key's revision, 0 if it is not there, None if that cannot be known."""
        reply = (await self.ask(self.read("GETS", key)))[0]
        return None if reply.word == "ERR" else reply.number


class Writer(Worker):
    """Pipelines writes, with a few reads and deletes among them."""

    async def step(self) -> None:
        await self.ask(*(self._request() for _ in range(self.chance.choice((1, 4, 16, 48)))))

    def _request(self) -> Request:
        kind = self.chance.random()
        if kind < 0.8:
            return self.put(self.key("w/"), plain=self.chance.random() < 0.7)
        if kind < 0.9:
            return self.delete(self.key("w/"))
        return self.read(self.chance.choice(("GET", "GETS")), self.key("w/"))


class Seldom(Worker):
    """Writes keys of which each is written seldom, for the many who watch them."""

    async def step(self) -> None:
        key = self.key("q/")
        await self.ask(self.delete(key) if self.chance.random() < 0.2 else self.put(key))
        await asyncio.sleep(self.chance.expovariate(1 / SELDOM_PAUSE))


class Swapper(Worker):
    """Compare and swap: writes only what it has looked at."""

    async def step(self) -> None:
        key = self.key("c/")
        revision = await self.revision(key)
        if revision is None:
            return
        if revision and self.chance.random() < 0.2:
            await self.ask(self.delete(key, revision))
        else:
            await self.ask(self.put(key, condition=revision))


class Counter(Worker):
    """Counts."""

    async def step(self) -> None:
        await self.ask(*(self.increment(self.key("n/")) for _ in range(self.chance.choice((1, 8)))))


class Reader(Worker):
    """Looks at what the others write, also at keys whose time is nearly over, or just was."""

    async def step(self) -> None:
        if self._history.mortal and self.chance.random() < 0.3:
            await self._look_at_mortals()
            return
        if self._history.wards and self.chance.random() < 0.1:
            # If what lives with another is gone, that is gone, too.
            await self.ask(*(self.read("GET", key) for key in self.chance.choice(self._history.wards)))
            return
        beginning = self.chance.choice(list(SHARED))
        if self.chance.random() < 0.1:
            await self.ask(self.read("LIST", self.chance.choice(("c/", "n/", "t/"))))
        else:
            keys = [self.key(beginning) for _ in range(self.chance.choice((1, 10)))]
            await self.ask(*(self.read(self.chance.choice(("GET", "GETS")), key) for key in keys))

    async def _look_at_mortals(self) -> None:
        key = self.chance.choice(self._history.mortal)
        if self.chance.random() < 0.2:
            # All those of one connection: a listing of more would have to explain every key that there ever was.
            await self.ask(self.read("LIST", f"{key.rpartition('/')[0]}/"))
        else:
            await self.ask(*(self.read(self.chance.choice(("GET", "GETS")), key) for _ in range(2)))


class Transactor(Worker):
    """Transactions of several keys; some with conditions, some given up, some with a mistake in them."""

    async def step(self) -> None:
        keys = self.chance.sample([f"t/{number}" for number in range(SHARED["t/"])], self.chance.randint(1, 6))
        requests = [self.put(keys[0]), *await self.checks()]
        for key in keys[1:]:
            request = await self._one(key)
            if request:
                requests.append(request)
        self.chance.shuffle(requests)
        kind = self.chance.random()
        end = "ABORT" if kind < 0.05 else "COMMIT"
        spoiled = 0.05 < kind < 0.1
        lines = [request.lines for request in requests]
        if spoiled:
            lines.append(b"SET\n")
        asked = [request.what for request in requests if isinstance(request.what, Write)]
        checks = tuple(write for write in asked if write.verb == "CHECK")
        writes = tuple(write for write in asked if write.verb != "CHECK")
        data = b"BEGIN\n" + b"".join(lines) + end.encode() + b"\n"
        await self.ask(Request(data, Transaction(writes, end, spoiled, checks)))

    async def checks(self) -> list[Request]:
        """What is demanded beside the writes."""
        return []

    async def _one(self, key: str) -> Request | None:
        kind = self.chance.random()
        if kind < 0.4:
            return self.put(key)
        if kind < 0.6:
            return self.increment(self.key("n/"))
        revision = await self.revision(key)
        if revision and kind < 0.7:
            return self.delete(key, revision)
        return None if revision is None else self.put(key, condition=revision)


class Fenced(Transactor):
    """Transactions that stand on keys which others swap all the time."""

    async def checks(self) -> list[Request]:
        """That two of them are as they were."""
        found = []
        for key in {self.key("c/"), self.key("c/")}:
            revision = await self.revision(key)
            if revision is not None:
                what = Write("CHECK", key, condition=revision)
                found.append(Request(f"CHECK {key} if={revision}\n".encode(), what))
        return found


class Expirer(Worker):
    """Keys with a time to live, which only this worker writes, and only one after another.

    A request without a reply could take effect on what comes later: each connection has keys of its own.
    """

    _keys = ""
    _connections = 0

    async def begin(self) -> None:
        self._connections += 1
        self._keys = f"x/{self._name}/{self._connections}/"

    async def step(self) -> None:
        key = f"{self._keys}{self.chance.randrange(8)}"
        kind = self.chance.random()
        if kind < 0.4:
            await self.ask(self.put(key, ttl=self.chance.choice(LIVES)))
        elif kind < 0.45:
            await self.ask(self.put(key))
        elif kind < 0.5:
            await self.ask(self.delete(key))
        elif kind < 0.65:
            ttl = self.chance.choice((0, *LIVES))
            write = Write("TOUCH", key, ttl=ttl)
            await self.ask(Request(f"TOUCH {key} ttl={f'{ttl:g}' if ttl else '-'}\n".encode(), write))
        else:
            await self.ask(self.read(self.chance.choice(("GET", "GETS")), key))
