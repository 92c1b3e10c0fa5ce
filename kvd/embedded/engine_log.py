"""What the engine writes to its log: passed on to ours, and searched for why it does not start or has ended."""

import asyncio
import logging
import re
import subprocess
from collections import deque
from collections.abc import Callable

logger = logging.getLogger("kvd.embedded")

KEPT_LINES = 50
"""Lines of the log that are kept to explain why the engine does not start."""
LAST_LINES_WAIT = 0.2
"""Seconds for the last lines of an engine that has ended to be read; a child of it may keep the pipe open longer."""

_READY = re.compile(r"ready to accept connections", re.IGNORECASE)
_ERROR = re.compile(r" # (?!WARNING)")
_ALARMING = re.compile(r" # (?!.*overcommit).*(warn|error|fail|can't|corrupt|bad file|crash|critical)", re.IGNORECASE)
_FOREIGN = re.compile(r"unknown command '([^']*)'", re.IGNORECASE)
"""When the append-only file has a command that is not known; it is not run, and the engine ends."""
_BAD_FILE = re.compile(
    r"unknown command '|reading the append only file|Bad file format|in RDB reading|RDB format version", re.IGNORECASE
)
"""A command that is not known may be kilobytes of the file: many lines, of which only the first tells what they are."""
_BAD_SNAPSHOT = re.compile(r"in RDB reading|RDB format version|append only file \S+\.rdb", re.IGNORECASE)
"""When it is the snapshot at the file's beginning, which no checker repairs."""
_TOLD = re.compile(r"in RDB reading|Short read or OOM loading DB|Wrong RDB checksum", re.IGNORECASE)
"""What kvd says in its own words when the engine ends of it."""
_CRASHED = re.compile(r"Out Of Memory allocating|crashed by signal")
_SKIPPED = re.compile(r"== CRITICAL ==.*(?<!'script')$")
"""When a command of the append-only file could not be run again, and the engine went on without it.  Scripts may be
missing: kvd loads them."""
_UNWRITABLE = re.compile(r"when the AOF fsync policy is 'always'")
"""When the engine ends because it cannot write to its append-only file, and
_UNWRITABLE_WHY: before that, when it says why."""
_UNWRITABLE_WHY = re.compile(r"(?:Error writing to the AOF file|AOF fsync policy is 'always'): (.*?)(?:\. Exiting|$)")
_LOOKED_FOR = _FOREIGN, _BAD_FILE, _BAD_SNAPSHOT, _CRASHED, _SKIPPED
"""Of what matches one of these the first line is kept."""


class EngineLog:
    """The log of one process after another: `follow` each, and `close` it when the process has ended."""

    def __init__(self, unwritable: Callable[[str], None]) -> None:
        """unwritable: called with the reason when the engine ends because its file takes no writes."""
        self._unwritable = unwritable
        self._lines: deque[str] = deque(maxlen=KEPT_LINES)
        # The first line that each pattern matches.
        self._firsts: dict[re.Pattern[str], str] = {}
        self._ready = asyncio.Event()
        self._reading: asyncio.Task[None] | None = None

    def follow(self, process: subprocess.Popen[bytes]) -> None:
        """Read the standard output of a process that was started a moment ago."""
        self._ready.clear()
        self._reading = asyncio.create_task(self._read(process))

    async def wait_until_ready(self) -> bool:
        """Returns True when the engine takes connections, False when it has ended."""
        assert self._reading  # noqa: S101
        ready = asyncio.create_task(self._ready.wait())
        await asyncio.wait({ready, self._reading}, return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        return self._ready.is_set()

    async def wait_for_last_lines(self) -> None:
        """The engine has ended: wait a moment for what it wrote before."""
        if self._reading:
            await asyncio.wait({self._reading}, timeout=LAST_LINES_WAIT)

    async def close(self) -> None:
        """Read no more."""
        if self._reading:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
            self._reading = None

    async def _read(self, process: subprocess.Popen[bytes]) -> None:
        """The engine's warnings become ours; the rest is for those who look for it."""
        self._lines.clear()
        self._firsts.clear()
        loop = asyncio.get_running_loop()
        lines = asyncio.StreamReader()
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), process.stdout)
        try:
            async for raw in lines:
                line = raw.decode(errors="replace").rstrip()
                self._lines.append(line)
                for pattern in _LOOKED_FOR:
                    if pattern not in self._firsts and pattern.search(line):
                        self._firsts[pattern] = line
                if _READY.search(line):
                    self._ready.set()
                if _UNWRITABLE.search(line):
                    why = _UNWRITABLE_WHY.search("\n".join(self._lines))
                    self._unwritable(why[1] if why else "a write was cut short")
                alarms = _ALARMING.search(line) and not _TOLD.search(line)
                logger.log(logging.WARNING if alarms else logging.DEBUG, "redis: %s", line)
        finally:
            transport.close()

    # ---- what it says

    @property
    def says_bad_file(self) -> bool:
        """Whether the append-only file cannot be read."""
        return bool(self._find(_BAD_FILE))

    @property
    def says_it_crashed(self) -> bool:
        """Whether the engine has failed, as some do over a length in the append-only file that is no length."""
        return bool(self._find(_CRASHED))

    @property
    def says_bad_snapshot(self) -> bool:
        """Whether it is the snapshot at the file's beginning that cannot be read."""
        return bool(self._find(_BAD_SNAPSHOT))

    @property
    def foreign_command(self) -> str:
        """A command in the append-only file that the engine does not know, "" if there is none."""
        found = _FOREIGN.search(self._find(_FOREIGN))
        return found[1] if found else ""

    @property
    def skipped(self) -> str:
        """What the engine says of a command of the append-only file that it has left out, "" if there is none."""
        return self._find(_SKIPPED)

    @property
    def last_error(self) -> str:
        """The last error, else the last line, without what comes before the text of each.

        Of a crash, of which pages are told, the first line.
        """
        crash = self._find(_CRASHED)
        lines = [crash] if crash else [line for line in self._lines if line.strip()]
        last = next(filter(_ERROR.search, reversed(lines)), lines[-1] if lines else "it said nothing")
        return re.sub(r"^.*? [*#] ", "", last)

    def _find(self, pattern: re.Pattern[str]) -> str:
        """The first line that matched, "" if none did."""
        return self._firsts.get(pattern, "")
