"""The command that writes keys to a file: export."""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from operator import lt
from pathlib import Path
from typing import IO

from kvd.cli.command import Arguments
from kvd.cli.entries import SIMPLE_LINE, line_of
from kvd.cli.output import Output, say
from kvd.cli.progress import progress
from kvd.cli.speaking import speaking
from kvd.cli.status import UNWRITTEN, Failure
from kvd.client import requests
from kvd.client.bulk import Copying, Gone, Record
from kvd.client.lines import Line, Reply
from kvd.client.raw import RawLines

PIECE = 1 << 18
"""Bytes to copy at once."""
NOWHERE = -1


def export(args: Arguments, _: Output) -> None:
    """Write a copy as of one position.  Nothing is written before it is whole."""
    pattern = args["<PATTERN>"] or "*"
    with tempfile.TemporaryFile() as file:
        copied = CopiedLines(file)
        copying = Copying(pattern)
        with speaking(args) as daemon, progress("reading", _count(daemon, pattern)) as advance:
            daemon.send(copying.request)
            while not copying.position:
                advance(copied.take(copying, daemon.receive()))
        with _output(args["<FILE>"]) as output:
            for piece in copied.pieces():
                output.write(piece)
    say(f"exported {copied.count} keys at {copying.position}")


def _count(daemon: RawLines, pattern: str) -> int:
    request = requests.count(pattern)
    daemon.send(request.data)
    return request.result([Reply(Line(*daemon.receive()[0].partition(b" ")))])


class CopiedLines:
    """The lines of a copy, in a file: of each key the last one, those with an owner after all others.

    count: how many there are, after `pieces`.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.count = 0
        self._greatest = b""
        self._has_owners = False
        self._again: dict[bytes, int] = {}
        """The number of the last line of a key that came again, or was gone: keys come in order but for these."""

    def take(self, copying: Copying, came: Sequence[bytes]) -> int:
        """Take what comes; return how many lines."""
        before = self.count
        simple = copying.simple(came[:-1], SIMPLE_LINE)  # more may follow that is of the last one
        if simple is None or not self._is_ahead(simple[0]):
            self._take(copying.records(came))
        else:
            self._take(copying.ended())
            keys, lines = simple
            self._greatest = keys[-1] if keys else self._greatest
            self._file.write(lines)
            self.count += len(keys)
            self._take(copying.records(came[-1:]))
        return self.count - before

    def _is_ahead(self, keys: list[bytes]) -> bool:
        """Whether none of these has come before."""
        return (
            not keys
            or (keys[0] > self._greatest and all(map(lt, keys, keys[1:])) and self._again.keys().isdisjoint(keys))
        )  # fmt: skip

    def _take(self, records: Iterable[Record | Gone]) -> None:
        lines: list[bytes] = []
        for record in records:
            key = record.key
            if isinstance(record, Gone):
                self._again[key] = NOWHERE
                continue
            if key <= self._greatest or key in self._again:
                self._again[key] = self.count + len(lines)
            else:
                self._greatest = key
            if record.owner:
                self._has_owners = True
            lines.append(line_of(record))
        self._file.write(b"".join(lines))
        self.count += len(lines)

    def pieces(self) -> Iterator[bytes]:
        """All lines, in pieces."""
        if self._again or self._has_owners:
            self.count = 0
            yield from self._chosen(with_owners=False)
            yield from self._chosen(with_owners=True)
        else:
            self._file.seek(0)
            yield from iter(lambda: self._file.read(PIECE), b"")

    def _chosen(self, *, with_owners: bool) -> Iterator[bytes]:
        import json

        self._file.seek(0)
        for number, line in enumerate(self._file):
            entry = json.loads(line)
            if ("with" in entry) == with_owners and self._again.get(entry["key"].encode(), number) == number:
                self.count += 1
                yield line


@contextmanager
def _output(path: str | None) -> Iterator[IO[bytes]]:
    """Standard output, or a file that takes the place of one with this name when all is written."""
    if path is None:
        yield sys.stdout.buffer
        return
    try:
        with _replacing(Path(path)) as file:
            yield file
    except OSError as error:
        raise Failure(UNWRITTEN, f"cannot write {path} ({error.strerror})") from None


@contextmanager
def _replacing(path: Path) -> Iterator[IO[bytes]]:
    if path.exists() and not path.is_file():  # a pipe, a device
        with path.open("wb") as file:
            yield file
        return
    path = path.resolve()
    new = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        with new.open("xb") as file:
            yield file
        if path.exists():
            shutil.copymode(path, new)
        new.replace(path)
    except BaseException:
        with suppress(OSError):
            new.unlink()
        raise
