"""Options in a TOML file: each has the name that it has on the command line, without the dashes before it.

listen = ["127.0.0.1:5830", "[::1]:5830"]
max-value = "64KiB"
workers = 2
"""

import stat
import tomllib
from collections.abc import Iterable, Mapping
from difflib import get_close_matches

from kvd.credentials import masked
from kvd.errors import StartError
from kvd.opening import read_named
from kvd.options import Given, Option, Place

LARGEST = 1024 * 1024
"""Bytes of a file; far more than all options take."""


def read(named: Given, options: Iterable[Option]) -> dict[str, Given]:
    """What a file gives, by the names of the options' fields.

    named: the path of the file, as it was given.  An empty text and an empty list are as nothing.
    Raises StartError that names the file, and what is wrong in it.
    """
    path = named.texts[0]
    found, is_private = _load(path, named.where)
    known = {option.name.removeprefix("--"): option for option in options}
    given = {}
    for name, value in found.items():
        if name not in known:
            raise StartError(f"{path!r}: unknown option {name!r}{_meant(name, known)}; kvd --help lists the options")
        where = f"{name} in {path!r}"
        option = known[name]
        texts = _texts(value, where, several=option.several, is_flag=not option.argument)
        if option.secret and not is_private and any(masked(text) != text for text in texts):
            raise StartError(
                f"{where}: it holds a password, and others may read the file: give it with {name}-file, or chmod 600"
            )
        if texts:
            given[option.field] = Given(texts, where, Place.FILE)
    return given


def _load(path: str, where: str) -> tuple[Mapping[str, object], bool]:
    """What a file says, and whether only its owner may read it.  Raises StartError."""
    raw, mode = read_named(path, where, LARGEST, "a TOML file")
    if len(raw) > LARGEST:
        raise StartError(f"{where}: {path!r} has more than {LARGEST} bytes; expected a TOML file with options")
    try:
        return tomllib.loads(raw.decode("utf-8-sig")), not mode & (stat.S_IRWXG | stat.S_IRWXO)
    except UnicodeDecodeError:
        raise StartError(f"{where}: {path!r} is not UTF-8 text; expected a TOML file") from None
    except (ValueError, RecursionError) as error:
        raise StartError(
            f'{where}: {path!r} is not TOML: {error}; expected lines such as max-value = "64KiB"'
        ) from None


def _texts(value: object, where: str, *, several: bool, is_flag: bool = False) -> list[str]:
    """A value as the texts that the command line would give, none for an empty one.  Raises StartError."""
    if isinstance(value, list):
        if not several:
            raise StartError(f"{where}: it may be given once only; expected one value, no list")
        return [text for entry in value for text in _texts(entry, where, several=False)]
    if isinstance(value, bool) and is_flag:
        return [str(value)]
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise StartError(f"{where}: expected a text or a number{', or a list of them' if several else ''}")
    return [str(value)] if value != "" else []


def _meant(name: str, known: Iterable[str]) -> str:
    """A guess at which option was meant."""
    close = get_close_matches(name.replace("_", "-").lstrip("-").lower(), known, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
