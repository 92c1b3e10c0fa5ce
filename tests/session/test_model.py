"""A real daemon against a small model: every reply and every change line must be one that the model allows.

What depends on time has several outcomes: whether a key's time is over when a request arrives, and whether its EXPIRE
has been logged by then.  So there are several worlds that may be the real one.  Each request is done in all of them,
and those whose reply is another one are given up; so are those whose changes are not what a watcher sees.
"""

import base64
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from itertools import permutations, product
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from tests.support.peers import Peer
from tests.support.processes import Daemon

CLOCKS = 0.005
"""Seconds by which the store's clock and ours may differ, over the short times to live that are used here."""
LIMIT = 2**63 - 1

Allowed = Callable[[list[str]], bool]
"""Whether the lines of a reply are allowed."""


# ---- the model


class Entry(NamedTuple):
    """What a key holds.  due: from when on it may be over, and by when it must be; None for a key that stays.

    hidden: its time is over, and its EXPIRE has not been logged.
    owner: the key with which it lives, whose due and hidden it has; "" for none.
    """

    revision: int
    value: bytes
    due: tuple[float, float] | None = None
    hidden: bool = False
    owner: str = ""


class Condition(NamedTuple):
    """What if= says; store: "" without one."""

    revision: int
    store: str = ""

    def __str__(self) -> str:
        return f"{self.revision}@{self.store}" if self.store else f"{self.revision}"


class Write(NamedTuple):
    """SET and PUT (with a value), DEL (without), INCR (with an amount)."""

    key: str
    value: bytes | None = None
    amount: int | None = None
    ttl: float = 0
    condition: Condition | None = None
    owner: str = ""


NUMBER = "*"
"""At the end of a key that is written: there the revision goes."""


class Touch(NamedTuple):
    """TOUCH; ttl: 0 for no end."""

    key: str
    ttl: float
    condition: Condition | None = None


class Check(NamedTuple):
    """CHECK; key: or a pattern, of which nothing may be there.  condition: None says that the key is there.

    since: a revision in place of a condition, -1 for none.
    """

    key: str
    condition: Condition | None = None
    since: int = -1


Queued = Write | Touch | Check
"""What a transaction has."""


class Form(NamedTuple):
    """The options of a watch.  only: "" for all changes."""

    keys: bool = False
    only: str = ""

    def __str__(self) -> str:
        return " *keys" * self.keys + f" *only={self.only}" * bool(self.only)

    def of_change(self, change: str) -> str:
        """A change as it is to be sent, "" if it is not."""
        verb, key, *value = change.split(" ", 2)
        if self.only and verb.removesuffix("64") not in self.only.split(","):
            return ""
        if not self.keys or not value:
            return change
        size = len(base64.b64decode(value[0]) if verb == "SET64" else value[0].encode())
        return f"SIZE {key} {size}"

    def of_pair(self, pair: str, size: int) -> str:
        """A key of a copy as it is to be sent."""
        _, revision, key, _ = pair.split(" ", 3)
        return f"SIZE {revision} {key} {size}" if self.keys else pair


PLAIN = Form()


class Page(NamedTuple):
    """What KEYS and LIST are asked for."""

    pattern: str
    after: str = ""
    before: str = ""
    limit: int = 0
    fold: str = ""
    reverse: bool = False
    owner: str = ""

    def __str__(self) -> str:
        options = {"after": self.after, "before": self.before, "limit": self.limit, "fold": self.fold}
        words = [f"{name}={value}" for name, value in options.items() if value]
        words += ["reverse"] * self.reverse + [f"with={self.owner}"] * bool(self.owner)
        return " ".join([self.pattern, *words])

    def of(self, owners: Mapping[str, str]) -> list[tuple[str, bool]]:
        """The lines, by what they are of, and whether that is what fold= has made.  owners: of all keys in order."""
        lines: dict[tuple[str, bool], None] = {}
        for key, owner in owners.items():
            name = self._folded(key)
            within = key.encode() > self.after.encode() and (not self.before or key.encode() < self.before.encode())
            # After such a line is after all that it stands for.
            if is_of(key, self.pattern) and within and self.owner in ("", owner) and not (name and name == self.after):
                lines[name or key, bool(name)] = None
        found = list(lines)[::-1] if self.reverse else list(lines)
        return found[: self.limit or None]

    def _folded(self, key: str) -> str:
        """The line that stands for a key, "" if it stands for itself."""
        begin = len(self.pattern.removesuffix("*"))
        place = key.find(self.fold, begin) if self.fold else -1
        return key[: place + len(self.fold)] if place >= 0 else ""


class World:
    """One state that the store may be in, and how it came to be."""

    def __init__(self, store: str, revision: int) -> None:
        self.store = store
        self.revision = revision
        self.entries: dict[str, Entry] = {}
        self.changes: dict[int, str] = {}
        self.sent = self.answered = 0.0

    def copy(self) -> "World":
        twin = World(self.store, self.revision)
        twin.entries, twin.changes = dict(self.entries), dict(self.changes)
        return twin

    def expand(self, sent: float, answered: float) -> Iterator["World"]:
        """What may have become of it while a request was in flight."""
        due = [
            key for key, entry in self.entries.items()
            if entry.due and entry.due[0] <= answered and not entry.owner
        ]  # fmt: skip
        for count in range(len(due) + 1):
            for logged in permutations(due, count):
                rest = [key for key in due if key not in logged]
                for hidden in product((True, False), repeat=len(rest)):
                    if all(gone or self._may_be_there(key, sent) for key, gone in zip(rest, hidden, strict=True)):
                        world = self.copy()
                        world.sent, world.answered = sent, answered
                        for key in logged:
                            world._expire(key)
                        for key, gone in zip(rest, hidden, strict=True):
                            for member in (key, *world.family(key)):
                                world.entries[member] = world.entries[member]._replace(hidden=gone)
                        yield world

    def _may_be_there(self, key: str, sent: float) -> bool:
        entry = self.entries[key]
        return not entry.hidden and entry.due is not None and sent <= entry.due[1]

    def family(self, owner: str) -> list[str]:
        """What lives with a key."""
        return sorted((key for key, entry in self.entries.items() if entry.owner == owner), key=str.encode)

    def there(self) -> dict[str, Entry]:
        """What a reader finds, in the order of the keys' bytes."""
        found = {key: entry for key, entry in self.entries.items() if not entry.hidden}
        return dict(sorted(found.items(), key=lambda item: item[0].encode()))

    # ---- writes

    def single(self, write: Queued) -> Allowed:
        if isinstance(write, Check):
            return exactly("ERR usage")
        entry = self.there().get(write.key)
        if not self._holds(write):
            return exactly(f"CONFLICT {entry.revision if entry else 0}")
        return exactly(self._apply(write))

    def commit(self, writes: list[Queued]) -> Allowed:
        failing = next((write for write in writes if not self._holds(write)), None)
        if failing:
            key, there = failing.key, self.there()
            if isinstance(failing, Check) and failing.since >= 0:
                return self._changed_since(failing)
            if key.endswith("*"):
                key = self.matching(key)[0]
            return exactly(f"CONFLICT {there[key].revision if key in there else 0} {key}")
        trial = self.copy()
        trial.sent, trial.answered = self.sent, self.answered
        written = {write.key for write in writes if not isinstance(write, Check)}
        for write in writes:
            is_delete = isinstance(write, Write) and (write.value, write.amount) == (None, None)
            if is_delete and write.key in trial.there():
                for key in trial.family(write.key):
                    if key not in written:
                        trial._delete(key)
        refused = [outcome for write in writes if (outcome := trial._apply(write)).startswith(("ERR", "CONFLICT"))]
        if refused:
            return exactly(*refused)
        self.entries, self.changes, self.revision = trial.entries, trial.changes, trial.revision
        return exactly(f"OK {self.revision}")

    def _changed_since(self, check: Check) -> Allowed:
        if any(is_of(key, check.key) for key, entry in self.entries.items() if entry.hidden):
            # It has ended by now, which is another world.
            return lambda _: False
        newest = max(self._changes_of(check.key, check.since))
        return exactly(f"CONFLICT {newest} {self.changes[newest].split(' ')[1]}")

    def _changes_of(self, pattern: str, begin: int) -> list[int]:
        return [
            revision for revision, change in self.changes.items()
            if revision > begin and is_of(change.split(" ")[1], pattern)
        ]  # fmt: skip

    def _holds(self, write: Queued) -> bool:
        if isinstance(write, Check) and write.since >= 0:
            hidden = [key for key, entry in self.entries.items() if entry.hidden and is_of(key, write.key)]
            return not hidden and not self._changes_of(write.key, write.since)
        if isinstance(write, Check) and write.key.endswith("*"):
            return not self.matching(write.key)
        if write.condition is None:
            return not isinstance(write, Check) or write.key in self.there()
        entry = self.there().get(write.key)
        revision = entry.revision if entry else 0
        return write.condition.revision == revision and write.condition.store in ("", self.store)

    def _apply(self, write: Queued) -> str:
        """Do it, whatever its condition; the status."""
        if isinstance(write, Check):
            return "OK"
        if write.key.endswith(NUMBER):
            write = write._replace(key=f"{write.key[:-1]}{self.revision + 1:016}")
        entry = self.there().get(write.key)
        if isinstance(write, Touch):
            if entry and entry.owner:
                return "ERR usage"
            if entry:
                self.entries[write.key] = entry._replace(due=self._due(write.ttl))
                self._hand_on(write.key)
            return "OK" if entry else "NONE"
        if write.amount is not None:
            old = entry.value if entry else b"0"
            if not re.fullmatch(rb"0|-?[1-9][0-9]*", old):
                return "ERR not-a-number"
            total = int(old) + write.amount
            if max(abs(int(old)), abs(total)) > LIMIT:
                return "ERR overflow"
            self._put(write.key, b"%d" % total, entry.due if entry else None, entry.owner if entry else "")
            return f"OK {total}"
        if write.owner:
            return self._put_with(write)
        if write.value is not None:
            return f"OK {self._put(write.key, write.value, self._due(write.ttl))}"
        if not entry:
            return "NONE"
        for key in self.family(write.key):
            self._delete(key)
        return f"OK {self._delete(write.key)}"

    def _delete(self, key: str) -> int:
        del self.entries[key]
        return self._change(f"DEL {key}")

    def _put_with(self, write: Write) -> str:
        assert write.value is not None
        there = self.there()
        if write.owner not in there:
            return f"CONFLICT 0 {write.owner}"
        if there[write.owner].owner or (write.key in there and self.family(write.key)):
            return "ERR usage"
        return f"OK {self._put(write.key, write.value, there[write.owner].due, write.owner)}"

    def _hand_on(self, owner: str) -> None:
        """What lives with a key ends with it."""
        for key in self.family(owner):
            self.entries[key] = self.entries[key]._replace(due=self.entries[owner].due)

    def _put(self, key: str, value: bytes, due: tuple[float, float] | None, owner: str = "") -> int:
        if key in self.entries and self.entries[key].hidden:
            self._expire(self.entries[key].owner or key)
        mark = "SET" if is_text(value) else "SET64"
        revision = self._change(f"{mark} {key} {travelling(value)}")
        self.entries[key] = Entry(revision, value, due, owner=owner)
        self._hand_on(key)
        return revision

    def _expire(self, key: str) -> None:
        for member in (*self.family(key), key):
            del self.entries[member]
            self._change(f"EXPIRE {member}")

    def _change(self, text: str) -> int:
        self.revision += 1
        self.changes[self.revision] = text
        return self.revision

    def _due(self, ttl: float) -> tuple[float, float] | None:
        return (self.sent + ttl - CLOCKS, self.answered + ttl + CLOCKS) if ttl else None

    # ---- reads

    def get(self, key: str) -> Allowed:
        entry = self.there().get(key)
        return exactly(f"{_ok(entry.value)} {travelling(entry.value)}" if entry else "NONE")

    def gets(self, key: str) -> Allowed:
        entry = self.there().get(key)
        return exactly(f"{_ok(entry.value)} {entry.revision} {travelling(entry.value)}" if entry else "NONE")

    def ttl(self, key: str) -> Allowed:
        entry = self.there().get(key)
        if not entry or not entry.due:
            return exactly("OK -" if entry else "NONE")
        least, most = entry.due[0] - self.answered, entry.due[1] - self.sent

        def allowed(lines: list[str]) -> bool:
            match = re.fullmatch(r"OK (\d+(?:\.\d{0,2}[1-9])?)", lines[0])
            # It is rounded to milliseconds, and never 0.
            return match is not None and least - 0.001 <= float(match[1]) <= max(most, 0) + 0.001

        return allowed

    def page(self, verb: str, wanted: "Page") -> Allowed:
        found = wanted.of({key: entry.owner for key, entry in self.there().items()})
        if verb == "KEYS":
            return exactly(f"OK {len(found)}", items=[f"KEY {name}" for name, _ in found])
        lines = [f"KEY {name}" if folded else self.pairs([name])[0] for name, folded in found]
        return exactly(f"OK {self.position()}", items=lines)

    def count(self, pattern: str) -> Allowed:
        return exactly(f"OK {len(self.matching(pattern))}")

    def matching(self, pattern: str) -> list[str]:
        """The keys that are there and match, in order."""
        return [key for key in self.there() if is_of(key, pattern)]

    def sync(self, patterns: list[str], form: "Form") -> Allowed:
        # A copy is that of the history: a key whose time is over is in it until its EXPIRE.
        keys = [key for key in self.entries if any(is_of(key, pattern) for pattern in patterns)]
        wanted = sorted(form.of_pair(pair, len(self.entries[pair.split(" ")[2]].value)) for pair in self.pairs(keys))
        return lambda lines: lines[-1] == f"OK {self.position()}" and sorted(copied(lines[:-1])) == wanted

    def changed(self, patterns: list[str], begin: int, limit: int, form: "Form") -> Allowed:
        found = [
            (revision, shown)
            for revision, change in sorted(self.changes.items())
            if revision > begin and any(is_of(change.split(" ")[1], pattern) for pattern in patterns)
            if (shown := form.of_change(change))
        ]
        last = found[limit - 1][0] if len(found) >= limit else self.revision
        wanted = [f"CHANGED {revision}@{self.store} {change}" for revision, change in found[:limit]]
        return lambda lines: lines == [*wanted, f"OK {last}@{self.store}"]

    def where(self) -> Allowed:
        return exactly(f"OK {self.position()}")

    def position(self) -> str:
        return f"{self.revision}@{self.store}"

    def pairs(self, keys: list[str]) -> list[str]:
        entries = [(key, self.entries[key]) for key in keys]
        return [
            f"PAIR{'' if is_text(entry.value) else '64'} {entry.revision} {key} {travelling(entry.value)}"
            for key, entry in entries
        ]


def exactly(*statuses: str, items: list[str] | None = None) -> Allowed:
    """One of these status lines, after these items.  Of ERR, the code counts."""

    def allowed(lines: list[str]) -> bool:
        status = lines[-1]
        if status.startswith("ERR "):
            status = " ".join(status.split(" ", 2)[:2])
        return lines[:-1] == (items or []) and status in statuses

    return allowed


def is_text(value: bytes) -> bool:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return False
    return not re.search("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]", text)


def travelling(value: bytes) -> str:
    return value.decode() if is_text(value) else base64.b64encode(value).decode()


def _ok(value: bytes) -> str:
    return "OK" if is_text(value) else "OK64"


def is_of(key: str, pattern: str) -> bool:
    return key.startswith(pattern[:-1]) if pattern.endswith("*") else key == pattern


# ---- the real one


class Client:
    """One connection: its transaction, and its watch.

    queue: the writes since BEGIN, None outside a transaction.  begin: of the watch, its position's revision.
    pushed: what it got since, as the revision and the change, which is "" for any other line with a position.
    """

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.queue: list[Queued] | None = None
        self.spoiled = False
        self.begin_watch([], 0)

    def begin_watch(self, patterns: list[str], begin: int, form: Form = PLAIN) -> None:
        self.patterns = patterns
        self.form = form
        self.begin = begin
        self.pushed: list[tuple[int, str]] = []

    def ask(self, line: str) -> list[str]:
        """The lines of the reply; what is pushed before it is put aside."""
        self.peer.send(f"{line}\n")
        lines: list[str] = []
        while not lines or lines[-1].split(" ")[0] not in ("OK", "OK64", "NONE", "CONFLICT", "ERR"):
            line = self.peer.line()
            if line.startswith(("CHANGE ", "PROGRESS ")):
                assert not lines, f"{line} within a reply"
                self.take(line)
            else:
                lines.append(line)
        return lines

    def take(self, line: str) -> None:
        _, position, *change = line.split(" ", 2)
        self.pushed.append((int(position.split("@")[0]), change[0] if change else ""))

    def check(self, history: dict[int, str]) -> None:
        """All that was pushed is the history from the watch's begin on, whatever of it matches, in order."""
        wanted = self.wanted(history)
        for revision, change in self.pushed:
            if change:
                assert wanted, f"{revision} {change} is pushed once more"
                assert (revision, change) == wanted.pop(0)
            else:
                assert not wanted or revision < wanted[0][0], f"position {revision} overtakes {wanted[0]}"

    def wanted(self, history: dict[int, str]) -> list[tuple[int, str]]:
        """The changes after the watch's begin that match."""
        return [
            (revision, shown)
            for revision, change in history.items()
            if revision > self.begin and any(is_of(change.split(" ")[1], pattern) for pattern in self.patterns)
            if (shown := self.form.of_change(change))
        ]


def copied(lines: list[str]) -> Iterable[str]:
    """The PAIR lines that are left of a copy, when all of it is applied in order."""
    found: dict[str, str] = {}
    for line in lines:
        word, _, key, *_ = line.split(" ", 3)
        if word == "GONE":
            found.pop(key, None)
        else:
            found[key] = line
    return found.values()


KEYS = ["a", "a/1", "a/2", "b", "b\u00e9", "n", "k" * 512]
MORTAL = ["a/mortal", "mortal"]
PATTERNS = ["*", "a*", "a/*", "b*", "mortal", "n", "zzz*", "k" * 512]
WRONG = [
    ("", "unknown-verb"), ("NOPE a", "unknown-verb"), (" GET a", "unknown-verb"), ("HELLO x", "unknown-verb"),
    ("AUTH x", "usage"),
    ("GET", "usage"), ("GET a b", "usage"), ("SET a", "usage"), ("SET", "usage"), ("PUT a", "usage"),
    ("PUT a x", "usage"), ("PUT a ttl=0 = x", "usage"), ("PUT a ttl=1 ttl=1 = x", "usage"), ("PUT a if= = x", "usage"),
    ("PUT a/* if=0 = x", "usage"), ("PUT a*b = x", "bad-key"), ("SET a/* x", "bad-key"), ("INCR a/*", "bad-key"),
    ("PUT " + "k" * 497 + "* = x", "bad-key"),
    ("PUT a if=-1 = x", "usage"), ("PUT a if=9007199254740992 = x", "usage"), ("PUT a if=01 = x", "usage"),
    ("PUT a ttl=0.0001 = x", "usage"), ("PUT a ttl=1000000000.001 = x", "usage"), ("PUT a TTL=1 = x", "usage"),
    ("PUT a base64 = !", "bad-value"), ("PUT a base64=3 = AAA=", "bad-value"), ("PUT a base64 = AAE", "bad-value"),
    ("SET a \x7f", "bad-value"), ("SET a \u2028", "bad-value"), ("PUT a = \x01", "bad-value"),
    ("SET a b\rc", "bad-value"),
    ("DEL a ttl=1", "usage"), ("DEL a if=x", "usage"), ("DEL", "usage"), ("TOUCH a", "usage"),
    ("TOUCH a ttl=0", "usage"),
    ("INCR a 1 2", "usage"), ("INCR a x", "not-a-number"), ("INCR a 01", "not-a-number"), ("INCR a +1", "not-a-number"),
    ("INCR a 9223372036854775808", "overflow"), ("INCR a -9223372036854775808", "overflow"),
    ("GET a*", "bad-key"), ("SET  x", "bad-key"), ("GET \u00a0", "bad-key"), ("GET " + "k" * 513, "bad-key"),
    ("KEYS limit=1", "usage"), ("KEYS * limit=0", "usage"), ("LIST * after=", "usage"), ("LIST * after=* ", "usage"),
    ("KEYS * fold=", "usage"), ("KEYS * fold=a*", "bad-key"), ("LIST * before=", "usage"),
    ("KEYS * reverse=1", "usage"), ("LIST * reverse reverse", "usage"), ("COUNT * reverse", "usage"),
    ("KEYS a*b", "bad-key"), ("WATCH **", "bad-key"), ("WATCH a  b", "bad-key"), ("COUNT a b", "usage"),
    ("RESUME", "usage"), ("RESUME 1", "usage"), ("RESUME 1@", "usage"), ("RESUME x@y", "usage"), ("PROGRESS", "usage"),
    ("PROGRESS -1", "usage"), ("PROGRESS 0.0", "usage"), ("UNWATCH a", "usage"), ("BEGIN a", "usage"),
    ("PING \x7f", "bad-value"), ("INFO a", "usage"), ("QUIT now", "usage"), ("SET a " + "x" * 1048577, "too-long"),
    ("SET a " + "x" * 1500000, "too-long"),
]  # fmt: skip
EXAMPLES, STEPS = 40, 50
LIVES = (0.02, 0.05)
LONG_LIVES = (1000.0, 12345.678)

values = st.one_of(
    st.sampled_from([b"", b" ", b"value", b"12", b"-7", b"%d" % LIMIT, b"007", "\u20ac\t".encode(), b"= x"]),
    st.sampled_from([b"\n", b"\x7f", "\u2029".encode(), b"\xff", b"\xc2\x85", b"x" * 5000, b"\x00" * 5000]),
    st.binary(max_size=20),
    st.text(max_size=20).map(str.encode),
)
who = st.integers(0, 2)
any_key = st.sampled_from(KEYS + MORTAL)
afters = st.sampled_from([*[""] * 6, "a", "a/", "a/2", "queue/", "zzz", "k" * 512])
befores = st.sampled_from([*[""] * 6, "a/2", "b", "a/", "q", "k" * 512])
amounts = st.sampled_from((1, -1, 5, -7, 0, LIMIT, -LIMIT))
limits = st.sampled_from((0, 1, 3, 1000))
folds = st.sampled_from(("", "/", "/", "00", "a"))
ranges = st.sampled_from([*PATTERNS, "*", "*", "a*", "a*", "a/*", "a/*", "queue/*"])
pages = st.builds(Page, ranges, afters, befores, limits, folds, st.booleans(), st.just(""))
patterns = st.lists(st.sampled_from(PATTERNS), max_size=3)
forms = st.builds(Form, st.booleans(), st.sampled_from(("", "SET", "DEL,EXPIRE", "EXPIRE,SET", "SET,EXPIRE,DEL")))
conditions = st.sampled_from(["", "", "absent", "present", "position", "stale", "other store"])


class Conversations(RuleBasedStateMachine):
    """Three clients and a watcher of everything, on a store that is empty at first."""

    daemon: Daemon

    def __init__(self) -> None:
        super().__init__()
        self.open = ExitStack()
        self.clients = [Client(self.open.enter_context(self.daemon.connect())) for _ in range(3)]
        self.observer = Client(self.open.enter_context(self.daemon.connect()))
        self.empty_store()
        revision, self.store = self.observer.ask("WATCH")[0].removeprefix("OK ").split("@")
        self.first = int(revision)
        self.observer.begin_watch(["*"], self.first)
        self.history: dict[int, str] = {}
        self.worlds = [World(self.store, self.first)]

    def empty_store(self) -> None:
        """Delete all there is, and wait until nothing is left that could expire."""
        left = {line.split(" ")[2] for line in self.observer.ask("SYNC")[:-1]}
        for key in left:
            self.observer.ask(f"DEL {key}")
        while left:
            while not self.observer.pushed:
                self.observer.take(self.observer.peer.line())
            left.discard(self.observer.pushed.pop(0)[1].split(" ")[1])

    def teardown(self) -> None:
        try:
            # What went wrong already must not show as a wait for what will not come.
            if self.worlds:
                self.settle()
                for client in self.clients:
                    self.unwatch(client)
        finally:
            self.open.close()

    # ---- requests

    def do(self, client: Client, line: str, outcome: Callable[[World], Allowed]) -> list[str] | None:
        """Make a request; its reply must be allowed in a world that is possible.  None: refused in a transaction."""
        if client.queue is not None:
            assert exactly("ERR usage")(client.ask(line))
            client.spoiled = True
            return None
        sent = time.monotonic()
        lines = client.ask(line)
        answered = time.monotonic()
        worlds = [new for world in self.worlds for new in world.expand(sent, answered)]
        self.give_up_worlds(
            [world for world in worlds if outcome(world)(lines)],
            f"{line[:200]!r} was answered {lines}, in none of: {[world.entries for world in worlds]}",
        )
        self.observe()
        return lines

    def observe(self, revision: int = 0) -> None:
        """Take the changes that must have come in whichever world, and those up to a revision."""
        while self.last() < max(revision, min(world.revision for world in self.worlds)):
            self.observe_one()

    def last(self) -> int:
        return max(self.history, default=self.first)

    def observe_one(self) -> None:
        self.observer.take(self.observer.peer.line())
        revision, change = self.observer.pushed[-1]
        assert revision == self.last() + 1
        self.history[revision] = change
        now = time.monotonic()
        worlds = [new for world in self.worlds for new in world.expand(now, now)]
        self.give_up_worlds(
            [world for world in worlds if world.changes.items() >= self.history.items()],
            f"{revision} {change}, in none of: {[world.changes for world in worlds]}",
        )

    def check(self, client: Client) -> None:
        """What a client was pushed is what the observer saw."""
        self.observe(max((revision for revision, _ in client.pushed), default=0))
        client.check(self.history)

    def give_up_worlds(self, left: list[World], why: str) -> None:
        different = {
            (world.revision, tuple(world.entries.items()), tuple(world.changes.items())): world for world in left
        }
        self.worlds = list(different.values())
        assert self.worlds, why

    def write(self, client: Client, line: str, write: Queued) -> None:
        """In a transaction it is queued; outside a CHECK is refused."""
        if client.queue is None:
            self.do(client, line, lambda world: world.single(write))
        else:
            assert client.ask(line) == ["OK queued"]
            client.queue.append(write)

    def condition(self, kind: str, key: str) -> Condition | None:
        entry = self.worlds[0].entries.get(key)
        revision = entry.revision if entry else self.first
        return {
            "": None,
            "absent": Condition(0),
            "present": Condition(revision),
            "position": Condition(revision, self.store),
            "stale": Condition(max(0, revision - 1)),
            "other store": Condition(revision, "elsewhere"),
        }[kind]

    # ---- rules

    @rule(who=who, key=any_key, value=values)
    def set_text(self, who: int, key: str, value: bytes) -> None:
        if is_text(value):
            self.write(self.clients[who], f"SET {key} {value.decode()}", Write(key, value))

    @rule(
        who=who,
        key=any_key,
        value=values,
        kind=conditions,
        ttl=st.sampled_from((0, 0, *LONG_LIVES)),
        as_base64=st.booleans(),
    )
    def put(self, who: int, key: str, value: bytes, kind: str, ttl: float, *, as_base64: bool) -> None:
        condition = self.condition(kind, key)
        options = f" ttl={ttl:.3f}" * bool(ttl) + f" if={condition}" * bool(condition)
        if as_base64 or not is_text(value):
            options += " base64" if as_base64 else f" base64={len(value)}"
            text = base64.b64encode(value).decode()
        else:
            text = value.decode()
        self.write(self.clients[who], f"PUT {key}{options} = {text}", Write(key, value, None, ttl, condition))

    @rule(who=who, key=any_key, owner=any_key, value=values, kind=conditions)
    def put_with(self, who: int, key: str, owner: str, value: bytes, kind: str) -> None:
        if not is_text(value) or key == owner:
            return
        condition = self.condition(kind, key)
        line = f"PUT {key} with={owner}" + f" if={condition}" * bool(condition) + f" = {value.decode()}"
        self.write(self.clients[who], line, Write(key, value, condition=condition, owner=owner))

    @rule(who=who, verb=st.sampled_from(("KEYS", "LIST")), pattern=st.sampled_from(PATTERNS), owner=any_key)
    def page_of_an_owner(self, who: int, verb: str, pattern: str, owner: str) -> None:
        wanted = Page(pattern, owner=owner)
        self.do(self.clients[who], f"{verb} {wanted}", lambda world: world.page(verb, wanted))

    @rule(who=who, prefix=st.sampled_from(("a/", "queue/", "")), value=values, ttl=st.sampled_from((0, 0, *LONG_LIVES)))
    def put_numbered(self, who: int, prefix: str, value: bytes, ttl: float) -> None:
        text = travelling(value)
        line = f"PUT {prefix}*" + f" ttl={ttl:.3f}" * bool(ttl) + " base64" * (not is_text(value)) + f" = {text}"
        self.write(self.clients[who], line, Write(prefix + NUMBER, value, None, ttl))

    @rule(who=who, key=st.sampled_from(MORTAL), ttl=st.sampled_from(LIVES))
    def put_for_a_moment(self, who: int, key: str, ttl: float) -> None:
        self.write(self.clients[who], f"PUT {key} ttl={ttl} = 1", Write(key, b"1", None, ttl))

    @rule(who=who, key=any_key, kind=conditions)
    def delete(self, who: int, key: str, kind: str) -> None:
        condition = self.condition(kind, key)
        line = f"DEL {key} if={condition}" if condition else f"DEL {key}"
        self.write(self.clients[who], line, Write(key, condition=condition))

    @rule(who=who, key=any_key, amount=amounts)
    def increment(self, who: int, key: str, amount: int) -> None:
        self.write(
            self.clients[who], f"INCR {key}" if amount == 1 else f"INCR {key} {amount}", Write(key, amount=amount)
        )

    @rule(who=who, key=any_key, edge=st.sampled_from((LIMIT, -LIMIT, LIMIT + 1, -LIMIT - 1)), amount=amounts)
    def increment_at_the_edge(self, who: int, key: str, edge: int, amount: int) -> None:
        self.write(self.clients[who], f"SET {key} {edge}", Write(key, b"%d" % edge))
        self.increment(who, key, amount)

    @rule(who=who, key=any_key, ttl=st.sampled_from((0, *LONG_LIVES)), kind=conditions)
    def touch(self, who: int, key: str, ttl: float, kind: str) -> None:
        condition = self.condition(kind, key)
        line = f"TOUCH {key} ttl={f'{ttl:.3f}' if ttl else '-'}" + f" if={condition}" * bool(condition)
        self.write(self.clients[who], line, Touch(key, ttl, condition))

    @rule(who=who, key=st.sampled_from(MORTAL), ttl=st.sampled_from(LIVES))
    def touch_for_a_moment(self, who: int, key: str, ttl: float) -> None:
        self.write(self.clients[who], f"TOUCH {key} ttl={ttl}", Touch(key, ttl))

    @rule(who=who, key=any_key, kind=conditions)
    def check_key(self, who: int, key: str, kind: str) -> None:
        condition = self.condition(kind, key)
        line = f"CHECK {key} if={condition}" if condition else f"CHECK {key}"
        self.write(self.clients[who], line, Check(key, condition))

    @rule(who=who, pattern=st.sampled_from([*PATTERNS, *MORTAL]), back=st.integers(0, 8))
    def check_since(self, who: int, pattern: str, back: int) -> None:
        begin = max(self.first, self.last() - back)
        self.write(self.clients[who], f"CHECK {pattern} since={begin}@{self.store}", Check(pattern, None, begin))

    @rule(who=who, pattern=st.sampled_from([pattern for pattern in PATTERNS if pattern.endswith("*")]))
    def check_nothing(self, who: int, pattern: str) -> None:
        self.write(self.clients[who], f"CHECK {pattern} if=0", Check(pattern, Condition(0)))

    @rule(who=who, key=any_key, verb=st.sampled_from(("GET", "GETS", "TTL", "get")))
    def read(self, who: int, key: str, verb: str) -> None:
        self.do(self.clients[who], f"{verb} {key}", lambda world: getattr(world, verb.lower())(key))

    @rule(who=who, verb=st.sampled_from(("KEYS", "LIST")), several=st.lists(pages, min_size=4, max_size=12))
    def list_pages(self, who: int, verb: str, several: list[Page]) -> None:
        for wanted in several:
            self.do(self.clients[who], f"{verb} {wanted}", partial(World.page, verb=verb, wanted=wanted))

    @rule(who=who, pattern=st.sampled_from(PATTERNS))
    def count(self, who: int, pattern: str) -> None:
        self.do(self.clients[who], f"COUNT {pattern}", lambda world: world.count(pattern))

    @rule(who=who, wrong=st.sampled_from(WRONG))
    def refuse(self, who: int, wrong: tuple[str, str]) -> None:
        line, code = wrong
        client = self.clients[who]
        assert exactly(f"ERR {code}")(client.ask(line))
        client.spoiled = client.queue is not None

    @rule(who=who, text=st.sampled_from(["", " ", " hello  there", " \u20ac\t"]))
    def ping(self, who: int, text: str) -> None:
        self.do(self.clients[who], f"PING{text}", lambda _: exactly(f"OK{text}"))

    @rule(who=who)
    def reconnect(self, who: int) -> None:
        """What was not committed is given up."""
        self.clients[who].peer.socket.close()
        self.clients[who].peer.close()
        self.clients[who] = Client(self.open.enter_context(self.daemon.connect()))

    # ---- transactions

    @rule(who=who)
    def begin(self, who: int) -> None:
        client = self.clients[who]
        if self.do(client, "BEGIN", lambda _: exactly("OK")):
            client.queue, client.spoiled = [], False

    @rule(who=who, end=st.sampled_from(("COMMIT", "COMMIT", "COMMIT", "ABORT")))
    def end(self, who: int, end: str) -> None:
        client = self.clients[who]
        queue, client.queue = client.queue, None
        if queue is None:
            self.do(client, end, lambda _: exactly("ERR usage"))
        elif end == "ABORT":
            self.do(client, end, lambda _: exactly("OK"))
        elif client.spoiled:
            self.do(client, end, lambda _: exactly("ERR aborted"))
        else:
            self.do(client, end, lambda world: world.commit(queue))

    # ---- watches

    @rule(who=who, patterns=patterns, form=forms, verb=st.sampled_from(("WATCH", "SYNC")))
    def watch(self, who: int, patterns: list[str], form: Form, verb: str) -> None:
        client = self.clients[who]
        wanted = patterns or ["*"]
        line = " ".join([f"{verb}{form}", *patterns])
        lines = self.do(client, line, lambda world: world.sync(wanted, form) if verb == "SYNC" else world.where())
        if lines:
            self.check(client)
            client.begin_watch(wanted, int(lines[-1].removeprefix("OK ").split("@")[0]), form)

    @rule(who=who, patterns=patterns, form=forms, back=st.integers(0, 20), verb=st.sampled_from(("RESUME", "FOLLOW")))
    def resume(self, who: int, patterns: list[str], form: Form, back: int, verb: str) -> None:
        client = self.clients[who]
        begin = max(self.first, self.last() - back)
        line = " ".join([f"{verb} {begin}@{self.store}{form}", *patterns])
        if self.do(client, line, lambda _: exactly(f"OK {begin}@{self.store}")):
            self.check(client)
            client.begin_watch(patterns or ["*"], begin, form)

    @rule(who=who, patterns=patterns, form=forms, why=st.sampled_from(("new", "future", "store")))
    def follow_with_a_copy(self, who: int, patterns: list[str], form: Form, why: str) -> None:
        client = self.clients[who]
        wanted = patterns or ["*"]
        future = max(world.revision for world in self.worlds) + 100
        position = {"new": "-", "future": f"{future}@{self.store}", "store": f"{self.first}@elsewhere"}[why]

        def allowed(world: World) -> Allowed:
            copy = world.sync(wanted, form)
            return lambda lines: lines[0] == f"COPY {why}" and copy(lines[1:])

        lines = self.do(client, " ".join([f"FOLLOW {position}{form}", *patterns]), allowed)
        if lines:
            self.check(client)
            client.begin_watch(wanted, int(lines[-1].removeprefix("OK ").split("@")[0]), form)

    @rule(who=who, patterns=patterns, form=forms, back=st.integers(0, 20), limit=st.integers(1, 9))
    def changes(self, who: int, patterns: list[str], form: Form, back: int, limit: int) -> None:
        client = self.clients[who]
        begin = max(self.first, self.last() - back)
        line = " ".join([f"CHANGES {begin}@{self.store} *limit={limit}{form}", *patterns])
        self.do(client, line, lambda world: world.changed(patterns or ["*"], begin, limit, form))

    @rule(who=who)
    def resume_elsewhere(self, who: int) -> None:
        future = max(world.revision for world in self.worlds) + 100
        self.do(self.clients[who], f"RESUME {future}@{self.store}", lambda _: exactly("ERR future"))
        self.do(self.clients[who], f"RESUME {self.first}@elsewhere", lambda _: exactly("ERR store"))

    @rule(who=who, seconds=st.sampled_from(("0", "0.001", "0.02")))
    def progress(self, who: int, seconds: str) -> None:
        self.do(self.clients[who], f"PROGRESS {seconds}", lambda _: exactly("OK"))

    @rule(who=who)
    def stop_watching(self, who: int) -> None:
        self.unwatch(self.clients[who])

    def unwatch(self, client: Client) -> None:
        """Everything that matches has come, or comes now."""
        wanted = client.wanted(self.history)
        while sum(change != "" for _, change in client.pushed) < len(wanted):
            client.take(client.peer.line())
        watching = bool(client.patterns)
        lines = self.do(client, "UNWATCH", lambda world: anything if watching else world.where())
        if lines:
            position, store = lines[0].removeprefix("OK ").split("@")
            assert store == self.store
            client.pushed.append((int(position), ""))
            self.check(client)
            client.begin_watch([], 0)

    @rule()
    def settle(self) -> None:
        """Wait until all that was put for a moment is over, and nothing is uncertain any more."""
        soon = time.monotonic() + max(LONG_LIVES) / 100
        while any(
            world.revision > self.last() or any(entry.due and entry.due[0] < soon for entry in world.entries.values())
            for world in self.worlds
        ):
            self.observe_one()


def anything(_: list[str]) -> bool:
    return True


@pytest.mark.slow
def test_a_daemon_does_what_the_model_does(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path / "data")
    daemon.start()
    try:
        Conversations.daemon = daemon
        run_state_machine_as_test(
            Conversations,
            settings=settings(
                max_examples=EXAMPLES, stateful_step_count=STEPS, deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )  # fmt: skip
    finally:
        daemon.stop()
    assert "Traceback" not in daemon.log
