"""The commands that write keys to a file: export, backup."""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from operator import lt
from pathlib import Path
from typing import IO

from kvd import __version__, backup_file
from kvd.cli.command import Arguments
from kvd.cli.entries import SIMPLE_LINE, line_of
from kvd.cli.interrupts import at_end
from kvd.cli.output import Output, say
from kvd.cli.progress import progress
from kvd.cli.speaking import speaking
from kvd.cli.status import UNWRITTEN, USAGE, Failure
from kvd.client import replies, requests
from kvd.client.bulk import Copying, Gone, Record
from kvd.client.lines import Line, Reply
from kvd.client.raw import RawLines

PIECE = 1 << 18
"""Bytes to copy at once."""
NOWHERE = -1
STDOUT = ("-", "/dev/stdout")
PRIVATE = 0o600
"""The mode of a backup: it has all that there is, also what only some users may read."""
WHETHER_ALL = (b"BEGIN\n", b"CHECK * if=0\n", b"ABORT\n")
"""A transaction that is given up: its condition is refused to those who may not read every key."""


def export(args: Arguments, _: Output) -> None:
    """Write a copy as of one position.  Nothing is written before it is whole."""
    with tempfile.TemporaryFile() as file:
        copied = CopiedLines(file)
        with speaking(args) as daemon:
            position = _copy(daemon, args["<PATTERN>"] or "*", copied)
        with _output(args["<FILE>"]) as output:
            for piece in copied.pieces():
                output.write(piece)
    say(f"exported {copied.count} keys at {position}")
    pattern = args["<PATTERN>"]
    if pattern and not pattern.endswith("*") and not (args["<FILE>"] or copied.count):
        say(f"there is no key {pattern}; to write all keys to a file: kvctl export '*' {pattern}")


def backup(args: Arguments, _: Output) -> None:
    """Write all keys as of one position, with a checksum."""
    if args["<FILE>"] in STDOUT:
        _back_up(args, None)
        return
    path = Path(args["<FILE>"])
    if not _is_kept(path):
        raise Failure(USAGE, f"{path} is no regular file: name a file, or - for standard output")
    _back_up(args, path)


def _back_up(args: Arguments, path: Path | None) -> None:
    """path: None for standard output."""
    # Beside the file: that has space for much, which the place for temporary files need not have.
    beside = path.resolve().parent if path else None
    with _unwritten(path or Path(STDOUT[0])), tempfile.TemporaryFile(dir=beside) as file:
        copied = CopiedLines(file)
        with speaking(args) as daemon:
            _see_that_all_is_read(daemon)
            position = _copy(daemon, "*", copied)
        with _replacing(path, PRIVATE) if path else nullcontext(sys.stdout.buffer) as output:
            backup_file.write(output, __version__, copied.pieces(), lambda: (position, copied.count))
    say(f"backed up {copied.count} keys at {position}")


def _see_that_all_is_read(daemon: RawLines) -> None:
    """A copy is of what this user may read: that would be no backup.  Raises Refusal."""
    daemon.send(b"".join(WHETHER_ALL))
    came: list[bytes] = []
    while len(came) < len(WHETHER_ALL):
        came += daemon.receive()
    replies.answer(Reply(Line(*came[1].partition(b" "))), replies.queued)


def _copy(daemon: RawLines, pattern: str, copied: "CopiedLines") -> str:
    """Copy the keys that match; the position at which that is the store."""
    copying = Copying(pattern)
    with progress("reading", _count(daemon, pattern)) as advance:
        daemon.send(copying.request)
        while not copying.position:
            advance(copied.take(copying, daemon.receive()))
    return copying.position


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
    if path is None or path in STDOUT:
        yield sys.stdout.buffer
        return
    with _unwritten(Path(path)), _replacing(Path(path)) as file:
        yield file


@contextmanager
def _unwritten(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Failure(UNWRITTEN, f"cannot write {path} ({error.strerror})") from None


def _is_kept(path: Path) -> bool:
    """Whether it is, or will be, a file: no pipe, no device."""
    return path.is_file() or not path.exists()


@contextmanager
def _replacing(path: Path, mode: int = 0o666) -> Iterator[IO[bytes]]:
    """mode: of a file that was not there, less what umask takes."""
    if not _is_kept(path):
        with path.open("wb") as file:
            yield file
        return
    path = path.resolve()
    new = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        with at_end(new.unlink):
            with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            if path.exists():
                shutil.copymode(path, new)
            new.replace(path)
        _sync_directory(path.parent)
    except BaseException:
        with suppress(OSError):
            new.unlink()
        raise


def _sync_directory(path: Path) -> None:
    """See that names in a directory stay over a power failure, where the file system can do that."""
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with suppress(OSError):
            os.fsync(directory)
    finally:
        os.close(directory)
