"""The arguments of each verb: the rest of a line, after the verb, to a request (protocol.txt, 5 to 9).

Every function takes `rest`, the bytes after the verb's space or None if there was no space, and `max_value`,
the limit for values in bytes; it returns one of the model's requests and raises a `Refusal` and nothing else.
"""

from kvd.errors import BadValue, Usage
from kvd.metrics import SECTIONS
from kvd.model import CHANGING, PLAIN, TEXT, Form
from kvd.requests import (
    NUMBERED,
    Auth,
    Check,
    CheckNone,
    CheckSince,
    ClientRange,
    Delete,
    DeleteRange,
    Follow,
    Help,
    History,
    Increment,
    Info,
    Interval,
    KeyRange,
    Kick,
    LateRead,
    Nothing,
    Ping,
    Put,
    Read,
    Resume,
    Touch,
    Watch,
)
from kvd.wire import words

ALL = b"*"
USUAL_CHANGES = 1000
"""Lines that CHANGES gives at the most, unless it is told."""
MOST_OPTIONS = 4
"""What PUT takes before its `=`."""
PUT_FORM = "expected PUT key [ttl=SECONDS | with=OWNER] [if=REV] [base64[=BYTES]] = value, or PUT prefix* of the same"
CHECK_FORMS = "expected CHECK key, CHECK key if=REV, CHECK prefix* if=0, or CHECK pattern since=POSITION"
FLAGS = frozenset((b"keys", b"batches", b"time", b"ttl"))
"""Options of a watch that have no value, and
FORM: all that say what its lines are to be."""
FORM = FLAGS | {b"only"}
RANGE = frozenset((b"after", b"before", b"limit", b"fold", b"reverse", b"with", b"min"))
"""Options of KEYS and LIST."""


def read(rest: bytes | None, max_value: int) -> Read | LateRead:
    """KEY [min=POSITION]."""
    if rest is None or b" " not in rest:
        return one_key(rest, max_value)
    key, *options = rest.split(b" ")
    if not options[0].startswith(b"min="):
        raise Usage("expected one key")
    return LateRead(words.key(key), words.position(_options(options, {b"min"})[b"min"]))


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
    given = _options(options[:-1], {b"ttl", b"with", b"if", b"base64"}, bare={b"base64"})
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
    key, *options = _split(rest, "expected a key")
    if key.endswith(b"*"):
        return _delete_range(key, options)
    given = _options(options, {b"if"})
    return Delete(words.key(key), words.condition(given[b"if"]) if b"if" in given else b"")


def _delete_range(pattern: bytes, options: list[bytes]) -> DeleteRange:
    limit = _limit(_options(options, {b"limit"}))
    if pattern == ALL and not limit:
        raise Usage("DEL * deletes every key: expected limit=N beside it, the most that are to go")
    return DeleteRange(words.pattern(pattern), limit)


def touch(rest: bytes | None, max_value: int) -> Touch:  # noqa: ARG001
    """KEY ttl=SECONDS or KEY ttl=-, [if=REV]."""
    key, *options = _split(rest, "expected TOUCH key ttl=SECONDS, or ttl=- for no end")
    given = _options(options, {b"ttl", b"if"})
    if b"ttl" not in given:
        raise Usage("expected TOUCH key ttl=SECONDS, or ttl=- for no end")
    ttl = 0 if given[b"ttl"] == b"-" else words.milliseconds(given[b"ttl"])
    return Touch(words.key(key), ttl, words.condition(given[b"if"]) if b"if" in given else b"")


def check(rest: bytes | None, max_value: int) -> Check | CheckNone | CheckSince:  # noqa: ARG001
    """KEY [if=REV], PREFIX* if=0, or PATTERN since=POSITION."""
    word, *options = _split(rest, CHECK_FORMS)
    given = _options(options, {b"if", b"since"})
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
    key, *amount = _split(rest, "expected a key, and a number unless it is 1")
    if len(amount) > 1:
        raise Usage("expected INCR key [n]")
    return Increment(words.key(key), words.integer(amount[0]) if amount else b"1")


def key_range(rest: bytes | None, max_value: int) -> KeyRange:  # noqa: ARG001
    """[PATTERN] [after=KEY] [before=KEY] [limit=N] [fold=TEXT] [reverse] [with=OWNER] [min=POSITION]."""
    if rest is None:
        return KeyRange(ALL)
    first, *options = rest.split(b" ")
    if first.startswith((b"after=", b"limit=")):
        raise Usage("options come after a pattern; for every key say *")
    given = _options(options, RANGE, bare={b"reverse"})
    limit = _limit(given)
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
        return KeyRange(ALL)
    pattern, *options = rest.split(b" ")
    if options and not options[0].startswith(b"min="):
        raise Usage("expected at most one pattern")
    given = _options(options, {b"min"})
    return KeyRange(words.pattern(pattern), reached=words.position(given[b"min"]) if given else None)


def patterns(rest: bytes | None, max_value: int) -> Watch:  # noqa: ARG001
    """[OPTION ...] [PATTERN ...]."""
    given, found = _starred([] if rest is None else rest.split(b" "), FORM, FLAGS)
    return Watch(_patterns(found or [ALL]), _form(given))


def _patterns(found: list[bytes]) -> tuple[bytes, ...]:
    if len(found) > words.MAX_PATTERNS:
        raise Usage(f"at most {words.MAX_PATTERNS} patterns in a watch; one with * may match many keys")
    return tuple(words.pattern(word) for word in found)


def resume(rest: bytes | None, max_value: int) -> Resume:  # noqa: ARG001
    """POSITION [OPTION ...] [PATTERN ...]."""
    position, *tail = _split(rest, "expected RESUME position [option ...] [pattern ...]")
    after = words.position(position)
    given, found = _starred(tail, FORM, FLAGS)
    return Resume(after, _patterns(found or [ALL]), _form(given))


def follow(rest: bytes | None, max_value: int) -> Follow:  # noqa: ARG001
    """POSITION or -, [OPTION ...] [PATTERN ...]."""
    position, *tail = _split(
        rest, "expected FOLLOW position [option ...] [pattern ...], or FOLLOW - [option ...] [pattern ...] to begin"
    )
    after = None if position == b"-" else words.position(position)
    given, found = _starred(tail, FORM, FLAGS)
    return Follow(after, _patterns(found or [ALL]), _form(given))


def changes(rest: bytes | None, max_value: int) -> History:  # noqa: ARG001
    """POSITION [*limit=N] [OPTION ...] [PATTERN ...]."""
    position, *tail = _split(rest, "expected CHANGES position [*limit=N] [option ...] [pattern ...]")
    after = words.position(position)
    given, found = _starred(tail, FORM | {b"limit"}, FLAGS)
    return History(after, _patterns(found or [ALL]), _limit(given) or USUAL_CHANGES, _form(given))


def interval(rest: bytes | None, max_value: int) -> Interval:  # noqa: ARG001
    """SECONDS, or 0."""
    if rest is None or b" " in rest:
        raise Usage("expected seconds, or 0 for none: PROGRESS seconds")
    return Interval(0 if rest == b"0" else words.milliseconds(rest))


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
    given = {} if rest is None else _options(rest.split(b" "), {b"after", b"limit"})
    return ClientRange(words.client(given[b"after"]) if b"after" in given else None, _limit(given))


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
    if name not in SECTIONS:
        raise Usage(f"expected one of {', '.join(SECTIONS)}, or nothing")
    return Info(name)


def nothing(rest: bytes | None, max_value: int) -> Nothing:  # noqa: ARG001
    """No arguments."""
    if rest is not None:
        raise Usage("expected no arguments")
    return Nothing()


def _limit(given: dict[bytes, bytes]) -> int:
    """What limit= says, 0 if it was not given."""
    if b"limit" not in given:
        return 0
    limit = words.number(given[b"limit"])
    if not limit:
        raise Usage("limit= is at least 1")
    return limit


def _split(rest: bytes | None, expected: str) -> list[bytes]:
    if rest is None:
        raise Usage(expected)
    return rest.split(b" ")


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


def _starred(
    found: list[bytes], known: frozenset[bytes], bare: frozenset[bytes]
) -> tuple[dict[bytes, bytes], list[bytes]]:
    """The options before some patterns, which are words that begin with `*` and go on; and the patterns."""
    count = 0
    while count < len(found) and found[count][:1] == b"*" and found[count][1:2] not in (b"", b"*"):
        count += 1
    return _options([word[1:] for word in found[:count]], known, bare, mark="*"), found[count:]


def _options(
    found: list[bytes], known: frozenset[bytes] | set[bytes], bare: frozenset[bytes] | set[bytes] = frozenset(),
    mark: str = "",
) -> dict[bytes, bytes]:  # fmt: skip
    """Options by name; one that may come without `=` then has the value b""."""
    given: dict[bytes, bytes] = {}
    for option in found:
        name, equals, value = option.partition(b"=")
        if name not in known or not (value if equals else name in bare):
            names = ", ".join(sorted(f"{mark}{name.decode()}{'' if name in bare else '='}" for name in known))
            raise Usage(f"unknown option, or one without its value; known here: {names}")
        if name in given:
            raise Usage(f"{mark}{name.decode()}{'' if name in bare else '='} is given twice")
        given[name] = value
    return given
