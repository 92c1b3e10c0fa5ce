"""The command that writes the keys of a file: import."""

import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from kvd.cli.bulk_writing import Writing
from kvd.cli.command import Arguments
from kvd.cli.entries import BadEntry, Reader
from kvd.cli.output import Output
from kvd.cli.progress import Advance, progress
from kvd.cli.speaking import speaking
from kvd.cli.status import USAGE, Failure
from kvd.client import LARGEST_VALUE, requests
from kvd.client.lines import Line, Reply
from kvd.client.raw import RawLines

PIECE = 1 << 18
"""Bytes to read, and to send, at once."""
MOST_NAMED = 10
"""Bad lines that are named; how many more there are is said."""
CREATE_ONLY, DRY_RUN = "--create-only", "--dry-run"


def import_(args: Arguments, out: Output) -> None:
    """Look at all lines, and then write what they say."""
    with tempfile.TemporaryFile() as file, tempfile.TemporaryFile() as owned:
        with speaking(args) as daemon:
            reader = Reader(_max_value(daemon), create_only=args[CREATE_ONLY])
        writes = Writes(reader, file, owned)
        with _source(args["<FILE>"]) as source, progress("checking", None) as advance:
            writes.read(source, advance)
        writes.check()
        if args[DRY_RUN]:
            out.line(f"{writes.count} keys to write", keys=writes.count)
            return
        writing = Writing(create_only=args[CREATE_ONLY])
        with speaking(args) as daemon, progress("writing", writes.count) as advance:
            writing.write(daemon, writes.pieces(), advance)
    if failure := writing.failure(writes.count):
        raise failure
    there = f"; {writing.there} were there" if args[CREATE_ONLY] else ""
    out.line(f"{writing.applied} keys written{there}", written=writing.applied, there=writing.there)


def _max_value(daemon: RawLines) -> int:
    """Ask how many bytes a value may have."""
    request = requests.info()
    daemon.send(request.data)
    came: list[Line] = []
    while not came or came[-1].word not in (b"OK", b"ERR"):
        came += [Line(*line.partition(b" ")) for line in daemon.receive()]
    *facts, status = came
    said = request.result([Reply(status, facts)]).get("max-value", "")
    return min(int(said), LARGEST_VALUE) if re.fullmatch("[0-9]{1,15}", said) else LARGEST_VALUE


@contextmanager
def _source(path: str | None) -> Iterator[IO[bytes]]:
    """The file, or standard input."""
    try:
        if path is None or path == "-":
            if sys.stdin is None:  # the shell's <&-
                raise Failure(USAGE, "standard input is closed")
            yield sys.stdin.buffer
        else:
            with Path(path).open("rb") as file:
                yield file
    except OSError as error:
        raise Failure(USAGE, f"cannot read {path or 'standard input'} ({error.strerror})") from None


class Writes:
    """What the lines of a file stand for, in the order in which it can be written: owners before what lives with them.

    count: keys to write.
    """

    def __init__(self, reader: Reader, file: IO[bytes], owned_file: IO[bytes]) -> None:
        """file, owned_file: to keep the requests in, for a pipe is read once."""
        self._reader, self._file, self._owned_file = reader, file, owned_file
        self._others = 0
        self._owned: dict[str, tuple[int, int, int, str]] = {}
        """Where the request of a key with an owner stands in its file, its length, the line's number, and its owner."""
        self._bad: list[str] = []
        self._bad_count = 0
        self._number = 0

    @property
    def count(self) -> int:
        """Keys to write."""
        return self._others + len(self._owned)

    def read(self, source: IO[bytes], advance: Advance) -> None:
        """Read all lines."""
        for lines in self._batches(source):
            simple = None if self._owned else self._reader.simple(b"".join(lines), len(lines))
            if simple is None:
                for number, line in enumerate(lines, self._number + 1):
                    self._take(number, line)
            else:
                self._file.write(simple)
                self._others += len(lines)
            self._number += len(lines)
            advance(len(lines))

    def _batches(self, source: IO[bytes]) -> Iterator[list[bytes]]:
        lines: list[bytes] = []
        size, longest = 0, self._reader.longest
        while line := source.readline(longest + 1):
            if len(line) > longest:
                number = self._number + len(lines) + 1
                raise _bad([f"line {number}: it is longer than one with the longest value that this daemon takes"])
            lines.append(line)
            size += len(line)
            if size >= PIECE:
                yield lines
                lines, size = [], 0
        if lines:
            lines[-1] = lines[-1].removesuffix(b"\n") + b"\n"
            yield lines

    def _take(self, number: int, line: bytes) -> None:
        if line.isspace():
            return
        try:
            key, request, owner = self._reader.entry(line)
        except BadEntry as error:
            self._complain(number, str(error))
            return
        if owner is None:
            self._owned.pop(key, None)  # the last line of a key counts
            self._others += 1
            self._file.write(request)
        else:
            self._owned[key] = self._owned_file.tell(), len(request), number, owner
            self._owned_file.write(request)

    def _complain(self, number: int, text: str) -> None:
        self._bad_count += 1
        if len(self._bad) < MOST_NAMED:
            self._bad.append(f"line {number}: {text}")

    def check(self) -> None:
        """Raise Failure if a line is bad."""
        for _, _, number, owner in self._owned.values():
            if owner in self._owned:
                self._complain(number, f'"with": {owner} lives with another key itself')
        if more := self._bad_count - len(self._bad):
            self._bad.append(f"and {more} lines more")
        if self._bad:
            raise _bad(self._bad)

    def pieces(self) -> Iterator[list[bytes]]:
        """The requests, some at a time, in order."""
        self._file.seek(0)
        yield from iter(lambda: self._file.readlines(PIECE), [])
        for offset, length, _, _ in self._owned.values():
            self._owned_file.seek(offset)
            yield [self._owned_file.read(length)]


def _bad(lines: list[str]) -> Failure:
    return Failure(USAGE, *lines, "nothing was written")
