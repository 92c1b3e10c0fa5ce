"""What a worker is told by its parent, on its standard input; the input ends when the parent does.  After its
task that is what was read anew, and what workers ask each other and answer.

The first line says what code the parent runs.  A worker that was started from other code, because kvd was changed on
disk meanwhile, reads no further.
"""

import hashlib
import os
import pickle
from itertools import chain
from pathlib import Path
from typing import IO, NamedTuple

import kvd
from kvd.addresses import AnyAddress
from kvd.counts import Start
from kvd.errors import Superseded
from kvd.reloadable import NOTHING, Reloadable
from kvd.settings import Settings
from kvd.store.location import StoreLocation
from kvd.store.redis.scripts import LAYOUT

READY = b"ready\n"
"""What a worker says on its standard output when it listens; anything else says why it does not."""
RELOADED = b"reloaded\n"
"""What it says there each time that it has taken what was read anew."""
EXIT_SUPERSEDED = 3
"""Exit status of a worker that another version of kvd has replaced; its last line on standard output says how."""


def code_on_disk() -> bytes:
    """Version, layout and digest of kvd's code as it is on disk now, in one line."""
    directory = Path(kvd.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(chain(directory.rglob("*.py"), directory.rglob("*.lua"))):
        digest.update(b"%b\n%d\n" % (bytes(path.relative_to(directory)), path.stat().st_size))
        digest.update(path.read_bytes())
    return f"kvd {kvd.__version__}, layout {LAYOUT}, code {digest.hexdigest()[:8]}\n".encode()


_LENGTH = 8
"""Bytes of the length that goes before a message."""


class Asked(NamedTuple):
    """Another worker's question, as `others` writes it, to be answered under that number."""

    number: int
    question: bytes


class Answered(NamedTuple):
    """The other workers' answers to the question of that number; None: one of them is silent."""

    number: int
    answers: tuple[bytes, ...] | None


Message = Reloadable | Asked | Answered


class Task(NamedTuple):
    """All that a worker needs.

    parent: int, its process id.  listeners: descriptors of sockets that the worker inherits, bound, and where to.
    http: those of them that are for HTTP.
    loaded: what was read last.  start: as Server takes it.
    """

    parent: int
    settings: Settings
    location: StoreLocation
    listeners: tuple[tuple[int, AnyAddress], ...]
    loaded: Reloadable = NOTHING
    start: Start | None = None
    http: frozenset[int] = frozenset()

    def give(self, to: IO[bytes], code: bytes) -> None:
        """Write it for a worker.  Not an argument: others can see those, and there may be a password in the URL.

        code: bytes, what `code_on_disk` gave when this process began.
        """
        to.write(code)
        pickle.dump(self, to)
        to.flush()

    @classmethod
    def take(cls, given: IO[bytes]) -> "Task":
        """Read what `give` wrote.  Raises EOFError if the parent is gone, Superseded if it runs other code."""
        theirs, ours = given.readline(), code_on_disk()
        if not theirs.endswith(b"\n"):
            raise EOFError
        if theirs != ours:
            raise Superseded(
                f"a worker was started from other code than this daemon's ({ours[:-1].decode()}; this daemon's is "
                f"{theirs[:-1].decode(errors='replace')}): kvd was changed on disk meanwhile; start it again"
            )
        task = pickle.load(given)  # noqa: S301  # from our own parent
        assert isinstance(task, cls)  # noqa: S101
        return task


def give_message(message: Message, to: IO[bytes]) -> None:
    """Write something for a worker.  Raises OSError if it is gone."""
    data = pickle.dumps(message)
    to.write(len(data).to_bytes(_LENGTH) + data)
    to.flush()


def take_message(descriptor: int) -> Message | None:
    """Wait for what `give_message` writes; None: the parent is gone.

    To be called by a thread that is not waited for: one that waits in a file object's read would abort the process at
    its end, so that is no place for one.
    """
    length = _read(descriptor, _LENGTH)
    data = length and _read(descriptor, int.from_bytes(length))
    if not data:
        return None
    message = pickle.loads(data)  # noqa: S301  # from our own parent
    assert isinstance(message, Message)  # noqa: S101
    return message


def _read(descriptor: int, size: int) -> bytes | None:
    """So many bytes; None if the end comes before."""
    data = b""
    while len(data) < size:
        piece = os.read(descriptor, size - len(data))
        if not piece:
            return None
        data += piece
    return data
