"""The lines beside changes, where more is asked for: BATCH and TIME before them, TTL and WITH after them."""

from kvd.client import lines
from kvd.client.lines import Line
from kvd.client.words import Event, Lifetime
from kvd.wire import words

BESIDE = frozenset((b"BATCH", b"TIME", b"TTL", b"WITH"))


class Beside:
    """Puts changes together with the lines beside them."""

    def __init__(self, *, batches: bool) -> None:
        """batches: whether it is told which changes are of one transaction."""
        self._batches = batches
        self._left = 0
        self._time: float | None = None
        self._last: Event | None = None

    def change(self, event: Event) -> Event:
        """A change, with what the lines before it say."""
        self._left = max(self._left - 1, 0)
        self._last = event = event._replace(time=self._time, left=self._left if self._batches else None)
        return event

    def take(self, line: Line) -> Event | Lifetime | None:
        """A line of BESIDE, as an event of its own where it is of the change before it; of a copy a Lifetime.

        Raises ProtocolError.
        """
        lifetime = lines.read(line, self._take)
        if not lifetime or not self._last:
            return lifetime
        key, ttl, owner = lifetime
        verb = "TTL" if owner is None else "WITH"
        return Event(self._last.position, self._last.revision, verb, key, None, ttl=ttl, owner=owner)

    def _take(self, line: Line) -> Lifetime | None:
        match line.word:
            case b"BATCH":
                self._left = words.number(line.text)
            case b"TIME":
                self._time = words.number(line.text) / 1000 or None
            case b"TTL":
                seconds, key = line.text.split(b" ")
                return Lifetime(lines.key(key), words.milliseconds(seconds) / 1000, None)
            case _:
                owner, key = line.text.split(b" ")
                return Lifetime(lines.key(key), None, lines.key(owner))
        return None
