"""Records for tests of what keeps them."""

from kvd.model import TEXT, Record


def record(value: bytes) -> Record:
    """A text that does not expire."""
    return Record(b"1", b"0", TEXT, value)
