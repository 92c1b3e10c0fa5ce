"""The arguments of the verbs that give changes, as `requests` has the others (protocol.txt, 8)."""

from kvd.errors import Usage
from kvd.model import ALL_KEYS, CHANGING, PLAIN, Form
from kvd.requests import Follow, History, Interval, Resume, Watch
from kvd.wire import words
from kvd.wire.options import limit_of, starred, words_of

USUAL_CHANGES = 1000
"""Lines that CHANGES gives at the most, unless it is told."""
FLAGS = frozenset((b"keys", b"batches", b"time", b"ttl"))
"""Options of a watch that have no value."""
FORM = FLAGS | {b"only"}
"""All that say what its lines are to be."""


def patterns(rest: bytes | None, max_value: int) -> Watch:  # noqa: ARG001
    """[OPTION ...] [PATTERN ...]."""
    given, found = starred([] if rest is None else rest.split(b" "), FORM, FLAGS)
    return Watch(_patterns(found), _form(given))


def _patterns(found: list[bytes]) -> tuple[bytes, ...]:
    """Those that were given, or the one of every key."""
    if len(found) > words.MAX_PATTERNS:
        raise Usage(f"at most {words.MAX_PATTERNS} patterns in a watch; one with * may match many keys")
    return tuple(words.pattern(word) for word in found or [ALL_KEYS])


def resume(rest: bytes | None, max_value: int) -> Resume:  # noqa: ARG001
    """POSITION [OPTION ...] [PATTERN ...]."""
    position, *tail = words_of(rest, "expected RESUME position [option ...] [pattern ...]")
    after = words.position(position)
    given, found = starred(tail, FORM, FLAGS)
    return Resume(after, _patterns(found), _form(given))


def follow(rest: bytes | None, max_value: int) -> Follow:  # noqa: ARG001
    """POSITION or -, [OPTION ...] [PATTERN ...]."""
    position, *tail = words_of(
        rest, "expected FOLLOW position [option ...] [pattern ...], or FOLLOW - [option ...] [pattern ...] to begin"
    )
    after = None if position == b"-" else words.position(position)
    given, found = starred(tail, FORM, FLAGS)
    return Follow(after, _patterns(found), _form(given))


def changes(rest: bytes | None, max_value: int) -> History:  # noqa: ARG001
    """POSITION [*limit=N] [OPTION ...] [PATTERN ...]."""
    position, *tail = words_of(rest, "expected CHANGES position [*limit=N] [option ...] [pattern ...]")
    after = words.position(position)
    given, found = starred(tail, FORM | {b"limit"}, FLAGS)
    return History(after, _patterns(found), limit_of(given) or USUAL_CHANGES, _form(given))


def interval(rest: bytes | None, max_value: int) -> Interval:  # noqa: ARG001
    """SECONDS, or 0."""
    if rest is None or b" " in rest:
        raise Usage("expected seconds, or 0 for none: PROGRESS seconds")
    return Interval(0 if rest == b"0" else words.milliseconds(rest))


def _form(given: dict[bytes, bytes]) -> Form:
    """What the options of a watch say."""
    if not given:
        return PLAIN
    stays = given.get(b"ttl") == b"all"
    for name in FLAGS:
        if given.get(name) and not (stays and name == b"ttl"):
            raise Usage(f"*{name.decode()} takes no value")
    verbs = given[b"only"].split(b",") if b"only" in given else CHANGING
    if not CHANGING.issuperset(verbs) or len(set(verbs)) < len(verbs):
        raise Usage("*only= takes SET, DEL and EXPIRE, each once, with commas between them")
    batches, time, ttl = (name in given for name in (b"batches", b"time", b"ttl"))
    return Form(b"keys" in given, frozenset(verbs), batches, time, ttl, stays)
