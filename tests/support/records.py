"""Records for tests of what keeps them."""

from kvd.model import TEXT, Kept, Record


def record(value: bytes) -> Record:
    """A text that does not expire."""
    return Record(b"1", b"0", TEXT, value)


def kept(value: bytes) -> Kept:
    """What is kept of it."""
    return Kept(value, b"1", TEXT)
