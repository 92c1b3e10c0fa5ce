"""What can be asked: each function makes a request of its arguments, which it checks, and says how to read the reply.

All raise TypeError and Refusal.
"""

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from kvd.client import arguments, replies
from kvd.client.arguments import Seconds, Value
from kvd.client.beside import Beside
from kvd.client.lines import Reply
from kvd.client.login import Login
from kvd.client.words import Changes, Connected, Item, WatchOptions, is_text
from kvd.errors import Usage

Result = TypeVar("Result")

USUAL_CHANGES = 100
"""Changes in a part of the past, whose values may be a megabyte each."""
DIGITS = 16
"""Digits of a revision in the name of a key."""
LINES_OF_A_CHANGE = 4
"""With TIME and BATCH before it, and TTL or WITH after it."""
MOST_FACTS = 1000
"""Lines of INFO, of which there are some twenty, and of HELP."""


@dataclass(slots=True)
class Request(Generic[Result]):
    """Something to ask.

    data: bytes to send.  read: what the reply says.  is_write: whether it may change the store.
    most_items: how many items the reply may have.  copies: its items are a copy, which may be of any size.
    replies: how many come.  beside: of a watch, what is to be put together with its changes.
    """

    data: bytes
    read: Callable[[Reply], Result]
    is_write: bool = False
    most_items: int = 0
    copies: bool = False
    replies: int = 1
    beside: Beside | None = None

    def result(self, came: Sequence[Reply]) -> Result:
        """What the replies say.  Raises Refusal, Conflict, ProtocolError."""
        return replies.answer(came[0], self.read)


def get(key: str, min_position: str | None = None) -> Request[bytes | None]:
    """Ask for a value."""
    return Request(b"GET %b%b\n" % (arguments.key(key), arguments.least(min_position)), replies.value)


def gets(key: str, min_position: str | None = None) -> Request[Item | None]:
    """Ask for a value and its revision."""

    def read(reply: Reply) -> Item | None:
        found = replies.value_with_revision(reply)
        return found and Item(key, *found)

    return Request(b"GETS %b%b\n" % (arguments.key(key), arguments.least(min_position)), read)


def set(  # noqa: A001
    key: str,
    value: Value,
    ttl: Seconds | None = None,
    owner: str | None = None,
    if_revision: int | str | None = None,
) -> Request[int]:
    """Ask for a key to be set."""
    name, data = arguments.key(key), arguments.value(value)
    options = arguments.condition(if_revision) + arguments.life(ttl, owner)
    if not options and is_text(data):
        return Request(b"SET %b %b\n" % (name, data), replies.revision, is_write=True)
    return Request(_put(name, options, data), replies.revision, is_write=True)


def append(prefix: str, value: Value, ttl: Seconds | None = None, owner: str | None = None) -> Request[Item]:
    """Ask for a new key, after all that were made of this prefix."""
    name, data = arguments.beginning(prefix, "prefix"), arguments.value(value)

    def read(reply: Reply) -> Item:
        revision = replies.revision(reply)
        return Item(f"{prefix}{revision:0{DIGITS}}", data, revision)

    return Request(_put(name + b"*", arguments.life(ttl, owner), data), read, is_write=True)


def _put(name: bytes, options: bytes, data: bytes) -> bytes:
    if not is_text(data):
        options += b" base64=%d" % len(data)
        data = base64.b64encode(data)
    return b"PUT %b%b = %b\n" % (name, options, data)


def delete(key: str, if_revision: int | str | None = None) -> Request[int | None]:
    """Ask for a key to be deleted."""
    line = b"DEL %b%b\n" % (arguments.key(key), arguments.condition(if_revision))
    return Request(line, replies.revision_or_none, is_write=True)


def delete_all(pattern: str, limit: int | None = None) -> Request[int]:
    """Ask for the keys that match to be deleted."""
    line = b"DEL %b%b\n" % (arguments.prefix(pattern), _limit(limit))
    return Request(line, replies.count_of_deleted, is_write=True)


def touch(key: str, ttl: Seconds | None, if_revision: int | str | None = None) -> Request[bool]:
    """Ask for another time to live."""
    options = arguments.ttl(ttl, never=b" ttl=-") + arguments.condition(if_revision)
    read = replies.done if if_revision is None else replies.done_or_conflict
    return Request(b"TOUCH %b%b\n" % (arguments.key(key), options), read, is_write=True)


def check(pattern: str, if_revision: int | str | None = None, since: str | None = None) -> Request[bool]:
    """Demand, in a transaction, that something is as it was."""
    if if_revision is not None and since is not None:
        raise Usage("a check has if_revision or since, not both")
    position = b"" if since is None else b" since=" + arguments.position(since, "since")
    options = arguments.condition(if_revision) + position
    return Request(b"CHECK %b%b\n" % (arguments.pattern(pattern), options), replies.done)


def ttl(key: str) -> Request[float | None]:
    """Ask for the time to live that is left."""
    return Request(b"TTL %b\n" % arguments.key(key), replies.seconds)


def incr(key: str, n: int = 1) -> Request[int]:
    """Ask for a number to be added."""
    return Request(b"INCR %b %b\n" % (arguments.key(key), arguments.amount(n)), replies.integer, is_write=True)


def count(pattern: str = "*", min_position: str | None = None) -> Request[int]:
    """Ask how many keys match."""
    return Request(b"COUNT %b%b\n" % (arguments.pattern(pattern), arguments.least(min_position)), replies.number)


def info(section: str | None = None) -> Request[dict[str, str]]:
    """Ask what the daemon says of itself, or for the metrics of a section."""
    word = b"" if section is None else b" " + arguments.letters(section, "section")
    return Request(b"INFO%b\n" % word, replies.facts, most_items=MOST_FACTS)


def help(verb: str | None = None) -> Request[list[str]]:  # noqa: A001
    """Ask how verbs are written."""
    word = b"" if verb is None else b" " + arguments.letters(verb, "verb")
    return Request(b"HELP%b\n" % word, replies.help_lines, most_items=MOST_FACTS)


def clients(after: str | None, most: int) -> Request[list[Connected]]:
    """Ask who is connected, for so many connections at the most."""
    name = b"" if after is None else b" after=" + arguments.connection(after, "after")
    return Request(b"CLIENTS%b limit=%d\n" % (name, most), replies.connections, most_items=most)


def kick(id: str) -> Request[bool]:  # noqa: A002  # as the wire calls it
    """Ask for a connection to be ended."""
    return Request(b"KICK %b\n" % arguments.connection(id), replies.done, is_write=True)


def auth(login: Login) -> Request[None]:
    """Say who one is."""
    return Request(b"AUTH %b %b\n" % login, replies.ok)


def ping(text: str | None = None) -> Request[str]:
    """Ask for a sign of life."""
    data = b"" if text is None else b" " + arguments.text(text)
    return Request(b"PING%b\n" % data, replies.text)


def changes(
    position: str, patterns: tuple[str, ...], limit: int | None, options: WatchOptions | None = None
) -> Request[Changes]:
    """Ask for a part of the past."""
    most = arguments.limit(limit) or USUAL_CHANGES
    data = _watch(b"CHANGES %b *limit=%d" % (arguments.position(position), most), patterns, options)
    batches = bool(options and options.batches)

    def read(reply: Reply) -> Changes:
        return replies.changes(Beside(batches=batches), reply)

    return Request(data, read, most_items=most * LINES_OF_A_CHANGE, beside=_beside(options))


def watch(patterns: tuple[str, ...], options: WatchOptions | None = None) -> Request[str]:
    """Ask for all later changes."""
    return Request(_watch(b"WATCH", patterns, options), replies.position, beside=_beside(options))


def resume(position: str, patterns: tuple[str, ...], options: WatchOptions | None = None) -> Request[str]:
    """Ask for all changes after a position."""
    data = _watch(b"RESUME " + arguments.position(position), patterns, options)
    return Request(data, replies.position, beside=_beside(options))


def sync(patterns: tuple[str, ...], options: WatchOptions | None = None) -> Request[str]:
    """Ask for a copy, and all later changes."""
    return Request(_watch(b"SYNC", patterns, options), replies.position, copies=True, beside=_beside(options))


def beginning(
    patterns: tuple[str, ...], position: str | None, copy: bool, options: WatchOptions | None = None
) -> Request[str]:
    """WATCH, RESUME or SYNC."""
    arguments.flag(copy, "sync")
    if position is not None and copy:
        raise Usage("a watch begins either at a position or with a copy; follow() takes what can be had")
    if position is not None:
        return resume(position, patterns, options)
    return sync(patterns, options) if copy else watch(patterns, options)


def follow(position: str | None, patterns: tuple[str, ...], options: WatchOptions | None = None) -> Request[str]:
    """Ask for all changes after a position, or where that cannot be for a copy and all later ones."""
    place = b"-" if position is None else arguments.position(position)
    data = _watch(b"FOLLOW " + place, patterns, options)
    return Request(data, replies.position, copies=True, beside=_beside(options))


def _watch(words: bytes, patterns: tuple[str, ...], options: WatchOptions | None) -> bytes:
    return b" ".join((words, *arguments.watch_options(options), *arguments.patterns(patterns))) + b"\n"


def _beside(options: WatchOptions | None) -> Beside | None:
    asked = options and (options.lifetimes or options.batches or options.times)
    return Beside(batches=options.batches) if options and asked else None


def progress(interval: float) -> Request[None]:
    """Ask for signs of life of a watch."""
    return Request(b"PROGRESS %.3f\n" % interval, replies.ok)


def _limit(number: int | None) -> bytes:
    most = arguments.limit(number)
    return b"" if most is None else b" limit=%d" % most
