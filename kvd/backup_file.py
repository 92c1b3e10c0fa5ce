"""The file that `kvctl backup` writes and `kvd restore` reads: lines of JSON between a first and a last one.

    {"kvd-backup": 1, "version": "0.1.0", "made": "2026-11-26T19:50:38Z"}
    {"key": "service/mail", "revision": 20, "value": "up", "ttl": 599.731}
    {"position": "20@c3d1a7f0", "keys": 1, "sha256": "5a1c..."}

The lines between are those of `kvctl export`.  Keys that live with others come after all others.  The digest is of all
bytes before it, so whatever is changed, missing or added is noticed.
"""

import base64
import hashlib
import json
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, NamedTuple

from kvd.errors import StartError

FORMAT = 1
PIECE = 1 << 20
"""Bytes to read at once."""
LINES = 1000
"""Lines that are read together: those of one batch of a restore."""
LONGEST_LAST = 512
"""Bytes of the last line, at the most."""

_FIRST = re.compile(rb'\{"kvd-backup": ([0-9]{1,9}), [^\n]*\}\n')
_LAST = re.compile(
    rb'\{"position": "(0|[1-9][0-9]{0,15})@([0-9A-Za-z]{1,64})", "keys": (0|[1-9][0-9]{0,15}), "sha256": "'
    rb'(?P<digest>[0-9a-f]{64})"\}\n'
)
_SIMPLE = re.compile(
    rb'^\{"key": "([!#-\[\]-~]{1,512})", "revision": ([0-9]{1,16}), "value": "([ !#-\[\]-~]*)"\}\n', re.MULTILINE
)
"""What most lines are: of a key and a text in which nothing is escaped, that neither ends nor lives with another."""


class Entry(NamedTuple):
    """A key of a backup.

    revision: digits.  is_plain: whether the value is printable ASCII, and so surely a text.  life: milliseconds that
    the key has left, 0 for one that does not expire.  owner: the key that it lives with, b"" if there is none.
    """

    key: bytes
    revision: bytes
    value: bytes
    is_plain: bool = False
    life: int = 0
    owner: bytes = b""


class Backup(NamedTuple):
    """A file that is whole.

    revision, store: the position at which all is as it was.  begin, end: where the lines of keys are.
    """

    path: Path
    revision: int
    store: str
    keys: int
    begin: int
    end: int


def write(file: IO[bytes], version: str, pieces: Iterable[bytes], last: Callable[[], tuple[str, int]]) -> None:
    """Write a whole one.  pieces: lines of keys.  last: gives the position and the number of keys, after them."""
    digest = hashlib.sha256()

    def put(data: bytes) -> None:
        digest.update(data)
        file.write(data)

    made = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    put(json.dumps({"kvd-backup": FORMAT, "version": version, "made": made}).encode() + b"\n")
    for piece in pieces:
        put(piece)
    position, keys = last()
    put(b'{"position": "%b", "keys": %d, "sha256": "' % (position.encode(), keys))
    file.write(digest.hexdigest().encode() + b'"}\n')


def look_at(path: Path) -> Backup:
    """See that a file is a whole backup.  Raises StartError that says what is wrong with it, OSError."""
    with path.open("rb") as file:
        first = _FIRST.fullmatch(file.readline(LONGEST_LAST))
        if not first:
            raise StartError(f"{path} is no backup: expected a file that kvctl backup has written")
        if int(first[1]) > FORMAT:
            raise StartError(f"{path} is of a newer kvd, in form {int(first[1])}: restore it with that")
        size = file.seek(0, os.SEEK_END)
        file.seek(max(first.end(), size - LONGEST_LAST))
        line = file.read().rpartition(b"\n")[0].rpartition(b"\n")[2] + b"\n"
        last = _LAST.fullmatch(line)
        end = size - len(line)
        if not last or end < first.end():
            raise StartError(f"{path} is not whole: its last line is missing or damaged; take another copy of it")
        if _digest(file, end + last.start("digest")) != last["digest"].decode():
            raise StartError(f"{path} is damaged: its checksum is another one; take another copy of it")
    return Backup(path, int(last[1]), last[2].decode(), int(last[3]), first.end(), end)


def _digest(file: IO[bytes], size: int) -> str:
    """Of the first bytes of a file."""
    digest = hashlib.sha256()
    file.seek(0)
    while size:
        piece = file.read(min(PIECE, size))
        if not piece:
            break
        digest.update(piece)
        size -= len(piece)
    return digest.hexdigest()


def entries(backup: Backup) -> Iterator[list[Entry]]:
    """The keys, some at a time, in their order.  Raises StartError for what no backup has, OSError."""
    found = 0
    left = backup.end - backup.begin
    with backup.path.open("rb") as file:
        file.seek(backup.begin)
        while left > 0:
            lines, size = _some_lines(file, left)
            left -= size
            found += len(lines)
            yield _read(lines)
    if left or found != backup.keys:
        raise StartError(f"{backup.path} is damaged: it has {found} keys, and says that it has {backup.keys}")


def _some_lines(file: IO[bytes], left: int) -> tuple[list[bytes], int]:
    """Lines for one batch, and their bytes.  Raises StartError if the file has become shorter."""
    lines: list[bytes] = []
    size = 0
    while len(lines) < LINES and size < min(PIECE, left):
        line = file.readline()
        if not line:
            raise StartError("the backup was changed while it was read")
        lines.append(line)
        size += len(line)
    return lines, size


def _read(lines: list[bytes]) -> list[Entry]:
    simple = _SIMPLE.findall(b"".join(lines))
    if len(simple) == len(lines):
        return [Entry(key, revision, value, is_plain=True) for key, revision, value in simple]
    return list(map(_entry, lines))


def _entry(line: bytes) -> Entry:
    try:
        read: dict[str, Any] = json.loads(line)
        value = read["value"].encode() if "value" in read else base64.b64decode(read["base64"], validate=True)
        return Entry(
            read["key"].encode(), b"%d" % read["revision"], value,
            life=math.ceil(float(read.get("ttl", 0)) * 1000), owner=read.get("with", "").encode(),
        )  # fmt: skip
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        raise StartError(f"the backup has a line that is none of a key: {line[:60]!a}") from None
