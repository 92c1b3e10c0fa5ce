"""Every error of kvd, and the word that stands for it on the wire.

    KvdError
        Refusal                 a reply `ERR code text`; code is the class's `code`
            UnknownVerb             unknown-verb
            Usage                   usage
            BadKey                  bad-key
            BadValue                bad-value
            TooLong                 too-long
            Aborted                 aborted
            Compacted               compacted
            OtherStore              store
            Future                  future
            NotANumber              not-a-number
            Overflow                overflow
            Unavailable             unavailable
                Superseded              the same; this daemon must end
            NotAuthenticated        auth
            Denied                  denied
            LimitReached            limit
            Uncertain               uncertain
        NotAClient              what connected speaks another protocol; closed at once
        StartError              the daemon cannot start; one line for a person
        StoreLost               the connection to Redis is gone; the store turns it into a Refusal
            GivenUp                 it was given up for a better one
            StoreUnusable           Redis is there, and refuses what waiting does not mend
        ConnectionLost          client side: the daemon is gone, or cannot be reached

Every `Refusal` but `Uncertain` means that nothing was changed.
"""

from typing import ClassVar


def one_line(text: str) -> str:
    """A text for people with what cannot be printed, or would break the line, escaped as in Python: a path may hold it.

    Bytes of a path that are not UTF-8 become such as \\xff.
    """
    return "".join(character if character.isprintable() else _escaped(character) for character in text)


def _escaped(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # os.fsdecode's for a byte
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()


class KvdError(Exception):
    """Base of all errors that kvd raises on purpose.

    retry: on the client side, seconds after which the daemon asks this client to come back; None: it does not say.
    """

    retry: float | None = None


class Refusal(KvdError):
    """A request was refused; `str(error)` is the text for people.

    On the client side a code that this version does not know is a plain `Refusal` with that code.
    """

    code: ClassVar[str] = "refused"

    def __init__(self, text: str, code: str | None = None) -> None:
        super().__init__(text)
        self.word: str = code or self.code


class UnknownVerb(Refusal):
    """The first word is no verb, or there is none."""

    code = "unknown-verb"


class Usage(Refusal):
    """The arguments are not those of the verb."""

    code = "usage"


class BadKey(Refusal):
    """Not a key, or not a pattern."""

    code = "bad-key"


class BadValue(Refusal):
    """Not a text value, bad base64, or not as long as announced."""

    code = "bad-value"


class TooLong(Refusal):
    """The line or the value is over its limit."""

    code = "too-long"


class Aborted(Refusal):
    """COMMIT of a transaction of which a request was refused."""

    code = "aborted"


ANEW = "; SYNC to begin anew"
"""What to do where changes are not to be had, at the end of a text: other ways in say it in their own words."""


class Compacted(Refusal):
    """The changes that are asked for are no longer all kept; the text begins with a position that is."""

    code = "compacted"


class OtherStore(Refusal):
    """A position of another store, or of a history that was replaced."""

    code = "store"


class Future(Refusal):
    """A position that the store has not reached."""

    code = "future"


class NotANumber(Refusal):
    """INCR met something that is no decimal integer."""

    code = "not-a-number"


class Overflow(Refusal):
    """INCR would leave the range of +-(2^63 - 1)."""

    code = "overflow"


class Unavailable(Refusal):
    """The store cannot serve now; the request was certainly not applied."""

    code = "unavailable"


class Superseded(Unavailable):
    """Another version of kvd is in charge: the store has another layout, or a worker other code.  The daemon ends.

    `str(error)` says why, in one line.
    """

    def __init__(self, text: str) -> None:
        super().__init__(one_line(text))


class NotAuthenticated(Refusal):
    """Who are you: no AUTH yet, or one with a wrong user or password, or there are no users."""

    code = "auth"


class Denied(Refusal):
    """You may not: no rule of the user allows it."""

    code = "denied"


class LimitReached(Refusal):
    """There is too much of something already."""

    code = "limit"


class Uncertain(Refusal):
    """The store was lost under the request; a write may have been applied."""

    code = "uncertain"


class NotAClient(KvdError):
    """The peer speaks another protocol (HTTP, TLS, a proxy header, a telnet interrupt)."""


class StartError(KvdError):
    """The daemon cannot start; `str(error)` says why and what to do, in one line."""

    def __init__(self, text: str) -> None:
        super().__init__(one_line(text))


class ForeignStore(StartError):
    """It cannot, for another program has changed kvd's own keys in the store."""


class StoreLost(KvdError):
    """The connection to Redis broke, or Redis cannot serve; what was in flight is unknown."""


class GivenUp(StoreLost):
    """The connection was closed by this daemon itself: what it was for is to be found elsewhere by now."""


class StoreUnusable(StoreLost):
    """Redis is there, and it or its data cannot be used until a person mends it; the text says what is wrong."""


class ForeignData(StoreUnusable):
    """Another program has changed kvd's own keys."""


class ConnectionLost(KvdError):
    """The daemon cannot be reached, or the connection ended before the reply came."""


REFUSALS: dict[str, type[Refusal]] = {kind.code: kind for kind in Refusal.__subclasses__()}
"""Wire code to class, for clients that turn `ERR` lines back into exceptions."""
