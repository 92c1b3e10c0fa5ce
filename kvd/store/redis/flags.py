"""Flags of records, and of changes in the change log: each `;`, a letter, and a value (docs/layout.md)."""

DEADLINE = b"d"
"""Of a change: when the key that it sets will expire, and
OWNER: the key with which one lives, also of a record, and
OTHERS: of a record, others live, or have lived, with the key."""
OWNER = b"o"
OTHERS = b"w"


def read(flags: bytes) -> dict[bytes, bytes]:
    """The values of flags by their letters, as they are written."""
    return {flag[:1]: flag[1:] for flag in flags.split(b";")[1:]}


def unescape(value: bytes) -> bytes:
    """A key that was written as the value of a flag."""
    return value.replace(b"%3B", b";").replace(b"%25", b"%")


def escape(key: bytes) -> bytes:
    """A key as the value of a flag."""
    return key.replace(b"%", b"%25").replace(b";", b"%3B")
