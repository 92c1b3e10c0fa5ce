"""The lines that are for the shell itself; they begin with a dot, as no verb does."""

import base64
import re
from collections.abc import Callable
from pathlib import Path

from kvd.client import LARGEST_VALUE

HELP = (
    "of the shell itself:",
    r"  .bytes KEY TEXT   sets a key to any bytes: in TEXT \n, \t, \\ and \xNN stand for one byte each",
    "  .file KEY PATH    sets a key to what a file holds",
    "  TAB completes verbs and keys, Alt-Enter begins another line, Ctrl-C clears what is typed, Ctrl-D ends the shell",
)

_ESCAPE = re.compile(rb"\\(?:x([0-9A-Fa-f]{2})|(.?))", re.DOTALL)
_ONE = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"\\": b"\\"}


class Wrong(ValueError):
    """A line for the shell that cannot be, with what is expected."""


def is_own(line: str) -> bool:
    """Whether a line is for the shell."""
    return line.startswith(".")


def request_of(line: str) -> bytes:
    """The request that a line stands for.  Raises Wrong."""
    word, key, rest = (*line.split(" ", 2), "", "")[:3]
    make = _WORDS.get(word)
    if not make or not key:
        raise Wrong(f"expected {' or '.join(_USAGES)}")
    value = make(rest)
    if len(value) > LARGEST_VALUE:
        raise Wrong(f"too long: a value has at most {LARGEST_VALUE} bytes")
    return b"PUT %b base64=%d = %b" % (encoded(key), len(value), base64.b64encode(value))


def encoded(text: str) -> bytes:
    """What was typed as UTF-8.  Raises Wrong."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise Wrong("what was typed is not UTF-8") from None


def _bytes(text: str) -> bytes:
    def one(found: re.Match[bytes]) -> bytes:
        if found[1]:
            return bytes.fromhex(found[1].decode())
        if found[2] in _ONE:
            return _ONE[found[2]]
        raise Wrong(r"expected \n, \r, \t, \\ or \xNN after a backslash")

    return _ESCAPE.sub(one, encoded(text))


def _file(path: str) -> bytes:
    try:
        with Path(path).expanduser().open("rb") as file:
            return file.read(LARGEST_VALUE + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in it
        raise Wrong(f"cannot read the file ({getattr(error, 'strerror', None) or error})") from None


_WORDS: dict[str, Callable[[str], bytes]] = {".bytes": _bytes, ".file": _file}
_USAGES = (".bytes KEY TEXT", ".file KEY PATH")
