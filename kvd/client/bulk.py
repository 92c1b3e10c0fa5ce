"""Copies of many keys, line by line, and the writes that make them anew."""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from kvd.client import arguments, lines, replies, requests
from kvd.client.lines import Line, Reply
from kvd.wire import words

_SIMPLE = re.compile(rb"^PAIR ([0-9]{1,16}) ([!#-)+-\[\]-~]{1,512}) ([ !#-\[\]-~]*)\n", re.MULTILINE)
"""Revision, key and value of what is ASCII without quotes and backslashes."""


class Record(NamedTuple):
    """A key of a copy.

    ttl: decimal seconds that it has left.  owner: the key that it lives with.  Both are b"" where there are none.
    """

    key: bytes
    revision: bytes
    value: bytes
    ttl: bytes = b""
    owner: bytes = b""


class Gone(NamedTuple):
    """A key that is no longer in the copy."""

    key: bytes


class Copying:
    """SYNC of a pattern, with times to live.

    position: where the copy is the store; "" until it is whole.
    """

    def __init__(self, pattern: str) -> None:
        """Raises BadKey."""
        self.request = b"SYNC *ttl %b\n" % arguments.pattern(pattern)
        self.position = ""
        self._last: Record | None = None

    def records(self, came: Iterable[bytes]) -> Iterator[Record | Gone]:
        """What lines say.  Of a key that comes again the last counts.  Raises Refusal, ProtocolError."""
        for raw in came:
            if self.position:
                return
            line = Line(*raw.partition(b" "))
            if line.word in (b"TTL", b"WITH"):
                self._last = lines.read(line, self._with)
                continue
            yield from self.ended()
            if line.word in (b"PAIR", b"PAIR64"):
                self._last = lines.read(line, _record)
            elif line.word == b"GONE":
                yield lines.read(line, _gone)
            elif line.word in lines.STATUS:
                self.position = replies.answer(Reply(line), replies.position)

    def ended(self) -> list[Record]:
        """The record after which, if there is one, nothing more is said of it."""
        last, self._last = self._last, None
        return [last] if last else []

    @staticmethod
    def simple(came: Sequence[bytes], template: bytes) -> tuple[list[bytes], bytes] | None:
        """The keys of pairs, and all written as the template has it, which takes key, revision and value.

        None unless all that came are pairs, and of the simple kind: ASCII without quotes and backslashes.
        """
        found = _SIMPLE.findall(b"\n".join((*came, b"")))
        if len(found) != len(came):
            return None
        # A pattern's own template would be filled in by code of Python's, each line by itself.
        return [key for _, key, _ in found], b"".join([template % (key, rev, value) for rev, key, value in found])

    def _with(self, line: Line) -> Record:
        word, key = line.text.split(b" ", 1)
        last = self._last
        if last is None or last.key != key:
            raise ValueError
        return last._replace(ttl=word) if line.word == b"TTL" else last._replace(owner=words.key(word))


def _record(line: Line) -> Record:
    revision, key, data = line.text.split(b" ", 2)
    words.number(revision)
    return Record(words.key(key), revision, lines.decoded(line.word, data))


def _gone(line: Line) -> Gone:
    _, key = line.text.split(b" ", 1)
    return Gone(words.key(key))


def put(
    key: str, value: bytes, ttl: float | None = None, owner: str | None = None, *, create_only: bool = False
) -> bytes:
    """The line that writes a key.  Raises Refusal."""
    return requests.set(key, value, ttl, owner, 0 if create_only else None).data
