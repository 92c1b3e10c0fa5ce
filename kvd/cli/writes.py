"""What a file of keys stands for, looked at and kept until it is written."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from kvd.cli.entries import BadEntry, Entry, Reader
from kvd.cli.progress import Advance
from kvd.cli.standard_input import tell_who_types
from kvd.cli.status import USAGE, Failure

PIECE = 1 << 18
"""Bytes to read, and to send, at once."""
MOST_NAMED = 10
"""Bad lines that are named; how many more there are is said."""


def is_typed(path: str | None) -> bool:
    """Whether that comes from a terminal."""
    return path in (None, "-") and os.isatty(0)


@contextmanager
def source(path: str | None) -> Iterator[IO[bytes]]:
    """The file, or standard input."""
    try:
        if path is None or path == "-":
            if sys.stdin is None:  # the shell's <&-
                raise Failure(USAGE, "standard input is closed")
            tell_who_types("keys")
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

    def read_lines(self, path: str | None, advance: Advance) -> None:
        """Read a file of lines, or standard input.  Raises Failure."""
        with source(path) as file:
            self._read(file, advance)

    def _read(self, source: IO[bytes], advance: Advance) -> None:
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
            self._keep(number, self._reader.entry(line))
        except BadEntry as error:
            self.complain(f"line {number}", str(error))

    def take(self, place: str, key: str, value: bytes, ttl: float | None = None) -> None:
        """Take a key of another system.  place: what to call it if it is bad.  ttl: seconds, None: for ever."""
        self._number += 1
        try:
            self._keep(self._number, self._reader.write(key, value, ttl))
        except BadEntry as error:
            self.complain(place, str(error))

    def _keep(self, number: int, entry: Entry) -> None:
        key, request, owner = entry
        if owner is None:
            self._owned.pop(key, None)  # the last line of a key counts
            self._others += 1
            self._file.write(request)
        else:
            self._owned[key] = self._owned_file.tell(), len(request), number, owner
            self._owned_file.write(request)

    def complain(self, place: str, text: str) -> None:
        """Note that something is bad: then nothing is written."""
        self._bad_count += 1
        if len(self._bad) < MOST_NAMED:
            self._bad.append(f"{place}: {text}")

    def check(self) -> None:
        """Raise Failure if a line is bad."""
        for _, _, number, owner in self._owned.values():
            if owner in self._owned:
                self.complain(f"line {number}", f'"with": {owner} lives with another key itself')
        if more := self._bad_count - len(self._bad):
            self._bad.append(f"and {more} more")
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
