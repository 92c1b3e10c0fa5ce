"""Options of the daemon, each a field of a dataclass, which says how it is read, what it is for and its default.

On the command line an option has its field's name, with "-" for "_"; in the environment KVD_ and that name in
capitals; in a configuration file (`config_file`) the name of the command line, without the dashes before it.
A reader takes what was given and where, for messages, and returns the value, or raises StartError.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from enum import IntEnum
from typing import Any, NamedTuple

from kvd.credentials import masked_value
from kvd.errors import StartError
from kvd.memory import readable

Reader = Callable[[str, str], Any]

YES, NO = ("yes", "true", "on", "1"), ("no", "false", "off", "0")
MOST = 2**53
"""Of a number or a size, where no other limit is known; more than any machine has of anything."""
LONGEST = 1_000_000_000_000
"""Milliseconds; as long as the longest time to live."""

_SIZE = re.compile(r"([1-9][0-9]{0,15})\s*(?:(B)|([KMG])(i?B)?)?", re.IGNORECASE).fullmatch
_UNITS = {"K": 1024, "M": 1024**2, "G": 1024**3}
_SECONDS = re.compile(r"([0-9]{1,10})(?:\.([0-9]{1,3}))?").fullmatch
_REPLICAS = re.compile(r"async|replica=(all|[1-9][0-9]?)").fullmatch
_COUNT = re.compile(r"[1-9][0-9]{0,15}").fullmatch


class Place(IntEnum):
    """Where an option may be given, the weaker before the stronger."""

    FILE = 0
    ENVIRONMENT = 1
    COMMAND_LINE = 2


class Given(NamedTuple):
    """What was given for an option.

    texts: one, or several if the option may be repeated.  where: what the place calls it, for messages.
    """

    texts: list[str]
    where: str
    place: Place


@dataclass(frozen=True, slots=True)
class Option:
    """One option.

    field: the name of its field.  default: for people, as it would be given or in words.
    argument: what the help calls its value; "" if it stands alone, for yes.  help: what it is for.
    several: whether it may be repeated.
    secret: whether it may hold a password.
    """

    field: str
    default: str
    read: Reader
    argument: str
    help: str
    several: bool
    secret: bool

    @property
    def name(self) -> str:
        """On the command line."""
        return "--" + self.field.replace("_", "-")

    @property
    def variable(self) -> str:
        """In the environment; it holds several values with spaces between."""
        return "KVD_" + self.field.upper()

    def given(self, options: Mapping[str, object], environment: Mapping[str, str]) -> Given | None:
        """What docopt found, else what is in the environment; None for nothing, and for an empty variable.

        Raises StartError for an empty argument, such as that of a shell's variable which is not set.
        """
        found, where, place = options.get(self.name), self.name, Place.COMMAND_LINE
        if found == "":
            raise StartError(f"{self.name}: expected {self.argument}, not an empty text; leave it out for the default")
        if found in (None, [], False):
            text, where, place = environment.get(self.variable, ""), self.variable, Place.ENVIRONMENT
            found = text.split() if self.several else text
        if found is True:
            found = YES[0]
        texts = found if isinstance(found, list) else [str(found)] if found else []
        return Given(texts, where, place) if texts else None

    def value(self, given: Given) -> Any:
        """The field's value.  Raises StartError that names the option and what it takes."""
        values = tuple(self.read(text, given.where) for text in given.texts)
        return values if self.several else values[0]


def option(
    default: str | None, read: Reader, argument: str, help_: str,
    *, shown: str = "", several: bool = False, secret: bool = False,
) -> Any:  # fmt: skip
    """A field that is an option.

    default: as it would be given; "" and None are the field's default themselves.  shown: the default in words, where
    that does not tell.  secret: it may hold a password, and is left out of what `repr` shows.
    """
    value = read(default, "default") if default else default
    return field(
        default=value if not several else () if value is None else (value,),
        repr=not secret,
        metadata={
            "default": shown or default, "read": read, "argument": argument, "help": help_, "several": several,
            "secret": secret,
        },
    )  # fmt: skip


def options_of(settings: type[Any]) -> tuple[Option, ...]:
    """All options of a dataclass, in their order."""
    return tuple(Option(entry.name, **entry.metadata) for entry in fields(settings) if entry.metadata)


def text(given: str, _: str) -> str:
    """Any text, as it is."""
    return given


def one_of(*words: str) -> Reader:
    """One of these words."""

    def read(given: str, where: str) -> str:
        if given not in words:
            raise StartError(f"{where}: invalid value {shown(given)}: expected one of {', '.join(words)}")
        return given

    return read


def durability(given: str, where: str) -> str:
    """How many replicas are to have what is acknowledged."""
    if not _REPLICAS(given):
        raise StartError(
            f"{where}: invalid value {shown(given)}: expected async, replica=N, with N from 1 to 99, or replica=all"
        )
    return given


def flag(given: str, where: str) -> bool:
    """Yes or no."""
    if given.lower() not in (*YES, *NO):
        raise StartError(f"{where}: invalid value {shown(given)}: expected yes or no")
    return given.lower() in YES


def size(most: int, *, or_none: bool = False, least: int = 1, why: str = "") -> Reader:
    """Bytes, with a unit or without; or_none: also 0.  why: not less than `least`, for people."""
    expected = f"expected bytes, or a number with KiB, MiB or GiB, up to {most}{', or 0' if or_none else ''}"

    def read(given: str, where: str) -> int:
        if or_none and given.strip() == "0":
            return 0
        match = _SIZE(given.strip())
        value = int(match[1]) * _UNITS.get((match[3] or "").upper(), 1) if match else 0
        if not 0 < value <= most:
            raise StartError(f"{where}: invalid size {shown(given)}: {expected}")
        if value < least:
            raise StartError(
                f"{where}: {shown(given)} is too little: expected at least {readable(least)}, {why}"
                f"{', or 0 for no limit' if or_none else ''}"
            )
        return value

    return read


def count(most: int = MOST, *, or_none: bool = False) -> Reader:
    """A whole number, at least 1; or_none: also 0."""

    def read(given: str, where: str) -> int:
        if or_none and given.strip() == "0":
            return 0
        if not _COUNT(given):
            raise StartError(f"{where}: invalid number {shown(given)}: expected a whole number, at least 1")
        if int(given) > most:
            raise StartError(f"{where}: invalid number {shown(given)}: expected {most} at the most")
        return int(given)

    return read


def milliseconds(zero: str) -> Reader:
    """Seconds, whole or with at most three digits after the point, as milliseconds.  zero: what 0 stands for."""

    def read(given: str, where: str) -> int:
        match = _SECONDS(given.strip())
        value = int(match[1]) * 1000 + int((match[2] or "").ljust(3, "0")) if match else 0
        if not match or value > LONGEST:
            raise StartError(
                f"{where}: invalid time {shown(given)}: expected seconds, such as 3600 or 0.5, up to "
                f"{LONGEST // 1000}, or 0 for {zero}"
            )
        return value

    return read


def seconds(zero: str) -> Reader:
    """The same, as seconds."""
    read = milliseconds(zero)
    return lambda given, where: read(given, where) / 1000


def shown(given: str) -> str:
    """What was given, for a message."""
    return masked_value(given)
