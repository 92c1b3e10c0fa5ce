"""Quotas of rules: how many keys may match a rule's pattern, and how many bytes these may have with their values."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from kvd.errors import StartError

MOST = 2**53 - 1
"""Of keys and of bytes: the store counts in doubles."""
MOST_PATTERNS = 100
"""Patterns with quotas in a file: the store looks at all of them for each batch of writes."""
_KEYS, _BYTES = "max-keys", "max-bytes"
_UNITS = {"": 1, **{f"{letter}{i}B".upper(): (1024 if i else 1000) ** power
                    for power, letter in enumerate("KMGT", 1) for i in ("", "i")}}  # fmt: skip
_number = re.compile(r"([0-9]{1,16}) ?([KMGT]i?B)?", re.IGNORECASE).fullmatch
_EXPECTED = {
    _KEYS: f"expected a whole number from 1 to {MOST}",
    _BYTES: f"expected bytes, or a number with KB, KiB, MB, MiB, GB, GiB, TB or TiB, from 1 to {MOST}",
}
_word = re.compile(rf"({_KEYS}|{_BYTES})=(.*)").fullmatch
_ONE = r"(?:max-[a-z]*=)?[^=,]*"
rule_words = re.compile(rf"([^*]*\*(?==)|.*?)=((?<=\*=).*|{_ONE}(?:,{_ONE})*)").fullmatch
"""A rule on a command line: PATTERN=WORD,..., where a pattern may have `=`, too, and a `*` only at its end."""


class Quota(NamedTuple):
    """keys, size: int, the most of each, size in bytes, 0 for any.  words: as they were given."""

    keys: int = 0
    size: int = 0
    words: tuple[str, ...] = ()

    def line(self, pattern: bytes) -> bytes:
        """As `requests.Limited` has it."""
        return b"%b %b %b\n" % (pattern, *(b"%d" % most if most else b"-" for most in self[:2]))


def quota_of(words: Sequence[str], where: str) -> tuple[tuple[str, ...], Quota]:
    """The words of a rule that are not about quotas, and what the others say.  Raises StartError."""
    rest: list[str] = []
    found: dict[str, int] = {}
    for word in words:
        match = _word(word)
        if not match:
            rest.append(word)
        elif match[1] in found:
            raise StartError(f"{where}: two of {match[1]}: expected one")
        else:
            found[match[1]] = _read(match[1], match[2], where)
    given = tuple(word for word in words if _word(word))
    if found and "write" not in rest:
        raise StartError(f"{where}: {next(iter(found))} without write: expected it where a rule allows to write")
    return tuple(rest), Quota(found.get(_KEYS, 0), found.get(_BYTES, 0), given)


def _read(name: str, given: str, where: str) -> int:
    match = _number(given)
    unit = (match[2] or "").upper() if match else ""
    value = int(match[1]) * _UNITS[unit] if match else 0
    if not 0 < value <= MOST or (name == _KEYS and unit):
        raise StartError(f"{where}: invalid {name} {given!a}: {_EXPECTED[name]}")
    return value
