"""A checksum of the append-only file, kept beside it: of all that was written and synced up to some moment.

The engine has a checksum over a snapshot, and none over the commands that follow, so that a byte that has changed at
rest would be loaded as it is.  What is in the file stays as it is, but for its end: so the daemon reads what was
appended, some seconds later, and notes how far it has come and the CRC-32 up to there.  When the engine has ended in
order all of it is noted.  What came after the last note before a kill is left to the digests in the change log.

Noted are only bytes that have been there for a while, under an engine that still runs, and that are synced: one that
could not write whole may take back what it wrote, and a power failure may take what was not synced.
"""

import json
import logging
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import NamedTuple
from zlib import crc32

from kvd.embedded.aof import AppendOnlyFile, identity
from kvd.embedded.disk import NO_SPACE
from kvd.embedded.ownership import open_file
from kvd.errors import StartError, one_line

logger = logging.getLogger("kvd.embedded")

NAME = "sums"
NOTE_BYTES = 1000
"""Length of the note: it is written in place, for on a full disk a longer one could not be written."""
MOST_FILES = 6
"""Files in it, the last ones: as many as fit."""
PIECE = 1 << 20
LAST_TIME = 1.5
"""Seconds for reading what is left when the daemon stops, which may take ten in all."""
_sync = getattr(os, "fdatasync", os.fsync)


class Sum(NamedTuple):
    """What is noted of a file.

    length, crc: of its beginning.  size: bytes that it had at the least.
    """

    name: str
    identity: str
    length: int = 0
    crc: int = 0
    size: int = 0


class Seal:
    """The note of one data directory.

    sync_time: seconds that the last `extend` took to have what was written synced, 0 if there was nothing to sync.
    end: what the append-only file was when this was noted at an end in order (`AppendOnlyFile.fingerprint`), else "".
    """

    def __init__(self, directory: Path, aof: AppendOnlyFile, descriptor: int = -1) -> None:
        """descriptor: of the directory, if the note is to be written."""
        self._path = directory / NAME
        self._descriptor = descriptor
        self._aof = aof
        self.end, self._sums = _read(self._path)
        self.sync_time = 0.0
        self._give_up = math.inf
        self._turn = Lock()
        self._seen: dict[str, int] = {}
        """Sizes of files at the last look, by their identities."""

    def unsealed(self) -> int:
        """Bytes of commands of which nothing is noted.  Raises StartError if the manifest is damaged."""
        return sum(max(0, size - self._sums.get(file.name, Sum("", "")).length) for file, _, size in self._files())

    def has_grown(self) -> bool:
        """Whether there is something to note, now or at the next look."""
        return any(size != self._sums.get(file.name, Sum("", "")).length for file, _, size in self._files())

    def extend(self, *, is_last: bool = False) -> None:
        """Note what was there at the last look; is_last: all that there is, as far as time allows.  Reads files.

        The last one may be called while another thread reads, which then comes to its end; nothing is noted after it.
        """
        if is_last:
            self._give_up = time.monotonic() + LAST_TIME
        with self._turn:
            if is_last or math.isinf(self._give_up):
                self._extend(is_last=is_last)

    def _extend(self, *, is_last: bool) -> None:
        sums: dict[str, Sum] = {}
        self.sync_time = 0.0
        with suppress(OSError, StartError):
            for file, same, size in self._files():
                known = self._sums.get(file.name)
                if known is None or known.identity != same or known.length > size:
                    known = Sum(file.name, same)
                stable = size if is_last else min(size, self._seen.get(same, 0))
                if known.length < stable:
                    self._sync(file)
                sums[file.name] = _extended(file, known, stable, self._is_time_up)._replace(size=size if is_last else 0)
            self._seen = {same: size for _, same, size in self._files()}
            end = self._aof.fingerprint() if is_last else ""
            if (end, sums) != (self.end, self._sums):
                self.end, self._sums = end, sums
                self._write()

    def _is_time_up(self) -> bool:
        return time.monotonic() >= self._give_up

    def _sync(self, file: Path) -> None:
        """Have all that is in a file on disk."""
        with file.open("rb", buffering=0) as written:
            began = time.perf_counter()
            _sync(written.fileno())
            self.sync_time = time.perf_counter() - began

    def begin_looks(self) -> None:
        """What was there at the last look counts no longer."""
        self._seen = {}

    def forget(self) -> None:
        """The end of the file is about to be cut off: nothing is known of it any more."""
        self.end, self._sums, self._seen = "", {}, {}
        with suppress(FileNotFoundError):
            os.unlink(NAME, dir_fd=self._descriptor)

    def why_wrong(self, *, any_file: bool) -> str:
        """Which file is not as it was written, and in what; "" if none is.  Reads files.

        any_file: whether a file that another of its name has replaced is to be the same as well.
        """
        for file, same, size in self._files():
            known = self._sums.get(file.name)
            if known is None or not (any_file or known.identity == same):
                continue
            name = one_line(str(file))
            if lost := _lost(known, size):
                return f"{name} is damaged: it has lost its end, {lost} bytes that were written and synced"
            is_same = _extended(file, Sum("", ""), known.length).crc == known.crc
            if not is_same and identity(file) == same:  # else the engine has replaced it meanwhile
                return f"{name} is damaged: it was changed where it is kept (another checksum up to {known.length})"
        return ""

    def is_shorter(self) -> bool:
        """Whether a file has lost its end, or has made way for a shorter one."""
        return any(_lost(known, size) for file, _, size in self._files() if (known := self._sums.get(file.name)))

    def _files(self) -> Iterator[tuple[Path, str, int]]:
        """The files of commands, their identities and sizes.  A snapshot's checksum is the engine's care."""
        for file in self._aof.files()[-MOST_FILES:]:
            if file.suffix != ".rdb" and (same := identity(file)):
                yield file, same, file.stat().st_size

    def _write(self) -> None:
        text = json.dumps([self.end, *self._sums.values()])
        try:
            with os.fdopen(open_file(self._descriptor, NAME, os.O_RDWR | os.O_CREAT), "r+") as file:
                file.write(f"{f'{crc32(text.encode()):08x} {text}':{NOTE_BYTES}}\n")
        except OSError as error:
            if error.errno not in NO_SPACE:
                logger.warning("cannot note the checksum of the append-only file: %s", error.strerror)


def _lost(known: Sum, size: int) -> int:
    """Bytes that a file of that size lacks."""
    return max(0, known.length - size, known.size - size)


def _extended(file: Path, known: Sum, length: int, is_enough: Callable[[], bool] = lambda: False) -> Sum:
    """What is known of a file's first bytes, extended to more of them, until it is enough."""
    crc, place = known.crc, known.length
    with file.open("rb", buffering=0) as source:
        source.seek(place)
        while place < length and not is_enough():
            piece = source.read(min(PIECE, length - place))
            if not piece:
                break
            crc = crc32(piece, crc)
            place += len(piece)
    return known._replace(length=place, crc=crc)


def _read(path: Path) -> tuple[str, dict[str, Sum]]:
    """What is noted; nothing if that is not there, or damaged itself."""
    try:
        check, _, text = path.read_text().strip().partition(" ")
        if check == f"{crc32(text.encode()):08x}":
            end, *sums = json.loads(text)
            return end, {one[0]: Sum(*one) for one in sums}
    except (OSError, ValueError, TypeError, IndexError, KeyError, RecursionError):
        pass
    return "", {}
