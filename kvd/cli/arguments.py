"""The words of the command line, and what they stand for."""

import os
import re
from collections import deque
from collections.abc import Callable
from typing import Any

from docopt import DocoptExit, docopt

from kvd.cli.status import USAGE, Failure
from kvd.cli.usage import HELP, OPTIONS, wrong_usage

Arguments = dict[str, Any]


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
    args = {name: READERS[name](word) if name in READERS and word is not None else word for name, word in given.items()}
    if args["--if"] and len(args["<KEY>"]) > 1:
        raise Failure(USAGE, "--if goes with one key, for no two keys have the same revision")
    if args["set"]:  # before the event loop runs, where Ctrl-C would not end the reading
        args["<VALUE>"] = _standard_input() if args["<VALUE>"] == "-" else os.fsencode(args["<VALUE>"])
    return args


def _is_word(word: str) -> bool:
    return not word.startswith("-") or word == "-" or word[1].isdecimal()


def _standard_input() -> bytes:
    try:
        with open(0, "rb", closefd=False) as stdin:
            return stdin.read()
    except OSError as error:
        raise Failure(USAGE, f"cannot read standard input ({error.strerror})") from None


def _utf8(word: str) -> str:
    """Read a word as UTF-8, whatever the locale made of it."""
    data = os.fsencode(word)
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise Failure(USAGE, f"a key must be UTF-8, and {data!r} is not") from None


def _words(words: list[str]) -> list[str]:
    return [_utf8(word) for word in words]


def _seconds(word: str) -> float:
    return float(_checked(word, r"[0-9]{1,10}(\.[0-9]{1,3})?", "a number of seconds"))


def _seconds_or_never(word: str) -> float | None:
    return None if word == "-" else _seconds(word)


def _revision(word: str) -> str:
    return _checked(word, "[0-9]{1,16}(@[!-~]+)?", "a revision")


def _limit(word: str) -> int:
    return int(_checked(word, "[1-9][0-9]{0,15}", "a number of keys"))


def _integer(word: str) -> int:
    return int(_checked(word, "[+-]?[0-9]{1,100}", "a whole number"))


def _checked(word: str, pattern: str, meaning: str) -> str:
    if not re.fullmatch(pattern, word):
        raise Failure(USAGE, f"not {meaning}: {word!a}")
    return word


READERS: dict[str, Callable[[Any], Any]] = {
    "<KEY>": _words,
    "<PATTERN>": _words,
    "<SECONDS>": _seconds_or_never,
    "<N>": _integer,
    "--ttl": _seconds,
    "--if": _revision,
    "--after": _utf8,
    "--limit": _limit,
}
"""What makes of a word, or of a list of them, what the commands take."""
