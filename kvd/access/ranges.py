"""The parts of a range that a user may read, each as a range that the store lists: folded lines are those of the whole.

A part is told to the store by bounds that are no keys: keys are UTF-8 without control characters, so that a byte 0xFF
comes after all that begins alike, and a byte 0 before it.
"""

from collections.abc import Iterable

from kvd.requests import KeyRange

_AFTER_ALL = b"\xff"


def parts(wanted: KeyRange, allowed: Iterable[bytes]) -> list[KeyRange]:
    """What is listed of a range, in order, if only some parts of its pattern are allowed.  At least one range.

    allowed: keys and patterns within the pattern, none of which overlap.
    """
    after = _past_fold(wanted, wanted.after)
    found = []
    for part in sorted(allowed, key=_first):
        low, high = _bounds(part)
        if part != wanted.pattern and ((wanted.before and low >= wanted.before) or high <= after):
            continue
        found.append(
            wanted._replace(after=after, before=wanted.before)
            if part == wanted.pattern
            else wanted._replace(after=max(after, low), before=min(wanted.before or high, high))
        )
    found = found or [wanted._replace(after=_AFTER_ALL)]
    return found[::-1] if wanted.reverse else found


def rest_of(part: KeyRange, last: bytes, limit: int) -> KeyRange | None:
    """What is to be listed of a part after a line that another part gave; None for nothing.

    last: the key, or the folded line, b"" for none yet.  limit: how many more, 0 for all.
    """
    if last and part.reverse:
        part = part._replace(before=min(part.before or last, last))
    elif last:
        part = part._replace(after=max(part.after, _past_fold(part, last)))
    is_empty = last and part.before and part.after >= part.before
    return None if is_empty else part._replace(limit=limit)


def _first(pattern: bytes) -> bytes:
    return pattern.removesuffix(b"*")


def _bounds(pattern: bytes) -> tuple[bytes, bytes]:
    """Between which bounds, both exclusive, all keys of a pattern are, and no others."""
    if not pattern.endswith(b"*"):
        # The last byte of a key is greater than a space.
        return pattern[:-1] + bytes([pattern[-1] - 1]) + _AFTER_ALL, pattern + b"\0"
    prefix = pattern[:-1]
    low = prefix[:-1] + bytes([prefix[-1] - 1]) + _AFTER_ALL if prefix else b""
    return low, prefix + _AFTER_ALL


def _past_fold(wanted: KeyRange, line: bytes) -> bytes:
    """A folded line stands for all that begins with it."""
    prefix = len(wanted.pattern.removesuffix(b"*"))
    if wanted.fold and line.find(wanted.fold, prefix) == len(line) - len(wanted.fold) >= prefix:
        return line + _AFTER_ALL
    return line
