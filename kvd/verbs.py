"""The verb table: each verb of protocol.txt as one row."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from kvd.errors import NotAClient, UnknownVerb
from kvd.model import AtHand
from kvd.requests import DeleteRange, LateRead, Request
from kvd.wire import replies, requests, watches
from kvd.wire.lines import BYTE_ORDER_MARK, NUL, STRANGER, begins_with_mark, is_stranger


class Kind(Enum):
    """READ and WRITE are done for many requests at once, OTHER for one."""

    READ = auto()
    WRITE = auto()
    OTHER = auto()


@dataclass(frozen=True, slots=True)
class Verb:
    """One row.

    parse: the rest of the line and the value limit to the request's arguments; raises a `Refusal`.
    reply: of a READ verb, the record (None: no such key) and the store's clock to the reply.
    reply_texts: of a READ verb that tells nothing but values, those of texts to the replies.
    wants_value: of a READ verb, whether the reply needs the value of a large record.
    usage, help: one line each, as HELP shows them.
    """

    name: str
    parse: Callable[[bytes | None, int], Request]
    usage: str
    help: str
    kind: Kind = Kind.OTHER
    reply: Callable[[AtHand | None, int], bytes] | None = None
    reply_texts: Callable[[Sequence[bytes]], bytes] | None = None
    wants_value: bool = True


_ROWS = (
    Verb("GET", requests.read, "GET key [min=POSITION]",
         "the value of a key, once this daemon has seen a position", Kind.READ,
         replies.value, replies.oks),
    Verb("GETS", requests.read, "GETS key [min=POSITION]", "a key's revision and value, in one read", Kind.READ,
         replies.value_with_revision),
    Verb("TTL", requests.one_key, "TTL key", "the seconds a key has left, - for no end", Kind.READ,
         replies.ttl, wants_value=False),
    Verb("SET", requests.set_, "SET key value",
         "sets a key to the rest of the line", Kind.WRITE),
    Verb("PUT", requests.put, "PUT key|prefix* [option ...] = value",
         "sets a key, or a new one, * its revision: ttl=SECONDS with=OWNER if=REV base64", Kind.WRITE),
    Verb("DEL", requests.delete, "DEL key [if=REV], DEL prefix* [limit=N]",
         "deletes a key, or all that begin so", Kind.WRITE),
    Verb("TOUCH", requests.touch, "TOUCH key ttl=SECONDS|- [if=REV]",
         "sets a key's time to live, or removes it", Kind.WRITE),
    Verb("INCR", requests.increment, "INCR key [n]", "adds n, or 1, to a key's number", Kind.WRITE),
    Verb("BEGIN", requests.nothing, "BEGIN", "opens a transaction of SET, PUT, DEL, TOUCH, INCR and CHECK"),
    Verb("CHECK", requests.check, "CHECK pattern [if=REV|since=POSITION]",
         "in a transaction: COMMIT only if this holds; of a key alone: it is there"),
    Verb("COMMIT", requests.nothing, "COMMIT", "does all of a transaction, or nothing"),
    Verb("ABORT", requests.nothing, "ABORT", "gives a transaction up"),
    Verb("KEYS", requests.key_range, "KEYS [pattern [option ...]]",
         "the keys that match: after= before= with= limit= reverse fold= min="),
    Verb("LIST", requests.key_range, "LIST [pattern [option ...]]",
         "the keys that match, with revisions and values; options as of KEYS"),
    Verb("COUNT", requests.count, "COUNT [pattern [min=POSITION]]", "how many keys match"),
    Verb("WATCH", watches.patterns, "WATCH [option ...] [pattern ...]",
         "from now on, each change that matches; options: *keys *only= *batches *time *ttl"),
    Verb("RESUME", watches.resume, "RESUME position [option ...] [pattern ...]",
         "every change after a position, none missing, and on with later ones"),
    Verb("SYNC", watches.patterns, "SYNC [option ...] [pattern ...]",
         "a copy of what matches, and from there on every change; options as of WATCH"),
    Verb("FOLLOW", watches.follow, "FOLLOW position|- [option ...] [pattern ...]",
         "RESUME where that is possible, else SYNC: all that a client needs to keep a copy"),
    Verb("CHANGES", watches.changes, "CHANGES position [*limit=N] [option ...] [pattern ...]",
         "the changes after a position, as far as there are any, 1000 unless told"),
    Verb("PROGRESS", watches.interval, "PROGRESS seconds",
         "while watching, a PROGRESS line with the position every so often; 0 ends it"),
    Verb("UNWATCH", requests.nothing, "UNWATCH", "ends the watch"),
    Verb("PING", requests.text, "PING [text]", "answers OK [text]"),
    Verb("INFO", requests.section, "INFO [section]", "the daemon, its store and its limits; or metrics of a section"),
    Verb("AUTH", requests.auth, "AUTH user password", "says who you are, where there are users"),
    Verb("CLIENTS", requests.clients, "CLIENTS [after=ID] [limit=N]",
         "who is connected, since when, what they watch and hold"),
    Verb("KICK", requests.kick, "KICK id", "ends a connection"),
    Verb("HELP", requests.verb, "HELP [verb]", "this list, or one verb"),
    Verb("QUIT", requests.nothing, "QUIT", "answers OK and closes the connection"),
)  # fmt: skip

VERBS: dict[bytes, Verb] = {row.name.encode(): row for row in _ROWS}
"""By name, in the order of protocol.txt."""

_BY_SPELLING: dict[bytes, Verb] = VERBS | {name.lower(): row for name, row in VERBS.items()}


def kind_of(verb: Verb, request: Request) -> Kind:
    """How a request is done: DEL of a range, and what waits for a position, is one of its own."""
    return Kind.OTHER if isinstance(request, (DeleteRange, LateRead)) else verb.kind


READERS: dict[bytes, Verb] = {name: row for name, row in _BY_SPELLING.items() if row.kind is Kind.READ}
"""Those that read, by the spellings that most clients use."""

_SHOWABLE = re.compile(rb"[A-Za-z][A-Za-z0-9_-]{0,31}").fullmatch


def is_verb(word: bytes) -> bool:
    """Whether a line may begin with a word."""
    return word in _BY_SPELLING or word.upper() in _BY_SPELLING


def find(line: bytes) -> tuple[Verb, bytes | None]:
    """The verb of a line and the rest after its space, None without a space.

    Raises UnknownVerb; NotAClient if this is no client's line.
    """
    word, space, rest = line.partition(b" ")
    row = _BY_SPELLING.get(word) or _BY_SPELLING.get(word.upper())
    if row is None:
        if is_stranger(line):
            raise NotAClient(STRANGER)
        raise UnknownVerb(_unknown(word))
    return row, rest if space else None


def _unknown(word: bytes) -> str:
    if not word:
        return "an empty line, or a space before the verb; HELP lists the verbs"
    if begins_with_mark(word):
        return BYTE_ORDER_MARK
    if b"\0" in word:
        return NUL
    # Anything but a simple word could hold what must not be in a reply.
    name = f"no verb {word.decode()}" if _SHOWABLE(word) else "no such verb"
    return f"{name}; HELP lists the verbs"


def explain(name: bytes | None) -> list[str]:
    """HELP's lines: all verbs, or the one named.  Raises UnknownVerb."""
    if name is None:
        width = max(len(row.usage) for row in _ROWS)
        return [f"{row.usage:{width}}  {row.help}" for row in _ROWS]
    row = VERBS.get(name)
    if row is None:
        raise UnknownVerb(_unknown(name))
    return [row.usage, row.help]
