"""The arguments of each verb, but for watches: the rest of a line, after the verb, to a request (protocol.txt, 5 to 9).

Every function takes `rest`, the bytes after the verb's space or None if there was no space, and `max_value`,
the limit for values in bytes; it returns one of the model's requests and raises a `Refusal` and nothing else.
"""

from kvd.errors import BadValue, Usage
from kvd.metrics import QUOTAS, SECTIONS
from kvd.model import ALL_KEYS, TEXT
from kvd.requests import (
    NUMBERED,
    Auth,
    Check,
    CheckNone,
    CheckSince,
    ClientRange,
    Delete,
    DeleteRange,
    Help,
    Increment,
    Info,
    KeyRange,
    Kick,
    LateRead,
    Nothing,
    Ping,
    Put,
    Read,
    Touch,
)
from kvd.wire import words
from kvd.wire.options import limit_of, options_of, words_of

MOST_OPTIONS = 4
"""What PUT takes before its `=`."""
PUT_FORM = "expected PUT key [ttl=SECONDS | with=OWNER] [if=REV] [base64[=BYTES]] = value, or PUT prefix* of the same"
CHECK_FORMS = "expected CHECK key, CHECK key if=REV, CHECK prefix* if=0, or CHECK pattern since=POSITION"
RANGE = frozenset((b"after", b"before", b"limit", b"fold", b"reverse", b"with", b"min"))
"""Options of KEYS and LIST."""


def read(rest: bytes | None, max_value: int) -> Read | LateRead:
    """KEY [min=POSITION]."""
    if rest is None or b" " not in rest:
        return one_key(rest, max_value)
    key, *options = rest.split(b" ")
    if not options[0].startswith(b"min="):
        raise Usage("expected one key")
    return LateRead(words.key(key), words.position(options_of(options, {b"min"})[b"min"]))


def one_key(rest: bytes | None, max_value: int) -> Read:  # noqa: ARG001
    """KEY."""
    if rest is None or b" " in rest:
        raise Usage("expected one key")
    return Read(words.key(rest))


def set_(rest: bytes | None, max_value: int) -> Put:
    """KEY VALUE; the value is all after one space."""
    key, space, value = (rest or b"").partition(b" ")
    if not space:
        raise Usage("expected a key and a value; the empty value is a space and nothing: SET key ")
    return Put(words.key(key), TEXT, words.text_value(value, max_value))


def put(rest: bytes | None, max_value: int) -> Put:
    """KEY or PREFIX*, [options] = VALUE."""
    key, space, tail = (rest or b"").partition(b" ")
    options: list[bytes] = []
    word = b""
    # Bounded, for each step copies what is left of the line.
    while space and word != b"=" and len(options) <= MOST_OPTIONS:
        word, space, tail = tail.partition(b" ")
        options.append(word)
    if word != b"=":
        raise Usage(PUT_FORM)
    given = options_of(options[:-1], {b"ttl", b"with", b"if", b"base64"}, bare={b"base64"})
    owner = _owner(key, given)
    ttl = words.milliseconds(given[b"ttl"]) if b"ttl" in given else 0
    condition = words.condition(given[b"if"]) if b"if" in given else b""
    if key.endswith(b"*"):
        condition = _numbered(key, condition)
    else:
        words.key(key)
    if b"base64" not in given:
        return Put(key, TEXT, words.text_value(tail, max_value), ttl, condition, owner)
    length = words.number(given[b"base64"]) if given[b"base64"] else None
    value = words.base64_value(tail, max_value, length)
    return Put(key, words.kind_of(value), value, ttl, condition, owner)


def _owner(key: bytes, given: dict[bytes, bytes]) -> bytes:
    """What with= says, b"" if it was not given."""
    if b"with" not in given:
        return b""
    if b"ttl" in given:
        raise Usage("with= and ttl= do not go together: a key that lives with another ends as that one does")
    if given[b"with"] == key:
        raise Usage("a key lives with another, not with itself")
    return words.key(given[b"with"])


def _numbered(key: bytes, condition: bytes) -> bytes:
    """The condition of a key that a number makes."""
    words.numbered(key)
    if condition:
        raise Usage("if= goes with a key, and what PUT makes of a prefix with '*' is new anyway")
    return NUMBERED


def delete(rest: bytes | None, max_value: int) -> Delete | DeleteRange:  # noqa: ARG001
    """KEY [if=REV], or PREFIX* [limit=N]."""
    key, *options = words_of(rest, "expected a key")
    if key.endswith(b"*"):
        return _delete_range(key, options)
    given = options_of(options, {b"if"})
    return Delete(words.key(key), words.condition(given[b"if"]) if b"if" in given else b"")


def _delete_range(pattern: bytes, options: list[bytes]) -> DeleteRange:
    limit = limit_of(options_of(options, {b"limit"}))
    if pattern == ALL_KEYS and not limit:
        raise Usage("DEL * deletes every key: expected limit=N beside it, the most that are to go")
    return DeleteRange(words.pattern(pattern), limit)


def touch(rest: bytes | None, max_value: int) -> Touch:  # noqa: ARG001
    """KEY ttl=SECONDS or KEY ttl=-, [if=REV]."""
    key, *options = words_of(rest, "expected TOUCH key ttl=SECONDS, or ttl=- for no end")
    given = options_of(options, {b"ttl", b"if"})
    if b"ttl" not in given:
        raise Usage("expected TOUCH key ttl=SECONDS, or ttl=- for no end")
    ttl = 0 if given[b"ttl"] == b"-" else words.milliseconds(given[b"ttl"])
    return Touch(words.key(key), ttl, words.condition(given[b"if"]) if b"if" in given else b"")


def check(rest: bytes | None, max_value: int) -> Check | CheckNone | CheckSince:  # noqa: ARG001
    """KEY [if=REV], PREFIX* if=0, or PATTERN since=POSITION."""
    word, *options = words_of(rest, CHECK_FORMS)
    given = options_of(options, {b"if", b"since"})
    if b"since" in given:
        if len(given) > 1:
            raise Usage(CHECK_FORMS)
        return CheckSince(words.pattern(word), words.position(given[b"since"]))
    if not word.endswith(b"*"):
        return Check(words.key(word), words.condition(given[b"if"]) if given else b"")
    if given != {b"if": b"0"}:
        raise Usage(CHECK_FORMS)
    return CheckNone(words.pattern(word))


def increment(rest: bytes | None, max_value: int) -> Increment:  # noqa: ARG001
    """KEY [N]."""
    key, *amount = words_of(rest, "expected a key, and a number unless it is 1")
    if len(amount) > 1:
        raise Usage("expected INCR key [n]")
    return Increment(words.key(key), words.integer(amount[0]) if amount else b"1")


def key_range(rest: bytes | None, max_value: int) -> KeyRange:  # noqa: ARG001
    """[PATTERN] [after=KEY] [before=KEY] [limit=N] [fold=TEXT] [reverse] [with=OWNER] [min=POSITION]."""
    if rest is None:
        return KeyRange(ALL_KEYS)
    first, *options = rest.split(b" ")
    if first.startswith((b"after=", b"limit=")):
        raise Usage("options come after a pattern; for every key say *")
    given = options_of(options, RANGE, bare={b"reverse"})
    limit = limit_of(given)
    if given.get(b"reverse"):
        raise Usage("reverse takes no value")
    after, before, fold, owner = (
        words.key(given[name]) if name in given else b"" for name in (b"after", b"before", b"fold", b"with")
    )
    reached = words.position(given[b"min"]) if b"min" in given else None
    return KeyRange(words.pattern(first), after, limit, before, b"reverse" in given, fold, owner, reached)


def count(rest: bytes | None, max_value: int) -> KeyRange:  # noqa: ARG001
    """[PATTERN] [min=POSITION]."""
    if rest is None:
        return KeyRange(ALL_KEYS)
    pattern, *options = rest.split(b" ")
    if options and not options[0].startswith(b"min="):
        raise Usage("expected at most one pattern")
    given = options_of(options, {b"min"})
    return KeyRange(words.pattern(pattern), reached=words.position(given[b"min"]) if given else None)


def auth(rest: bytes | None, max_value: int) -> Auth:  # noqa: ARG001
    """USER PASSWORD; the password is all after one space."""
    user, space, password = (rest or b"").partition(b" ")
    if not (space and words.is_user(user)):
        raise Usage("expected AUTH user password; a user is 1 to 64 letters, digits and . _ @ -")
    if why := words.why_no_password(password):
        raise BadValue(f"the password is none: {why}")
    return Auth(user, password)


def clients(rest: bytes | None, max_value: int) -> ClientRange:  # noqa: ARG001
    """[after=ID] [limit=N]."""
    given = {} if rest is None else options_of(rest.split(b" "), {b"after", b"limit"})
    return ClientRange(words.client(given[b"after"]) if b"after" in given else None, limit_of(given))


def kick(rest: bytes | None, max_value: int) -> Kick:  # noqa: ARG001
    """ID."""
    if rest is None or b" " in rest:
        raise Usage("expected the id of one connection, as CLIENTS gives it")
    return Kick(words.client(rest))


def text(rest: bytes | None, max_value: int) -> Ping:
    """[TEXT]."""
    return Ping() if rest is None else Ping(words.text_value(rest, max_value))


def verb(rest: bytes | None, max_value: int) -> Help:  # noqa: ARG001
    """[VERB]."""
    if rest is None:
        return Help()
    if b" " in rest:
        raise Usage("expected at most one verb")
    return Help(rest.upper())


def section(rest: bytes | None, max_value: int) -> Info:  # noqa: ARG001
    """[SECTION]."""
    if rest is None:
        return Info()
    name = rest.decode(errors="replace").lower()
    if name not in (*SECTIONS, QUOTAS):
        raise Usage(f"expected one of {', '.join((*SECTIONS, QUOTAS))}, or nothing")
    return Info(name)


def nothing(rest: bytes | None, max_value: int) -> Nothing:  # noqa: ARG001
    """No arguments."""
    if rest is not None:
        raise Usage("expected no arguments")
    return Nothing()
