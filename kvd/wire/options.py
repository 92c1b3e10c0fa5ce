"""The grammar of what follows a verb: words, of which some are options, NAME=VALUE (protocol.txt, 5 to 9).

All raise a `Refusal` and nothing else.
"""

from kvd.errors import Usage
from kvd.wire import words


def words_of(rest: bytes | None, expected: str) -> list[bytes]:
    """The words after a verb's space.  expected: what is said if there was no space."""
    if rest is None:
        raise Usage(expected)
    return rest.split(b" ")


def options_of(
    found: list[bytes], known: frozenset[bytes] | set[bytes], bare: frozenset[bytes] | set[bytes] = frozenset(),
    mark: str = "",
) -> dict[bytes, bytes]:  # fmt: skip
    """Options by name; one that may come without `=` then has the value b""."""
    given: dict[bytes, bytes] = {}
    for option in found:
        name, equals, value = option.partition(b"=")
        if name not in known or not (value if equals else name in bare):
            names = ", ".join(sorted(f"{mark}{name.decode()}{'' if name in bare else '='}" for name in known))
            raise Usage(f"unknown option, or one without its value; known here: {names}")
        if name in given:
            raise Usage(f"{mark}{name.decode()}{'' if name in bare else '='} is given twice")
        given[name] = value
    return given


def starred(
    found: list[bytes], known: frozenset[bytes], bare: frozenset[bytes]
) -> tuple[dict[bytes, bytes], list[bytes]]:
    """The options before some patterns, which are words that begin with `*` and go on; and the patterns."""
    count = 0
    while count < len(found) and found[count][:1] == b"*" and found[count][1:2] not in (b"", b"*"):
        count += 1
    return options_of([word[1:] for word in found[:count]], known, bare, mark="*"), found[count:]


def limit_of(given: dict[bytes, bytes]) -> int:
    """What limit= says, 0 if it was not given."""
    if b"limit" not in given:
        return 0
    limit = words.number(given[b"limit"])
    if not limit:
        raise Usage("limit= is at least 1")
    return limit
