"""Many writes of the commonest kinds, in the form in which the store takes them."""

from typing import NamedTuple


class SimpleSets(NamedTuple):
    """SETs of texts that the store keeps in their records, without a time to live or a condition.

    lines: bytes, for each key a line of the key, a space, the value and a line feed.
    """

    keys: list[bytes]
    lines: bytes

    @property
    def adds(self) -> bool:
        return False


class SimpleWrites(NamedTuple):
    """PUTs of texts that the store keeps in their records, with and without a time to live, and INCRs; no conditions.

    runs: bytes, for each run of those that are alike, their life, a space, how many they are, a space; the life is the
    time to live in milliseconds, 0 for none, or + for INCRs.
    pairs: list[bytes], the key and the value, or amount, of each in turn.
    """

    runs: bytes
    pairs: list[bytes]

    @property
    def keys(self) -> list[bytes]:
        return self.pairs[::2]

    @property
    def adds(self) -> bool:
        """Whether any is an INCR."""
        return b"+" in self.runs


Simple = SimpleSets | SimpleWrites
"""The most usual writes, in forms that cost the least."""
