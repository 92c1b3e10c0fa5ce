"""The words of the command line, and what they stand for."""

import os
import re
from collections import deque
from collections.abc import Callable
from typing import Any

from docopt import DocoptExit, docopt

from kvd.cli.status import USAGE, Failure
from kvd.cli.usage import HELP, OPTIONS, wrong_usage
from kvd.client import DEFAULT_ADDRESS, BadAddress, parse_address

Arguments = dict[str, Any]

NO_LIMIT = 10**9
"""Seconds, the most that a client waits: thirty years."""


def arrange(argv: list[str]) -> tuple[list[str], list[str]]:
    """Part the options, with their arguments, from the words; docopt then takes any word as it is."""
    options: list[str] = []
    words: list[str] = []
    rest = deque(argv)
    while rest:
        word = rest.popleft()
        if word == "--":
            words += rest
            break
        if _is_word(word) or (words[:1] == ["set"] and len(words) == 2):
            words.append(word)
            continue
        options.append(word)
        name, given, _ = word.partition("=")
        if name not in OPTIONS:
            raise Failure(USAGE, f"no such option: {name!a}; see kvctl --help")
        if given and not OPTIONS[name]:
            raise Failure(USAGE, f"{name} stands alone, without an argument: {word!a}; see kvctl --help")
        if OPTIONS[name] and not given:
            if not rest:
                raise Failure(USAGE, f"{name} needs its {OPTIONS[name].removeprefix('=')}; see kvctl --help")
            options.append(rest.popleft())
    return options, words


def parse(options: list[str], words: list[str]) -> Arguments:
    """Check the options and words, with docopt, and read each as what it stands for."""
    try:
        given = docopt(HELP, [*options, *words], options_first=True)
    except DocoptExit:
        raise wrong_usage(words) from None
    args = {
        name: READERS[name](name.strip("<>"), word) if name in READERS and word is not None else word
        for name, word in given.items()
    }
    if args["--if"] and len(args["<KEY>"]) > 1:
        raise Failure(USAGE, "--if goes with one key, for no two keys have the same revision")
    if args["--addr"] is None:
        args["--addr"] = _address("KVCTL_ADDR", os.environ.get("KVCTL_ADDR") or DEFAULT_ADDRESS)
    return args


def patience(args: Arguments) -> dict[str, float]:
    """Give the client's limits of time, in seconds; its own unless --timeout says otherwise."""
    seconds = args["--timeout"]
    return {} if seconds is None else {"connect_timeout": seconds, "timeout": seconds}


def _is_word(word: str) -> bool:
    return not word.startswith("-") or word == "-" or word[1].isdecimal()


def _address(name: str, word: str) -> str:
    try:
        # Digits alone are a port to most people, and an IPv4 address to the system.
        if word.isdecimal():
            raise BadAddress(f"not an address: {word!a}; write HOST:PORT, HOST or [IPV6]:PORT")
        parse_address(word)
    except BadAddress as error:
        raise Failure(USAGE, f"{name}: {error}, such as {DEFAULT_ADDRESS}") from None
    return word


def _value(_: str, word: str) -> bytes | None:
    """Read a value, None for the one that comes from standard input."""
    return None if word == "-" else os.fsencode(word)


def _utf8(_: str, word: str) -> str:
    """Read a word as UTF-8, whatever the locale made of it."""
    data = os.fsencode(word)
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise Failure(USAGE, f"a key must be UTF-8, and {data!r} is not") from None


def _words(name: str, words: list[str]) -> list[str]:
    return [_utf8(name, word) for word in words]


def _seconds(name: str, word: str, other: str = "") -> float:
    _check(name, word, r"[0-9]{1,10}(\.[0-9]{1,3})?", "a number of seconds", f"seconds, such as 600 or 0.005{other}")
    return float(word)


def _seconds_or_never(name: str, word: str) -> float | None:
    return None if word == "-" else _seconds(name, word, ", or - for never")


def _patience(name: str, word: str) -> float:
    """Seconds, NO_LIMIT for 0."""
    seconds = _seconds(name, word, ", or 0 for no limit")
    if seconds > NO_LIMIT:
        raise Failure(USAGE, f"{name}: {word} seconds are too many; expected at most {NO_LIMIT}, or 0 for no limit")
    return seconds or NO_LIMIT


def _revision(name: str, word: str) -> str:
    expected = "a revision, such as 17, or 0 for a key that is not there"
    return _check(name, word, "[0-9]{1,16}(@[!-~]+)?", "a revision", expected)


def _limit(name: str, word: str) -> int:
    return int(_check(name, word, "[1-9][0-9]{0,15}", "a number of keys", "a whole number, at least 1"))


def _integer(name: str, word: str) -> int:
    return int(_check(name, word, "[+-]?[0-9]{1,100}", "a whole number", "one such as 5 or -5"))


def _check(name: str, word: str, pattern: str, meaning: str, expected: str) -> str:
    if not re.fullmatch(pattern, word):
        raise Failure(USAGE, f"{name}: not {meaning}: {word!a}; expected {expected}")
    return word


READERS: dict[str, Callable[[str, Any], Any]] = {
    "<KEY>": _words,
    "<PATTERN>": _words,
    "<VALUE>": _value,
    "<SECONDS>": _seconds_or_never,
    "<N>": _integer,
    "--addr": _address,
    "--timeout": _patience,
    "--ttl": _seconds,
    "--if": _revision,
    "--after": _utf8,
    "--limit": _limit,
}
"""What makes of a word, or of a list of them, what the commands take; it is given the word's name, for messages."""
