"""Settings that no option gives: variables of the environment, and a file with named contexts.

context = "home"                    # unless another is named

[contexts.home]
addr = "127.0.0.1:5830"

[contexts.production]
addr = ["a.example:5830", "b.example:5830"]
tls = true
ca = "ca.pem"                       # beside this file, unless it begins with / or ~
timeout = 10
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kvd.cli.status import USAGE, Failure

FILE_VARIABLE, CONTEXT_VARIABLE = "KVCTL_CONFIG", "KVCTL_CONTEXT"
FLAGS = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False, "": False}
"""What a variable of an option without an argument may be."""
FILES = ("ca", "cert", "key", "password-file")
"""Settings that name files: those without a / or a ~ before them are beside the file of settings."""
MOST_BYTES = 1 << 20
"""Of the file of settings."""

Given = tuple[str, Any]
"""Where a setting comes from, for messages, and what it is: text for its reader, or a bool."""


def variable(option: str) -> str:
    """The variable of an option."""
    return f"KVCTL_{option.removeprefix('--').replace('-', '_').upper()}"


def given(options: Mapping[str, bool], context: str | None) -> dict[str, Given]:
    """What the environment and the context say of these options; of each, whether it has an argument.

    context: the one that an option names, which is stronger than the environment.  Raises Failure.
    """
    from_environment = _environment(options)
    named = context if context is not None else os.environ.get(CONTEXT_VARIABLE) or None
    from_file = _context(_file(), named, options)
    return from_environment | from_file if context is not None else from_file | from_environment


def _environment(options: Mapping[str, bool]) -> dict[str, Given]:
    found: dict[str, Given] = {}
    for option, has_argument in options.items():
        name = variable(option)
        word = os.environ.get(name, "")
        if not word:
            continue
        if not has_argument and word.lower() not in FLAGS:
            raise Failure(USAGE, f"{name}: invalid choice {word!a}: expected true or false")
        found[option] = name, word if has_argument else FLAGS[word.lower()]
    return found


def path() -> Path:
    """Where the file is, by XDG's rules."""
    if named := os.environ.get(FILE_VARIABLE):
        return Path(named)
    base = os.environ.get("XDG_CONFIG_HOME", "")
    return (Path(base) if base.startswith("/") else Path("~/.config").expanduser()) / "kvd" / "kvctl.toml"


def _file() -> dict[str, Any]:
    """What the file says, {} if there is none."""
    try:
        with path().open("rb") as file:
            text = file.read(MOST_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        if os.environ.get(FILE_VARIABLE):
            raise _wrong("there is no such file") from None
        return {}
    except OSError as error:
        raise _wrong(f"cannot read it ({error.strerror})") from None
    if len(text) > MOST_BYTES:
        raise _wrong(f"it has more than {MOST_BYTES} bytes; expected a TOML file of contexts")
    import tomllib  # some milliseconds, for those who have a file

    try:
        return tomllib.loads(text.decode())
    except ValueError as error:
        raise _wrong(f"not TOML: {error}") from None


def _context(file: dict[str, Any], named: str | None, options: Mapping[str, bool]) -> dict[str, Given]:
    contexts = file.get("contexts", {})
    if unknown := sorted(file.keys() - {"context", "contexts"}):
        raise _wrong(f"unknown name {unknown[0]!a}: expected context and [contexts.NAME]")
    if not isinstance(contexts, dict) or not all(isinstance(entry, dict) for entry in contexts.values()):
        raise _wrong("contexts: expected a table for each, [contexts.NAME]")
    if not isinstance(file.get("context", ""), str):
        raise _wrong("context: expected the name of a context")
    name = named if named is not None else file.get("context")
    if name is None:
        return {}
    if name not in contexts:
        known = ", ".join(contexts) or "none"
        raise Failure(USAGE, f"no such context: {name!a}; in {path()} there are: {known}")
    return _entry(f"contexts.{name}", contexts[name], options)


def _entry(where: str, entry: dict[str, Any], options: Mapping[str, bool]) -> dict[str, Given]:
    found: dict[str, Given] = {}
    for name, value in entry.items():
        option = f"--{name}"
        if option not in options:
            known = ", ".join(known.removeprefix("--") for known in options)
            raise _wrong(f"{where}: unknown name {name!a}: expected some of {known}")
        said = _value(f"{where}.{name}", value, options[option])
        found[option] = f"{path()}: {where}.{name}", _beside(said) if name in FILES and said else said
    return found


def _beside(name: str) -> str:
    return str(path().parent / os.path.expanduser(name))  # noqa: PTH111  # who cannot be found stays as he is


def _value(where: str, value: Any, has_argument: bool) -> Any:
    if not has_argument:
        if not isinstance(value, bool):
            raise _wrong(f"{where}: expected true or false")
        return value
    if isinstance(value, list) and value and all(isinstance(one, str) for one in value):
        return ",".join(value)
    if isinstance(value, str) or (isinstance(value, int | float) and not isinstance(value, bool)):
        return f"{value}"
    raise _wrong(f"{where}: expected a text, a number or a list of texts")


def _wrong(why: str) -> Failure:
    return Failure(USAGE, f"{path()}: {why}")
