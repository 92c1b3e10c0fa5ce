"""The arguments of a client's calls, checked and turned into words of the wire before anything is sent.

A wrong type raises TypeError with the name of the argument, a wrong value the Refusal that the daemon would answer.
What is checked is what is sent: the plain value of a subclass, whose own text may be another (that of an Enum is).
"""

import math
from collections.abc import Callable, Collection, Sequence
from datetime import timedelta
from typing import NoReturn, TypeVar

from kvd.client.errors import shown
from kvd.client.words import WatchOptions, is_text
from kvd.errors import BadKey, BadValue, Overflow, TooLong, Usage
from kvd.model import LARGEST_VALUE
from kvd.wire import words

CHANGES = frozenset(("SET", "DEL", "EXPIRE"))
"""The verbs of changes."""

Seconds = float | timedelta
Value = bytes | bytearray | memoryview | str
Kind = TypeVar("Kind")


def key(word: str, name: str = "key") -> bytes:
    """Raises TypeError, BadKey."""
    return _word(word, name, words.key, "key")


def pattern(word: str, name: str = "pattern") -> bytes:
    """Raises TypeError, BadKey."""
    return _word(word, name, words.pattern, "pattern")


def beginning(word: str, name: str) -> bytes:
    """What keys begin with, "" for all of them.  Raises TypeError, BadKey."""
    return pattern(f"{word}*", name)[:-1] if isinstance(word, str) else key(word, name)


def prefix(word: str) -> bytes:
    """A pattern that ends in `*`.  Raises TypeError, BadKey."""
    found = pattern(word)
    if not found.endswith(b"*"):
        raise BadKey(f"invalid pattern {shown(word)}: expected a prefix and '*'; delete() is for one key")
    return found


def patterns(given: tuple[str, ...]) -> list[bytes]:
    """The patterns of a watch.  Raises TypeError, BadKey, Usage."""
    if len(given) > words.MAX_PATTERNS:
        raise Usage(f"at most {words.MAX_PATTERNS} patterns in a watch; one with * may match many keys")
    return [pattern(word, "patterns") for word in given]


def value(given: Value) -> bytes:
    """A value's bytes.  Raises TypeError, BadValue, TooLong."""
    if isinstance(given, str):
        try:
            data = str.encode(given)
        except UnicodeEncodeError:
            raise BadValue("a str with surrogates has no UTF-8; give the value as bytes") from None
    elif isinstance(given, bytes | bytearray | memoryview):
        data = bytes(given)
    else:
        _wrong_type("value", "bytes or str", given)
    if len(data) > LARGEST_VALUE:
        raise TooLong(f"a value has at most {LARGEST_VALUE} bytes, and this one has {len(data)}")
    return data


def text(given: str) -> bytes:
    """The text of a PING.  Raises TypeError, BadValue, TooLong."""
    if not isinstance(given, str):
        _wrong_type("text", "str", given)
    data = value(given)
    if not is_text(data):
        raise BadValue("the text of a ping must have no control characters")
    return data


def condition(revision: int | str | None) -> bytes:
    """The option `if=`, b"" for None.  Raises TypeError, Usage."""
    if revision is None:
        return b""
    if isinstance(revision, str):
        word = str.encode(revision, errors="surrogatepass")
    elif 0 <= _integer(revision, "if_revision", "int or str") < words.MAX_NUMBER:
        word = b"%d" % revision
    else:
        raise Usage("invalid if_revision: expected a whole number, at least 0 and below 2^53")
    try:
        return b" if=" + words.condition(word)
    except Usage as error:
        raise Usage(f"invalid revision or position {shown(word)}: {error}") from None


def position(place: str, name: str = "position") -> bytes:
    """A position.  Raises TypeError, Usage."""
    if not isinstance(place, str):
        _wrong_type(name, "str", place)
    try:
        word = str.encode(place, errors="surrogatepass")
        words.position(word)
    except Usage as error:
        raise Usage(f"invalid {name} {shown(place)}: {error}") from None
    return word


def least(position_: str | None) -> bytes:
    """The option `min=`, b"" for None.  Raises TypeError, Usage."""
    return b"" if position_ is None else b" min=" + position(position_, "min_position")


def place(given: int | str) -> int | str:
    """A revision or a position.  Raises TypeError, Usage."""
    if isinstance(given, str):
        return position(given).decode()
    if not 0 <= _integer(given, "position", "int or str") < words.MAX_NUMBER:
        raise Usage("invalid position: expected a revision below 2^53, or a position")
    return given


def watch_options(options: WatchOptions | None) -> list[bytes]:
    """The options of a watch.  Raises TypeError, Usage."""
    if options is None:
        return []
    if not isinstance(options, WatchOptions):
        _wrong_type("options", "WatchOptions", options)
    for name in ("values", "lifetimes", "batches", "times"):
        if not isinstance(given := getattr(options, name), bool):
            _wrong_type(name, "bool", given)
    if not isinstance(options.only, Collection):
        _wrong_type("only", "a sequence of str", options.only)
    only = [str(verb) for verb in options.only]
    if isinstance(options.only, str) or not set(only) <= CHANGES:
        raise Usage(f"invalid only: expected a sequence of {', '.join(sorted(CHANGES))}")
    asked = {"keys": not options.values, "ttl": options.lifetimes, "batches": options.batches, "time": options.times}
    return [b"*%b" % name.encode() for name, is_asked in asked.items() if is_asked] + (
        [b"*only=" + ",".join(dict.fromkeys(only)).encode()] if only else []
    )


def letters(word: str, name: str) -> bytes:
    """A word of letters, such as a verb.  name: of the argument.  Raises TypeError, Usage."""
    if not isinstance(word, str):
        _wrong_type(name, "str", word)
    if not (word.isascii() and word.isalpha()):
        raise Usage(f"invalid {name} {shown(word)}: expected letters")
    return str.encode(word)


def connection(word: str, name: str = "id") -> bytes:
    """The name of a connection.  Raises TypeError, Usage."""
    if not isinstance(word, str):
        _wrong_type(name, "str", word)
    words.client(str.encode(word, errors="replace"))
    return str.encode(word)


def option(word: str | None, name: str, option: str = "") -> bytes:
    """An option that is a key, by the name of the argument unless it has another; b"" for None.

    Raises TypeError, BadKey.
    """
    return b"" if word is None else b" %b=%b" % ((option or name).encode(), key(word, name))


def flag(given: bool, name: str) -> bytes:
    """An option that is one word, b"" for False.  Raises TypeError."""
    if not isinstance(given, bool):
        _wrong_type(name, "bool", given)
    return b" " + name.encode() if given else b""


def limit(number: int | None) -> int | None:
    """How many keys to list.  Raises TypeError, Usage."""
    if number is not None and not 1 <= _integer(number, "limit", "int") < words.MAX_NUMBER:
        raise Usage("invalid limit: expected a whole number, at least 1 and below 2^53")
    return number


def amount(number: int) -> bytes:
    """What to add.  Raises TypeError, Overflow."""
    if abs(_integer(number, "n", "int")) > words.MAX_INTEGER:
        raise Overflow("n is beyond +-(2^63 - 1)")
    return b"%d" % number


def ttl(seconds: Seconds | None, never: bytes = b"") -> bytes:
    """The option `ttl=`; `never` is what None becomes.  Raises TypeError, Usage."""
    if seconds is None:
        return never
    number = _number(seconds, "ttl", "a number of seconds, a timedelta or None")
    word = b"%.3f" % number
    try:
        words.milliseconds(word)
    except Usage:
        raise Usage(f"invalid ttl {number:g}: expected 0.001 to {words.MAX_SECONDS} seconds") from None
    return b" ttl=" + word


def life(seconds: Seconds | None, owner: str | None) -> bytes:
    """The option `ttl=` or `with=`.  Raises TypeError, Usage, BadKey."""
    if seconds is not None and owner is not None:
        raise Usage("a key has a ttl or an owner, not both")
    return ttl(seconds) + option(owner, "owner", "with")


def patience(seconds: Seconds, name: str) -> float:
    """For how long to wait, in seconds.  Raises TypeError, ValueError."""
    number = _number(seconds, name, "a number of seconds or a timedelta")
    if not 0 < number <= words.MAX_SECONDS:
        raise ValueError(f"invalid {name} {number:g}: expected more than 0 and at most {words.MAX_SECONDS} seconds")
    return number


def patience_or_none(seconds: Seconds | None, name: str) -> float | None:
    """The same, or None for ever."""
    return None if seconds is None else patience(seconds, name)


def duration(seconds: Seconds, name: str) -> float:
    """The same, or 0 for not at all."""
    return 0.0 if _number(seconds, name, "a number of seconds or a timedelta") == 0 else patience(seconds, name)


def told(given: Callable[..., object] | None, name: str) -> None:
    """What is to be called later, None for nobody.  Raises TypeError."""
    if given is not None and not callable(given):
        _wrong_type(name, "a function or None", given)


def of_kind(kind: type[Kind], given: Kind | None, name: str) -> Kind | None:
    """What a client has made, None for nothing.  Raises TypeError."""
    if given is not None and not isinstance(given, kind):
        _wrong_type(name, f"a {kind.__name__} of this kind of client, or None", given)
    return given


def addresses(given: str | Sequence[str]) -> tuple[str, ...]:
    """One address or several, each as it was given.  Raises TypeError, ValueError."""
    if isinstance(given, str):
        return (given,)
    if not isinstance(given, Sequence) or not all(isinstance(one, str) for one in given):
        _wrong_type("address", "str, or a sequence of them", given)
    if not given:
        raise ValueError("no address is given")
    return tuple(given)


def _word(word: str, name: str, check: Callable[[bytes], bytes], kind: str) -> bytes:
    if not isinstance(word, str):
        _wrong_type(name, "str", word)
    try:
        return check(str.encode(word, errors="surrogatepass"))
    except BadKey as error:
        raise BadKey(f"invalid {kind} {shown(word)}: {error}") from None


def _integer(number: int, name: str, expected: str) -> int:
    if not isinstance(number, int) or isinstance(number, bool):
        _wrong_type(name, expected, number)
    return number


def _number(seconds: Seconds, name: str, expected: str) -> float:
    if isinstance(seconds, timedelta):
        return seconds.total_seconds()
    if not isinstance(seconds, int | float) or isinstance(seconds, bool):
        _wrong_type(name, expected, seconds)
    try:
        return float(seconds)
    except OverflowError:  # an int beyond all floats
        return math.inf


def _wrong_type(name: str, expected: str, given: object) -> NoReturn:
    raise TypeError(f"{name} must be {expected}, not {type(given).__name__}")
