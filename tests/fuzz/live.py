"""Input over sockets to a daemon: each line gets its one reply, well-formed; what is refused changes nothing."""

import random
from collections.abc import Set
from contextlib import ExitStack
from typing import NamedTuple

import psutil

from kvd.requests import DeleteRange
from kvd.wire.words import NUMBER_DIGITS
from tests.fuzz import grammar
from tests.fuzz.inputs import STORE, VALUE_LIMIT, cut, make
from tests.fuzz.pure import STRANGER, Outcome, outcomes
from tests.support.peers import Peer
from tests.support.processes import Daemon

OPTIONS = ("--max-value", f"{VALUE_LIMIT}")
ENDING = b"\nQUIT\n"
"""What stands after every input: it ends a line that is open, and then the connection."""
GROWTH = 48 * 1024 * 1024
"""Bytes by which the daemon may grow: it keeps the last 8 MiB of changes, as Python objects."""
ENDLESS = 64 * 1024 * 1024
"""Bytes of a line without an end."""
LATE_REFUSALS = {
    "PUT": {"usage", "too-long"},
    "TOUCH": {"usage"},
    "INCR": {"not-a-number", "overflow"},
    "RESUME": {"store", "future", "compacted"},
    "CHANGES": {"store", "future", "compacted"},
    "HELP": {"unknown-verb"},
    "COMMIT": {"usage", "too-long", "aborted", "not-a-number", "overflow", "store", "future", "compacted"},
    "ABORT": {"usage"},
    "CHECK": {"usage"},
    "AUTH": {"auth", "usage"},
    "KICK": {"usage"},
    **{verb: {"store", "future", "unavailable"} for verb in ("GET", "GETS", "KEYS", "LIST", "COUNT")},
}
"""What a verb may be refused for once its line was found right."""
CHANGING = frozenset(("SET", "PUT", "DEL", "INCR"))
QUEUED = CHANGING | {"TOUCH", "CHECK"}
"""What a transaction has."""


class Change(NamedTuple):
    """A CHANGE line, without its value."""

    revision: int
    verb: str
    key: bytes


class Wanted(NamedTuple):
    """A change that a reply announces.  revision: 0 if it did not say.  perhaps: a DEL, if the key was there.

    key: at its end `*` for the digits of the revision.  begins: no more is told of the key than what it begins with.
    """

    verb: str
    key: bytes
    revision: int = 0
    perhaps: bool = False
    begins: bool = False


def read(peer: Peer) -> tuple[str, bytes]:
    """What kind of line came, and the line; ("end", b"") at the end."""
    raw = peer.raw_line()
    return (grammar.kind(raw[:-1]), raw[:-1]) if raw.endswith(b"\n") else ("end", b"")


class Fuzzer:
    """Sends inputs one after another, and watches the store meanwhile."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._connections = ExitStack()
        self._asker = self._connections.enter_context(daemon.connect())
        self._watcher = self._connections.enter_context(daemon.connect())
        self._watcher.send(b"WATCH\n")
        _, reply = read(self._watcher)
        self._revision, self._store = _position(reply)
        self._mortal: set[bytes] = set()
        self._owned: set[bytes] = set()

    def close(self) -> None:
        """Close its own connections."""
        self._connections.close()

    def run(self, seed: str, inputs: range) -> int:
        """Try inputs by their numbers; how many replies there were.  What is wrong is raised, with the input."""
        replies = 0
        for number in inputs:
            data = make(seed, number).replace(STORE, self._store)
            try:
                replies += self._try(data + ENDING, random.Random(number))
            except Exception as error:
                error.add_note(f"seed {seed}, input {number}: {data!r}")
                raise
        return replies

    def _try(self, data: bytes, chance: random.Random) -> int:
        expected = outcomes([data])
        last = next((number for number, outcome in enumerate(expected) if outcome.verb == "QUIT"), len(expected) - 1)
        expected = expected[: last + 1]
        replies = self._converse(cut(data, chance))
        cut_off = expected[-1] == STRANGER
        assert len(replies) == len(expected), f"{len(replies)} replies to {len(expected)} requests"
        if cut_off:
            reason = replies.pop()
            assert reason.startswith(b"ERR usage "), f"{reason!r} to what no client sends"
        wanted = announced(expected, replies)
        self._mortal.update(outcome.arguments.key for outcome in expected if _is_mortal(outcome))
        self._owned.update(outcome.arguments.key for outcome in expected if _has_owner(outcome))
        changes = self._changes()
        if not cut_off:
            compare(wanted, changes, self._owned)
        return len(replies)

    def _converse(self, chunks: list[bytes]) -> list[bytes]:
        """Send it and read to the end; the status lines."""
        statuses: list[bytes] = []
        inside = False
        with self._daemon.connect() as peer:
            for chunk in chunks:
                peer.send(chunk)
            while True:
                kind, line = read(peer)
                assert not (inside and kind == "push"), f"pushed within a reply: {line!r}"
                inside = kind == "item" or (inside and kind == "beside")
                if kind == "end":
                    break
                if kind == "status":
                    statuses.append(line)
        return statuses

    def _changes(self) -> list[Change]:
        """The changes since the last call, without those that time made."""
        self._asker.send(b"UNWATCH\n")
        revision, _ = _position(read(self._asker)[1])
        changes = []
        while self._revision < revision:
            _, line = read(self._watcher)
            change = _change(line)
            assert change.revision == self._revision + 1, f"revision {self._revision}, and then {line!r}"
            self._revision = change.revision
            if change.verb != "EXPIRE":
                changes.append(change)
            else:
                assert names(change.key) & (self._mortal | self._owned), f"without a time to live: {line!r}"
        return changes


def announced(expected: list[Outcome], replies: list[bytes]) -> list[Wanted]:
    """The changes that the replies stand for.  Raises AssertionError for one that its request cannot get."""
    wanted: list[Wanted] = []
    queue: list[Wanted] | None = None
    spoiled = False
    for outcome, reply in zip(expected, replies, strict=False):
        code = reply.split(b" ")[1].decode() if reply.startswith(b"ERR ") else ""
        verb = outcome.verb
        if outcome.code:
            assert code == outcome.code, f"{reply!r} instead of ERR {outcome.code}"
            spoiled = True
        elif queue is not None and verb in QUEUED and not isinstance(outcome.arguments, DeleteRange):
            assert reply == b"OK queued", f"{reply!r} to {outcome}"
            if verb in CHANGING:
                queue.append(_wanted(outcome)._replace(perhaps=verb == "DEL"))
        elif queue is not None and verb not in ("COMMIT", "ABORT", "QUIT"):
            assert code == "usage", f"{reply!r} to {outcome}"
            spoiled = True
        else:
            assert not code or code in LATE_REFUSALS.get(verb, ()), f"{reply!r} to {outcome}"
            assert verb != "COMMIT" or queue is None or spoiled == (code == "aborted"), f"{reply!r} to COMMIT"
            if reply.startswith(b"OK"):
                wanted += (queue or []) if verb == "COMMIT" else _single(outcome, reply)
            queue = [] if verb == "BEGIN" else None
            spoiled = False
    return wanted


def compare(wanted: list[Wanted], changes: list[Change], owned: Set[bytes] = frozenset()) -> None:
    """Raises AssertionError if the changes are not those that were announced.

    owned: keys that may have lived with others, and gone with them.
    """
    left = list(changes)
    for want in wanted:
        along = len(left) - len(_after_those_gone_along(left, owned, want))
        if along < len(left) and _is_of(left[along], want):
            del left[: along + 1]
        else:
            assert want.perhaps, f"no change for {want}; the changes: {changes}"
    left = _after_those_gone_along(left, owned)
    assert not left, f"nobody was told of {left}; what was told: {wanted}"


def _after_those_gone_along(changes: list[Change], owned: Set[bytes], want: Wanted | None = None) -> list[Change]:
    """Changes without those before the one that is wanted which may be of keys that went with their owners."""
    for place, change in enumerate(changes):
        if (want and _is_of(change, want)) or change.verb != "DEL" or not names(change.key) & owned:
            return changes[place:]
    return []


def names(key: bytes) -> set[bytes]:
    """What a request may have called the key."""
    return {key, key[:-NUMBER_DIGITS] + b"*"}


def _is_of(change: Change, want: Wanted) -> bool:
    key = want.key
    if want.begins:
        return change.verb == want.verb and change.key.startswith(key)
    if key.endswith(b"*"):
        key = b"%b%0*d" % (key[:-1], NUMBER_DIGITS, change.revision)
    return (change.verb, change.key) == (want.verb, key) and want.revision in (0, change.revision)


def _single(outcome: Outcome, reply: bytes) -> list[Wanted]:
    if outcome.verb not in CHANGING:
        return []
    if isinstance(outcome.arguments, DeleteRange):
        # Those that went along with one are counted, too.
        one = Wanted("DEL", outcome.arguments.pattern[:-1], begins=True)
        return [one, *[one._replace(perhaps=True)] * (int(reply.split(b" ")[2]) - 1)]
    revision = 0 if outcome.verb == "INCR" else int(reply.split(b" ")[1])
    return [_wanted(outcome)._replace(revision=revision)]


def _wanted(outcome: Outcome) -> Wanted:
    return Wanted("DEL" if outcome.verb == "DEL" else "SET", outcome.arguments.key)


def _is_mortal(outcome: Outcome) -> bool:
    return outcome.verb in ("PUT", "TOUCH") and outcome.arguments.ttl > 0


def _has_owner(outcome: Outcome) -> bool:
    return outcome.verb == "PUT" and outcome.arguments.owner != b""


def _position(reply: bytes) -> tuple[int, bytes]:
    """`OK position`."""
    revision, _, store = reply.removeprefix(b"OK ").partition(b"@")
    return int(revision), store


def _change(line: bytes) -> Change:
    _, position, verb, rest = line.split(b" ", 3)
    return Change(int(position.partition(b"@")[0]), verb.decode().removesuffix("64"), rest.partition(b" ")[0])


# ---- memory


def memory(daemon: Daemon) -> int:
    """Bytes that the daemon has, without its store."""
    return int(psutil.Process(daemon.pid).memory_info().rss)


def endless_line(daemon: Daemon) -> None:
    """A line without an end is refused once, and kept nowhere.  Raises AssertionError."""
    before = memory(daemon)
    with daemon.connect() as peer:
        chunk = b"SET a " + b"x" * 1024 * 1024
        for _ in range(ENDLESS // len(chunk)):
            peer.send(chunk)
        assert read(peer)[1].startswith(b"ERR too-long ")
        grown = memory(daemon) - before
        assert grown < ENDLESS // 4, f"an endless line made the daemon grow by {grown} bytes"
        peer.send(b"\nPING\n")
        assert read(peer)[1] == b"OK"
