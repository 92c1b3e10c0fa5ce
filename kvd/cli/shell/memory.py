"""What was said on a connection and holds for the next one: who one is, what is watched, and up to where."""

from dataclasses import dataclass

from kvd.client.line_connection import word_of

_BEGINNINGS = {b"WATCH": 1, b"SYNC": 1, b"RESUME": 2, b"FOLLOW": 2}
"""The verbs that begin a watch, and the words before its options and patterns."""
_READS = frozenset(
    b"GET GETS TTL KEYS LIST COUNT CHANGES PING INFO HELP AUTH WATCH RESUME SYNC FOLLOW UNWATCH PROGRESS BEGIN CHECK"
    b" ABORT QUIT".split()
)


def verb_of(line: bytes) -> bytes:
    """The verb of a request, in capitals."""
    return word_of(line).upper()


def changes_something(line: bytes) -> bool:
    """Whether a request may have changed the store though no reply came."""
    return verb_of(line) not in _READS


@dataclass(slots=True)
class Memory:
    """What holds.

    login: the AUTH that was taken, b"" for none.  watched: the options and patterns of the watch, None: there is none.
    position: what of the watch came last.  progress: the PROGRESS that was taken, b"" for none.
    in_transaction: whether one is open; a lost connection gives it up.
    """

    login: bytes = b""
    watched: bytes | None = None
    position: bytes = b""
    progress: bytes = b""
    in_transaction: bool = False

    def answered(self, request: bytes, status: bytes) -> None:
        """Take the status line that came for a request."""
        verb, _, rest = request.partition(b" ")
        verb = verb.upper()
        is_done = word_of(status) == b"OK"
        if verb in _BEGINNINGS and is_done:
            self.watched = b" ".join(request.split(b" ")[_BEGINNINGS[verb] :])
            self.position = status.partition(b" ")[2]
        elif verb == b"UNWATCH" and is_done:
            self.watched = None
        elif verb == b"AUTH" and is_done:
            self.login = request
        elif verb == b"PROGRESS" and is_done:
            self.progress = b"" if rest == b"0" else request
        elif verb == b"BEGIN" and is_done:
            self.in_transaction = True
        elif verb in (b"COMMIT", b"ABORT"):
            self.in_transaction = False

    def pushed(self, line: bytes) -> None:
        """Take a line that no request was answered with."""
        word, _, rest = line.partition(b" ")
        if word in (b"CHANGE", b"PROGRESS", b"END"):
            self.position = word_of(rest)
        if word == b"END" and rest.split(b" ")[1:2] != [b"shutdown"]:
            self.watched = None

    def to_repeat(self) -> list[bytes]:
        """The requests that make a new connection what the old one was."""
        repeated = [self.login] if self.login else []
        if self.watched is not None:
            repeated.append(b" ".join(filter(None, (b"RESUME", self.position, self.watched))))
            repeated += [self.progress] if self.progress else []
        return repeated
