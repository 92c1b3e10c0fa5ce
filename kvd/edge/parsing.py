"""The lines of the feed, `FOLLOW position *batches *time *ttl=all`: records of a copy, and changes.

After each record and each change that sets a key comes a line that says how long the key lives; so it is known when
all of it has come, wherever the stream is cut.
"""

import binascii
from collections.abc import Callable

from kvd.edge.clock import Clock
from kvd.edge.copy import Copy
from kvd.model import BYTES, TEXT, UNKNOWN, Change, Moment, Record

OPTIONS = b"*batches *time *ttl=all"


class Parser:
    """Takes lines, and gives changes, of a transaction all or none.

    changes: those that are complete; to be taken.  copy: into which records go, None: there is none.
    lines: by their first words, what takes the rest of them.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.changes: list[Change] = []
        self.copy: Copy | None = None
        self._batch: list[Change] = []
        self._left = 0
        self._moment = UNKNOWN
        self._time = 0
        self._record: tuple[bytes, Record] | None = None
        self._change: Change | None = None
        self.lines: dict[bytes, Callable[[bytes], None]] = {
            b"CHANGE": self._take_change, b"PAIR": self._take_pair, b"PAIR64": self._take_pair64,
            b"TTL": self._take_ttl, b"WITH": self._take_with,
            b"TIME": self._take_time, b"BATCH": self._take_batch, b"GONE": self._take_gone,
        }  # fmt: skip

    def take(self) -> list[Change]:
        """The changes that have come."""
        changes, self.changes = self.changes, []
        return changes

    @property
    def is_amid(self) -> bool:
        """Whether more is to come of a change, or of a transaction, or of a copy."""
        return bool(self._left or self._change) or self.copy is not None

    def _take_time(self, rest: bytes) -> None:
        self._time = int(rest)
        self._moment = UNKNOWN
        if self._time:
            self._clock.see(self._time)

    def _take_batch(self, rest: bytes) -> None:
        self._left = int(rest)

    def _take_change(self, rest: bytes) -> None:
        position, verb, key, *value = rest.split(b" ", 3)
        revision = int(position.partition(b"@")[0])
        if self._time and not self._moment.time:
            # Which entry of the log it is does not matter: another number than those of others.
            self._moment = Moment(revision, self._time)
        if verb == b"SET":
            self._change = Change(revision, b"SET", key, TEXT, value[0], moment=self._moment)
        elif verb == b"SET64":
            self._change = Change(revision, b"SET", key, BYTES, binascii.a2b_base64(value[0]), moment=self._moment)
        else:
            self._add(Change(revision, verb, key, moment=self._moment))

    def _take_pair(self, rest: bytes) -> None:
        revision, key, value = rest.split(b" ", 2)
        self._record = key, Record(revision, b"0", TEXT, value)

    def _take_pair64(self, rest: bytes) -> None:
        revision, key, value = rest.split(b" ", 2)
        self._record = key, Record(revision, b"0", BYTES, binascii.a2b_base64(value))

    def _take_gone(self, rest: bytes) -> None:
        if self.copy is not None:
            self.copy.remove(rest.split(b" ")[1])

    def _take_ttl(self, rest: bytes) -> None:
        seconds = rest.partition(b" ")[0]
        self._live(b"", 0 if seconds == b"-" else self._clock.now() + round(float(seconds) * 1000) + 1)

    def _take_with(self, rest: bytes) -> None:
        self._live(rest.partition(b" ")[0], 0)

    def _live(self, owner: bytes, deadline: int) -> None:
        """How long what came last lives."""
        if self._change:
            change, self._change = self._change, None
            self._add(change._replace(owner=owner, deadline=deadline))
        elif self._record and self.copy is not None:
            key, record = self._record
            self.copy.put(key, record._replace(owner=owner))
            self._record = None

    def _add(self, change: Change) -> None:
        if not self._left:
            self.changes.append(change)
            return
        self._batch.append(change)
        self._left -= 1
        if not self._left:
            last = change.revision
            self.changes += [one._replace(transaction=last, more=one.revision < last) for one in self._batch]
            self._batch = []
