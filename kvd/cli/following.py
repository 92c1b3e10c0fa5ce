"""Where the changes come from that kvctl watches: from one daemon after another, beginning where it is wished."""

import fcntl
import os

from kvd.cli.command import Arguments, how
from kvd.cli.output import say
from kvd.cli.status import LOST, REFUSED, UNWRITTEN, USAGE, Failure
from kvd.client import Copy, Event, FilePosition, ProtocolError, Unreachable, Watch, connect
from kvd.errors import Compacted, Future, KvdError, OtherStore, Usage

GONE = (Compacted, OtherStore, Future)
"""The changes after a position are not to be had."""


class State:
    """The position in a file, of --state; its errors are Failures.

    It is this kvctl's alone until that ends: two would each take the other's changes for done.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        try:
            self._file = FilePosition(path)
        except OSError as error:  # the directory in which it would be, this program's own, is gone
            raise self._unreadable(error) from None
        self._lock: int | None = None

    def load(self) -> str | None:
        """The position that was saved last, None: there is no file."""
        try:
            self._file.load()  # beside what cannot be used nothing is made
            self._lock = self._locked() if self._lock is None else self._lock
            return self._file.load()
        except OSError as error:
            raise self._unreadable(error) from None
        except Usage as error:
            raise Failure(USAGE, f"--state: {error}; remove that file to begin anew") from None

    def _unreadable(self, error: OSError) -> Failure:
        return Failure(UNWRITTEN, f"--state: cannot read {self._path} ({error.strerror})")

    def _locked(self) -> int:
        """Lock a file beside it, for it is itself replaced.  That stays: who removed it might unlock another one's."""
        path = f"{os.path.realpath(self._path)}.lock"
        try:
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NONBLOCK | os.O_NOFOLLOW, 0o666)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Failure(
                UNWRITTEN, f"--state: another kvctl watch keeps its position in {self._path}; give each its own file"
            ) from None
        except OSError as error:
            raise Failure(UNWRITTEN, f"--state: cannot write {path} ({error.strerror})") from None
        return lock

    def save(self, position: str) -> None:
        """Replace the file."""
        try:
            self._file.save(position)
        except OSError as error:
            raise Failure(UNWRITTEN, f"--state: cannot write {self._path} ({error.strerror})") from None


class Retrying:
    """Says what was lost, once for each loss: to be told of every attempt helps nobody.

    has_begun: before that what is lost is the end.
    """

    def __init__(self) -> None:
        self.has_begun = False
        self._is_away = False

    def __call__(self, error: KvdError, _: float) -> None:
        """Raises the error, before it has begun; Failure: what answers is no kvd, and to ask it again is no use."""
        if not self.has_begun:
            raise error
        if isinstance(error, ProtocolError):
            raise Failure(LOST, str(error))
        is_attempt = isinstance(error, Unreachable)
        if not (is_attempt and self._is_away):
            say(f"{error}; trying again")
        self._is_away = is_attempt


async def beginning(args: Arguments, kept: str | None) -> str | None:
    """The position after which to begin, None: none is given.  kept: that of --state.  Raises Failure, KvdError."""
    if kept:
        return kept
    since: str | None = args["--since"]
    if since is None or "@" in since:
        return since
    async with await connect(args["--addr"], reconnect=0, **how(args)) as kv:
        return f"{since}@{(await kv.info()).get('store', '')}"


async def present(args: Arguments) -> str:
    """The position at which a watch would begin now.  Raises KvdError."""
    async with Watch(args["--addr"], *args["<PATTERN>"], **how(args)) as changes:
        return changes.position


def gone(position: str | None, reason: str) -> Failure:
    """What it means that the changes after a position are not to be had."""
    return Failure(
        REFUSED, f"the changes after {position} are not to be had ({reason}): with --sync it begins from the present"
    )


def newer(copy: Copy, position: str) -> list[Event]:
    """What a copy has that is newer than a position of the same history, as changes, in their order."""
    revision, store = int(position.partition("@")[0]), copy.position.partition("@")[2]
    return [
        Event(f"{item.revision}@{store}", item.revision, "SET", item.key, item.value)
        for item in sorted(copy.items.values(), key=lambda item: item.revision)
        if item.revision > revision
    ]
