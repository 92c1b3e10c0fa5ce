"""Hashes of passwords: argon2id, with the first of the parameters that OWASP recommends (its Password Storage Cheat
Sheet).  Each takes tens of milliseconds and 19 MiB, outside of Python's lock: callers with an event loop leave them to
threads.
"""

import re

MEMORY, PASSES, LANES = 19 * 1024, 2, 1
"""KiB, and how often and in how many lanes they are gone through."""

is_hash = re.compile(
    r"\$argon2id\$v=19\$m=\d{1,7},t=\d{1,3},p=\d{1,2}\$[A-Za-z0-9+/]{11,88}\$[A-Za-z0-9+/]{16,88}"
).fullmatch
"""Whether a text is a hash that `matches` takes."""

UNKNOWN = "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5IGhhcyBpdA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
"""A hash that no password has, to be looked at for a user that is not there: it takes as long as another."""


def hash_of(password: bytes) -> str:
    """A hash with a salt of its own."""
    # It is needed by few, and takes 20 ms.
    from argon2 import PasswordHasher

    return PasswordHasher(time_cost=PASSES, memory_cost=MEMORY, parallelism=LANES).hash(password)


def matches(hashed: str, password: bytes) -> bool:
    """Whether a password has a hash."""
    from argon2 import PasswordHasher
    from argon2.exceptions import InvalidHashError, VerificationError

    try:
        return PasswordHasher().verify(hashed, password)
    except (VerificationError, InvalidHashError):
        return False
