"""Where the changes come from that kvctl watches: from one daemon after another, beginning where it is wished."""

from kvd.cli.command import Arguments, how
from kvd.cli.output import say
from kvd.cli.status import LOST, REFUSED, UNWRITTEN, Failure
from kvd.client import Copy, Event, FilePosition, ProtocolError, Unreachable, Watch, connect
from kvd.errors import Compacted, Future, KvdError, OtherStore

GONE = (Compacted, OtherStore, Future)
"""The changes after a position are not to be had."""


class State:
    """The position in a file, of --state; its errors are Failures."""

    def __init__(self, path: str) -> None:
        self._path, self._file = path, FilePosition(path)

    def load(self) -> str | None:
        """The position that was saved last, None: there is no file."""
        try:
            return self._file.load()
        except OSError as error:
            raise Failure(UNWRITTEN, f"--state: cannot read {self._path} ({error.strerror})") from None

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


async def beginning(args: Arguments, state: State | None) -> str | None:
    """The position after which to begin, None: none is given.  Raises Failure, KvdError."""
    if state and (kept := state.load()):
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
