"""The exit statuses of kvctl, and the failure that carries one."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from kvd.client import BadAddress, Conflict, ProtocolError, Unreachable
from kvd.errors import (
    BadKey,
    BadValue,
    ConnectionLost,
    KvdError,
    Refusal,
    TooLong,
    Unavailable,
    Uncertain,
    UnknownVerb,
    Usage,
)

DONE, ABSENT, USAGE, LOST, REFUSED, UNWRITTEN, UNAVAILABLE, UNKNOWN, DEADLINE = range(9)
CANNOT_RUN, INTERRUPTED, TERMINATED = 126, 130, 143
"""As a shell has them."""

IF = "--if"
ADDR = "--addr"
"""By what most commands are told of a daemon."""

SIGNALLED = 128
"""What a shell adds to the number of the signal that has ended a command."""

_BY_SERIOUSNESS = (DONE, ABSENT, UNAVAILABLE, USAGE, REFUSED, LOST, UNKNOWN)
"""What may come of one key among several.  Nobody can mend what is unknown by trying again; what is only unavailable
is mended by it, and then shows what else there was."""

_WRONG_WORDS = (BadAddress, BadKey, BadValue, TooLong, UnknownVerb, Usage)


class Failure(Exception):
    """Ends the program.

    status: int, the exit status.  messages: a line each for people, which may hold anything.
    usage: lines of the usage that show how it is done.
    """

    def __init__(self, status: int, *messages: str, usage: Sequence[str] = ()) -> None:
        super().__init__(*messages)
        self.status, self.messages, self.usage = status, messages, usage


def as_of_a_shell(status: int) -> int:
    """What a shell says of a command that asyncio gives this status, which is less than zero if a signal ended it."""
    return SIGNALLED - status if status < 0 else status


def absent(*keys: str) -> Failure:
    """There are no such keys."""
    return Failure(ABSENT, f"no such key: {', '.join(keys)}")


def most_serious(statuses: Iterable[int]) -> int:
    """Of what came of several keys, the status that the program ends with."""
    return max(statuses, key=_BY_SERIOUSNESS.index)


@contextmanager
def asking(*, writing: bool = False, addr: str = ADDR, condition: str = IF) -> Iterator[None]:
    """Raise Failure for an error of kvd.

    writing: what is asked for is a write, which may be done when kvd is lost.  addr: by what the daemon was named.
    condition: the option that was given for one.
    """
    try:
        yield
    except KvdError as error:
        raise failure_of(error, writing=writing, addr=addr, condition=condition) from None


def failure_of(error: KvdError, *, writing: bool, addr: str = ADDR, condition: str = IF) -> Failure:
    """The Failure for an error of kvd."""
    status = _status_of(error, writing)
    is_known = status != UNKNOWN or isinstance(error, Uncertain)  # which says so
    text = _text_of(error, addr, condition)
    return Failure(status, text if is_known else f"{text}; the write may have been done, or not")


def _status_of(error: KvdError, writing: bool) -> int:
    match error:
        case Conflict():
            return ABSENT
        case _ if isinstance(error, _WRONG_WORDS):
            return USAGE
        case Unavailable():
            return UNAVAILABLE
        case Uncertain(__cause__=ConnectionLost() as lost):
            return _status_of(lost, writing)
        case Uncertain():
            return UNKNOWN
        case Refusal():
            return REFUSED
        case Unreachable() | ProtocolError():
            return LOST
        case ConnectionLost() if writing:
            return UNKNOWN
        case _:
            return LOST


def _text_of(error: KvdError, addr: str, condition: str) -> str:
    match error:
        case Conflict():
            return f"{condition} does not hold: {error}"
        case Unreachable(refused=True):
            other = f"with {addr} HOST:PORT" if addr == ADDR else f"for {addr}"
            return f"{error}: start it with 'kvd', or name another {other}"
        case Unreachable():
            return f"{error}{_hint(error, addr)}"
        case Uncertain(__cause__=ConnectionLost()):
            return str(error)
        case Refusal():
            return f"{error.word}: {error}{_hint(error, addr)}"
        case _:
            return str(error)


def _hint(error: Unreachable | Refusal, addr: str) -> str:
    from kvd.cli.tls_hints import hint  # some milliseconds that only errors take

    what = hint(error).replace(ADDR, addr)
    return f": {what}" if what else ""
