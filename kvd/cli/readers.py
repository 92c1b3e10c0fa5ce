"""What the words of the command line stand for.

A reader takes the word's name, for messages, and the word; it returns what the commands take, or raises Failure.
"""

import os
import re
from collections.abc import Callable
from typing import Any

from kvd.cli.status import USAGE, Failure
from kvd.client import DEFAULT_ADDRESS, BadAddress, arguments, check_address
from kvd.errors import BadKey

SHORTEST_INTERVAL, LONGEST_INTERVAL = 0.1, 3600
"""Seconds: more looks nobody could read, and they would be work for the daemon."""

Reader = Callable[[str, Any], Any]

NO_LIMIT = 10**9
"""Seconds, the most that a client waits: thirty years."""


def addresses(name: str, word: str) -> tuple[str, ...]:
    """Read the addresses of the daemons of one store, with commas between them."""
    return tuple(_address(name, one) for one in word.split(","))


def _address(name: str, word: str) -> str:
    try:
        # Digits alone are a port to most people, and an IPv4 address to the system.
        if word.isdecimal():
            raise BadAddress(f"invalid address {word!a}: expected HOST:PORT, HOST or [IPV6]:PORT")
        check_address(word)
    except BadAddress as error:
        example = "unix:/run/kvd/kvd.sock" if word.startswith("unix:") else DEFAULT_ADDRESS
        raise Failure(USAGE, f"{name}: {error}, such as {example}") from None
    return word


def value(_: str, word: str) -> bytes | None:
    """Read a value, None for the one that comes from standard input."""
    return None if word == "-" else os.fsencode(word)


def literal(_: str, word: str) -> bytes:
    """Read a value that is the word itself, whatever it is."""
    return os.fsencode(word)


def verbatim(_: str, word: str) -> str:
    """Read a word of a command."""
    return word


def text(name: str, word: str) -> str:
    """Read a key or a pattern as UTF-8, whatever the locale made of it."""
    data = os.fsencode(word)
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise Failure(USAGE, f"{name}: invalid text {data!r}: expected UTF-8") from None


def key(name: str, word: str) -> str:
    """Read a key, or what may stand in one."""
    return _checked(name, text(name, word), arguments.key)


def pattern(name: str, word: str) -> str:
    """Read a key, or a prefix and '*'."""
    return _checked(name, text(name, word), arguments.pattern)


def _checked(name: str, word: str, check: Callable[[str], object]) -> str:
    try:
        check(word)
    except BadKey as error:
        raise Failure(USAGE, f"{name}: {error}") from None
    return word


def prefix(name: str, word: str) -> str:
    """Read what keys begin with; a '*' may stand at its end."""
    return text(name, word).removesuffix("*")


def seconds(name: str, word: str, other: str = "") -> float:
    """Read seconds, to the millisecond; other: what else is expected."""
    _check(name, word, r"[0-9]{1,10}(\.[0-9]{1,3})?", "time", f"seconds, such as 600 or 0.005{other}")
    return float(word)


def seconds_or_never(name: str, word: str) -> float | None:
    """Read the same, None for never."""
    return None if word == "-" else seconds(name, word, ", or - for never")


def seconds_or_no_limit(name: str, word: str) -> float:
    """Read the same, NO_LIMIT for 0."""
    limit = seconds(name, word, ", or 0 for no limit")
    if limit > NO_LIMIT:
        raise Failure(USAGE, f"{name}: invalid time {word!a}: expected at most {NO_LIMIT} seconds, or 0 for no limit")
    return limit or NO_LIMIT


def interval(name: str, word: str) -> float:
    """Read the seconds from one look to the next."""
    limit = seconds(name, word)
    if not SHORTEST_INTERVAL <= limit <= LONGEST_INTERVAL:
        expected = f"{SHORTEST_INTERVAL:g} to {LONGEST_INTERVAL} seconds"
        raise Failure(USAGE, f"{name}: invalid time {word!a}: expected {expected}")
    return limit


def revision(name: str, word: str) -> str:
    """Read a revision, or a position, which begins with one."""
    expected = "one such as 17, or 0 for a key that is not there"
    return _check(name, word, "[0-9]{1,16}(@[!-~]+)?", "revision", expected)


def position(name: str, word: str) -> str:
    """Read a position, or a revision."""
    return _check(name, word, "[0-9]{1,16}(@[!-~]+)?", "position", "one such as 17@c3d1a7f0, or a revision such as 17")


def whole_position(name: str, word: str) -> str:
    """Read a position."""
    return _check(name, word, "[0-9]{1,16}@[!-~]+", "position", "one such as 17@c3d1a7f0")


def kinds(name: str, word: str) -> tuple[str, ...]:
    """Read kinds of changes, with commas between them."""
    expected = "some of set, del and expire, with commas between them"
    return tuple(_check(name, kind.upper(), "SET|DEL|EXPIRE", "kind", expected) for kind in word.split(","))


def path(name: str, word: str) -> str:
    """Read the path of a file, which may have any bytes."""
    if not word:
        raise Failure(USAGE, f"{name}: invalid path '': expected that of a file")
    return word


def system(name: str, word: str) -> str:
    """Read the name of another system."""
    return _check(name, word, "etcd|consul|redis", "system", "etcd, consul or redis")


def number(name: str, word: str) -> int:
    """Read how many keys."""
    return int(_check(name, word, "[1-9][0-9]{0,15}", "number", "a whole number, at least 1"))


def integer(name: str, word: str) -> int:
    """Read a whole number of either sign."""
    return int(_check(name, word, "[+-]?[0-9]{1,100}", "number", "a whole number, such as 5 or -5"))


def flag(_: str, given: bool) -> bool:
    """Read an option that has no argument."""
    return given


def _check(name: str, word: str, pattern: str, kind: str, expected: str) -> str:
    if not re.fullmatch(pattern, word):
        raise Failure(USAGE, f"{name}: invalid {kind} {word!a}: expected {expected}")
    return word


WORDS: dict[str, Reader] = {
    "<KEY>": text,
    "<PATTERN>": text,
    "<PREFIX>": prefix,
    "<ACTION>": text,
    "<NAME>": text,
    "<RIGHT>": text,
    "<VALUE>": value,
    "<SECONDS>": seconds_or_never,
    "<N>": integer,
    "<FILE>": path,
    "<CMD>": verbatim,
}
"""The readers of the words after a command, by what the usage calls them."""
