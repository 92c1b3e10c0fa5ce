"""The busiest prefixes of keys: counted from one watch, in bounded memory."""

import asyncio
import re
import time
from collections import Counter, deque

from kvd.cli.escape import visible
from kvd.client.line_connection import Connect, LineConnection, backoff
from kvd.errors import KvdError

WINDOW = 10.0
"""Seconds over which changes are counted: shorter ones leave no order in what is seldom."""
MOST_COUNTED = 4096
"""Prefixes between two looks; the changes of further ones count for none."""
MOST_KEPT = 256
"""Prefixes of each look that are kept for the window."""

LONGEST_LINE = 4096
"""Bytes of a line that are kept: one without a value is shorter."""

_CHANGED = re.compile(rb"^CHANGE [^ \n]+ [A-Z0-9]+ (/?[^/ \n]*/?)", re.MULTILINE).findall
_REFUSED = re.compile(rb"^(?:ERR|END [^ \n]+) ([^\n]*)", re.MULTILINE).search
_WATCH = b"WATCH *keys *"


class Prefixes:
    """Counts changes by the beginnings of their keys, up to the first `/` that is not their first character.

    A key without one counts for itself.
    """

    def __init__(self) -> None:
        self._counts: Counter[bytes] = Counter()
        self._looks: deque[tuple[float, Counter[bytes]]] = deque()
        self._began = time.monotonic()

    def clear(self) -> None:
        """Begin anew: after what was counted comes a gap."""
        self._counts.clear()
        self._looks.clear()
        self._began = time.monotonic()

    def count(self, lines: bytes) -> None:
        """Count the changes in lines of a watch."""
        for prefix in _CHANGED(lines):
            if prefix in self._counts or len(self._counts) < MOST_COUNTED:
                self._counts[prefix] += 1

    def look(self, now: float) -> None:
        """A look ends at this time of the monotonic clock."""
        self._looks.append((now, Counter(dict(self._counts.most_common(MOST_KEPT)))))
        self._counts.clear()
        while self._looks[0][0] <= now - WINDOW:
            self._began = self._looks.popleft()[0]

    def busiest(self, most: int) -> list[tuple[str, float]]:
        """The prefixes with the most changes in the window, and how many a second."""
        if not self._looks or (seconds := self._looks[-1][0] - self._began) <= 0:
            return []
        total: Counter[bytes] = Counter()
        for _, counts in self._looks:
            total.update(counts)
        ordered = sorted(total.items(), key=lambda item: (-item[1], item[0]))[:most]
        return [(visible(prefix.decode(errors="backslashreplace")), count / seconds) for prefix, count in ordered]


class PrefixWatch:
    """Watches every key for `prefixes`, through whatever happens to the daemon.

    why: why there is no watch at the moment, "": there is one.
    """

    def __init__(self, connect: Connect, prefixes: Prefixes) -> None:
        self.why = "the watch begins"
        self._connect, self._prefixes = connect, prefixes
        self._pauses = backoff()
        self._is_known = asyncio.Event()

    async def known(self) -> None:
        """Wait until it is known whether there is a watch."""
        await self._is_known.wait()

    def _tell(self, why: str) -> None:
        self.why = why
        self._is_known.set()

    async def run(self) -> None:
        """Go on until it is cancelled."""
        while True:
            try:
                lines = await self._connect()
                try:
                    lines.send(_WATCH)
                    await self._take(lines)
                finally:
                    await lines.close()
            except KvdError as error:
                self._tell(str(error))
            await asyncio.sleep(self._pauses.next())

    async def _take(self, lines: LineConnection) -> None:
        """Count until the watch ends."""
        rest = b""
        self._prefixes.clear()
        while True:
            whole, found, last = (await lines.receive()).rpartition(b"\n")
            if not found:
                rest = (rest + last)[:LONGEST_LINE]
                continue
            data, rest = rest + whole, last
            lines.due = 0
            if refused := _REFUSED(data):
                self._tell(visible(refused[1].decode(errors="backslashreplace")))
                return
            self._tell("")
            self._pauses.reset()
            self._prefixes.count(data)
