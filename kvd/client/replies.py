"""What the replies to requests mean.  One that protocol.txt does not allow raises ProtocolError, and nothing else."""

import math
import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TypeVar
from urllib.parse import unquote

from kvd.client import lines
from kvd.client.beside import BESIDE, Beside
from kvd.client.errors import Conflict
from kvd.client.lines import Line, Reply, check
from kvd.client.pushed import pair
from kvd.client.words import LIFETIMES, Changes, Connected, Event, Item, Lifetime
from kvd.errors import REFUSALS, Refusal, Unavailable
from kvd.wire import words

Result = TypeVar("Result")

_SECONDS = re.compile(rb"[0-9]{1,16}(?:\.[0-9]{1,3})?").fullmatch


def answer(reply: Reply, read: Callable[[Reply], Result]) -> Result:
    """What a reply says, as `read` reads it.  Raises Refusal, Conflict, ProtocolError."""
    if reply.status.word == b"ERR":
        raise lines.read(reply.status, _refusal)
    try:
        return read(reply)
    except (ValueError, Refusal):
        raise lines.malformed(reply.status) from None


def _refusal(line: Line) -> Refusal:
    word, _, reason = line.text.partition(b" ")
    code = lines.code(word)
    retry, reason = lines.retry(reason) if code == Unavailable.code else (None, reason)
    refusal = REFUSALS.get(code, Refusal)(lines.for_people(reason), code)
    refusal.retry = retry
    return refusal


def ok(reply: Reply) -> None:
    """PROGRESS."""
    _word(reply, b"OK")


def queued(reply: Reply) -> None:
    """A request between BEGIN and COMMIT."""
    _word(reply, b"OK")
    check(reply.status.text == b"queued")


def done(reply: Reply) -> bool:
    """TOUCH: whether there is such a key."""
    return _word(reply, b"OK", b"NONE") == b"OK"


def done_or_conflict(reply: Reply) -> bool:
    """TOUCH with if=.  Raises Conflict."""
    if reply.status.word == b"CONFLICT":
        raise _conflict(reply.status)
    return done(reply)


def value(reply: Reply) -> bytes | None:
    """GET."""
    if _word(reply, b"OK", b"OK64", b"NONE") == b"NONE":
        return None
    check(reply.status.space)  # `OK ` is the empty value, and `OK` is none
    return lines.decoded(reply.status.word, reply.status.text)


def value_with_revision(reply: Reply) -> tuple[bytes, int] | None:
    """GETS."""
    if _word(reply, b"OK", b"OK64", b"NONE") == b"NONE":
        return None
    revision, data = reply.status.text.split(b" ", 1)
    return lines.decoded(reply.status.word, data), words.number(revision)


def revision(reply: Reply) -> int:
    """SET, PUT, COMMIT.  Raises Conflict."""
    if _word(reply, b"OK", b"CONFLICT") == b"CONFLICT":
        raise _conflict(reply.status)
    return words.number(reply.status.text)


def revision_or_none(reply: Reply) -> int | None:
    """DEL.  Raises Conflict."""
    return None if reply.status.word == b"NONE" else revision(reply)


def _conflict(line: Line) -> Conflict:
    """Of COMMIT, and where the owner of a key is not there, a key follows the revision."""
    number, space, key = line.text.partition(b" ")
    return Conflict(words.number(number), lines.key(key) if space else "")


def count_of_deleted(reply: Reply) -> int:
    """DEL of many keys."""
    if _word(reply, b"OK", b"NONE") == b"NONE":
        return 0
    revision, count = reply.status.text.split(b" ")
    words.number(revision)
    return words.number(count)


def seconds(reply: Reply) -> float | None:
    """TTL: math.inf for a key that does not expire."""
    if _word(reply, b"OK", b"NONE") == b"NONE":
        return None
    if reply.status.text == b"-":
        return math.inf
    check(_SECONDS(reply.status.text))
    return float(reply.status.text)


def integer(reply: Reply) -> int:
    """INCR."""
    _word(reply, b"OK")
    return int(words.integer(reply.status.text))


def number(reply: Reply) -> int:
    """COUNT."""
    _word(reply, b"OK")
    return words.number(reply.status.text)


def keys(reply: Reply) -> list[Item]:
    """KEYS: a page of them."""
    check(number(reply) == len(reply.items))
    return [lines.read(line, _key) for line in reply.items]


def pairs(reply: Reply) -> list[Item]:
    """LIST, like KEYS."""
    position(reply)
    return [lines.read(line, pair) for line in reply.items]


def pairs_and_keys(reply: Reply) -> list[Item]:
    """LIST with fold=."""
    position(reply)
    return [lines.read(line, _key if line.word == b"KEY" else pair) for line in reply.items]


def check_order(items: Sequence[Item], last: str | None, *, reverse: bool) -> None:
    """Each key comes after the one before it, or a listing might never end.  The order of str is that of UTF-8.

    last: that of the page before.  Raises ValueError.
    """
    names = [*(() if last is None else (last,)), *(item.key for item in items)]
    check(all(second < first if reverse else first < second for first, second in pairwise(names)))


def changes(beside: Beside, reply: Reply) -> Changes:
    """CHANGES."""
    events = [event for line in reply.items if (event := _changed(beside, line))]
    place = position(reply)
    revisions = [event.revision for event in events if event.verb not in LIFETIMES]
    check(all(first < second for first, second in pairwise([*revisions, lines.revision_of(place) + 1])))
    return Changes(events, place)


def _changed(beside: Beside, line: Line) -> Event | None:
    if line.word in BESIDE:
        found = beside.take(line)
        if isinstance(found, Lifetime):
            raise lines.malformed(line)  # it is of no change
        return found
    check(line.word == b"CHANGED")
    return beside.change(lines.read(line, _change))


def facts(reply: Reply) -> dict[str, str]:
    """INFO."""
    _word(reply, b"OK")
    return dict(lines.read(line, _fact) for line in reply.items)


def connections(reply: Reply) -> list[Connected]:
    """CLIENTS."""
    check(number(reply) == len(reply.items))
    return [lines.read(line, _connection) for line in reply.items]


def _connection(line: Line) -> Connected:
    """What this version does not know of it is passed over."""
    check(line.word == b"CLIENT")
    name, *told = line.text.split(b" ")
    words.client(name)
    facts = [word.partition(b"=") for word in told]
    known = {what: said for what, equals, said in facts if equals}
    address, user = (unquote(known[what].decode()).removeprefix("-") for what in (b"address", b"user"))
    since, requests, held, patterns = (
        words.number(known[what]) for what in (b"since", b"requests", b"held", b"patterns")
    )
    watched = tuple(words.pattern(said).decode() for what, _, said in facts if what == b"watch")
    return Connected(name.decode(), address, user, since / 1000, requests, held, patterns, watched)


def help_lines(reply: Reply) -> list[str]:
    """HELP."""
    _word(reply, b"OK")
    return [lines.read(line, _help) for line in reply.items]


def text(reply: Reply) -> str:
    """PING."""
    _word(reply, b"OK")
    return reply.status.text.decode()


def position(reply: Reply) -> str:
    """WATCH, RESUME, SYNC, FOLLOW, LIST."""
    _word(reply, b"OK")
    return lines.position(reply.status.text)


def _key(line: Line) -> Item:
    check(line.word == b"KEY")
    return Item(lines.key(line.text), b"", 0)


def _fact(line: Line) -> tuple[str, str]:
    check(line.word == b"INFO")
    name, _, said = line.text.partition(b" ")
    return lines.code(name), lines.for_people(said)


def _help(line: Line) -> str:
    check(line.word == b"HELP")
    return lines.for_people(line.text)


def _change(line: Line) -> Event:
    return lines.change(line.text)


def _word(reply: Reply, *expected: bytes) -> bytes:
    """The status word.  Raises ValueError for one that does not answer the request."""
    check(reply.status.word in expected)
    return reply.status.word
