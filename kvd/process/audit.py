"""The audit log: who came, what was refused and when the rules changed, a JSON object a line.

Lines that are alike but for their key are counted: the first is written at once, the others of the same second and
peer together.  A line that cannot be written is lost, and said to be: a verb that must not act unseen asks first.
What was counted, and so done, is kept until it can be written.
"""

import asyncio
import json
import logging
import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime

from kvd.errors import StartError

logger = logging.getLogger("kvd.audit")

INTERVAL = 1.0
"""Seconds in which lines that are alike are counted."""
MODE = 0o600


class Audit:
    """One file, to which several processes may append."""

    def __init__(self, path: str) -> None:
        """Raises StartError."""
        self._path = path
        try:
            self._descriptor = self._open()
        except OSError as error:
            raise StartError(f"--audit: cannot write {path!r}: {error.strerror}") from None
        # By what is alike, how many more there were; and the line that says so.
        self._more: dict[tuple[object, ...], int] = {}
        self._lines: dict[tuple[object, ...], dict[str, object]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._is_broken = self._is_amid = False

    def _open(self) -> int:
        # Without a wait for somebody who reads a pipe.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
        descriptor = os.open(self._path, flags, MODE)
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            # So that its end can be looked at.  Who may only append to it does without.
            with suppress(OSError):
                readable = os.open(self._path, flags & ~os.O_WRONLY | os.O_RDWR, MODE)
                os.close(descriptor)
                return readable
        return descriptor

    def reopen(self) -> None:
        """Write to the file that has its name now: it may have been moved away.  The one before stays if it cannot."""
        try:
            descriptor = self._open()
        except OSError as error:
            logger.error("cannot open %r anew, and write on to what it was: %s", self._path, error.strerror)
            return
        self.flush()
        self._take(descriptor)

    def _take(self, descriptor: int) -> None:
        os.close(self._descriptor)
        self._descriptor, self._is_amid = descriptor, False

    def close(self) -> None:
        """Write what was only counted."""
        self.flush()
        if self._timer:
            self._timer.cancel()
        os.close(self._descriptor)

    def note(self, event: str, place: str, facts: Mapping[str, object], key: str | None = None) -> bool:
        """Write that something happened; whether this, or what it was counted with, could be written.

        place: where the peer is, without its port.  facts: more that is told, by name.  key: what it was about.
        """
        alike = (event, place, *facts.items())
        if alike in self._more and not self._is_broken and not self._is_removed():
            self._more[alike] += 1
            return True
        about = {} if key is None else {"key": key}
        line = {"event": event, "peer": place, **facts}
        if not self._write(line | about):
            return False
        self._count(alike, line)
        return True

    def _count(self, alike: tuple[object, ...], line: dict[str, object], more: int = 0) -> None:
        """Write with others like it, in a while, that there were so many more."""
        self._more[alike], self._lines[alike] = self._more.get(alike, 0) + more, line
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(INTERVAL, self.flush)

    def flush(self) -> None:
        """Write how many more there were of each."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        more, lines = self._more, self._lines
        self._more, self._lines = {}, {}
        for alike, times in more.items():
            if times and not self._write(lines[alike] | {"repeated": times}):
                self._count(alike, lines[alike], times)

    def _write(self, line: dict[str, object]) -> bool:
        when = datetime.now(UTC).isoformat(timespec="milliseconds")
        data = json.dumps({"time": when, "process": os.getpid(), **line}).encode() + b"\n"
        try:
            if self._is_removed():
                # Nobody would ever read what is written to it.
                self._take(self._open())
            # What was cut short by a full disk is no line, whichever process wrote it.
            data = b"\n" + data if self._is_amid or self._ends_amid() else data
            written = os.write(self._descriptor, data)
            self._is_amid = written < len(data)
            why = "no space" if self._is_amid else ""
        except OSError as error:
            why = error.strerror or str(error)
        if why and not self._is_broken:
            logger.error("cannot write to %r: %s; nobody can log in until it can be written", self._path, why)
        self._is_broken = bool(why)
        return not why

    def _is_removed(self) -> bool:
        found = os.fstat(self._descriptor)
        return stat.S_ISREG(found.st_mode) and not found.st_nlink

    def _ends_amid(self) -> bool:
        """Whether the last line has no end, as far as it can be read."""
        size = os.fstat(self._descriptor).st_size
        with suppress(OSError):
            return size > 0 and os.pread(self._descriptor, 1, size - 1) != b"\n"
        return False
