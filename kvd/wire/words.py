"""The grammar of single words (protocol.txt, 3 and 15): each function takes bytes and returns what they mean.

All raise a `Refusal` and nothing else.  Texts of errors never repeat what the client sent: it could hold
anything.
"""

import binascii
import re

from kvd.errors import BadKey, BadValue, NotANumber, Overflow, TooLong, Usage
from kvd.model import BYTES, MOST_PATTERNS, TEXT, Position
from kvd.requests import ClientName

MAX_KEY = 512
"""Bytes in a key: long enough for paths, short enough to be an index entry."""
NUMBER_DIGITS = 16
"""Digits of a revision in a key, with zeros before it: so many has the largest one, and keys are in their order."""
MAX_NUMBER = 2**53
"""Revisions stay below it: Lua and JavaScript count exactly only up to there."""
MAX_INTEGER = 2**63 - 1
"""INCR's range, the same on both sides of zero."""
MAX_PATTERNS = MOST_PATTERNS
MAX_TRANSACTION = 128
"""Writes in a transaction, and
MAX_TRANSACTION_BYTES: bytes of keys and values in it: it goes to the store in one piece."""
MAX_TRANSACTION_BYTES = 1024 * 1024
MAX_SECONDS = 10**9
MAX_PASSWORD = 1024
"""Bytes in a password."""
LONG = 1024
"""Bytes of a value from which to look for each control character is faster than to look at each of its characters."""

_SIMPLE_KEY = re.compile(rb"[!-)+-~]{1,512}").fullmatch
_ANY_KEY = re.compile(r"[^\s\x00-\x1f\x7f-\x9f*]+").fullmatch
_NOT_TEXT = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]").search
_CONTROLS = bytes({*range(0x20), 0x7F} - {ord("\t")})
_C1_CONTROL = re.compile(b"\xc2[\x80-\x9f]").search
_NUMBER = re.compile(rb"0|[1-9][0-9]{0,15}").fullmatch
_INTEGER = re.compile(rb"0|-?[1-9][0-9]*").fullmatch
_SECONDS = re.compile(rb"(0|[1-9][0-9]{0,9})(?:\.([0-9]{1,3}))?").fullmatch
is_user = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}").fullmatch
"""Whether a word is the name of a user."""
_STORE_ID = re.compile(rb"[!-)+-~]{1,64}").fullmatch

_KEY_RULE = f"a key is 1 to {MAX_KEY} bytes of UTF-8 without white space, control characters and '*'"
_PATTERN_RULE = "a pattern is a key, or the beginning of keys followed by one '*', or '*' alone"


def _is_key(word: bytes) -> bool:
    if _SIMPLE_KEY(word):
        return True
    try:
        return len(word) <= MAX_KEY and _ANY_KEY(word.decode()) is not None
    except UnicodeDecodeError:
        return False


def key(word: bytes) -> bytes:
    """Check a key.  Raises BadKey."""
    if not _is_key(word):
        raise BadKey(_KEY_RULE)
    return word


def pattern(word: bytes) -> bytes:
    """Check a pattern.  Raises BadKey."""
    if word != b"*" and not _is_key(word.removesuffix(b"*")):
        raise BadKey(_PATTERN_RULE)
    return word


def numbered(word: bytes) -> bytes:
    """Check the beginning of a key and a `*`, in whose place a revision goes.  Raises BadKey."""
    if len(pattern(word)) - 1 + NUMBER_DIGITS > MAX_KEY:
        raise BadKey(
            f"a key has at most {MAX_KEY} bytes, of which the number in the place of '*' takes {NUMBER_DIGITS}"
        )
    return word


def kind_of(value: bytes) -> bytes:
    """TEXT if the value may travel verbatim, else BYTES."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return BYTES
    if len(value) >= LONG:
        return BYTES if _has_control(value) else TEXT
    # isprintable() is one C call and true of most text; of the rest, most are TABs and odd spaces.
    return TEXT if text.isprintable() or not _NOT_TEXT(text) else BYTES


def why_no_password(raw: bytes) -> str:
    """What is wrong with a password; "" if nothing is."""
    if not raw:
        return "it is empty"
    if len(raw) > MAX_PASSWORD:
        return f"it has more than {MAX_PASSWORD} bytes"
    return "" if kind_of(raw) is TEXT else "it is not UTF-8, or has control characters"


def _has_control(value: bytes) -> bool:
    """Whether UTF-8 holds what _NOT_TEXT finds."""
    if any(control in value for control in _CONTROLS):
        return True
    if value.isascii():
        return False
    return b"\xe2\x80\xa8" in value or b"\xe2\x80\xa9" in value or _C1_CONTROL(value) is not None


def text_value(raw: bytes, max_value: int) -> bytes:
    """Check a value that was sent verbatim, of at most max_value bytes.  Raises TooLong, BadValue."""
    if len(raw) > max_value:
        raise _too_long(max_value)
    if kind_of(raw) is not TEXT:
        raise BadValue(
            "a verbatim value is UTF-8 without control characters, U+2028 and U+2029; "
            "send any other as: PUT key base64 = BASE64"
        )
    return raw


def base64_value(raw: bytes, max_value: int, length: int | None) -> bytes:
    """Decode a value sent in base64, of `length` bytes if that is given.  Raises TooLong, BadValue."""
    try:
        value = binascii.a2b_base64(raw, strict_mode=True)
        if len(raw) != -(-len(value) // 3) * 4:
            # Its strict mode takes padding after a value that needs none.
            raise binascii.Error
    except binascii.Error:
        raise BadValue("not base64 (RFC 4648, section 4: padded, in one line, without white space)") from None
    if length is not None and len(value) != length:
        raise BadValue(f"the base64 holds {len(value)} bytes, not {length} as announced: is it wrapped?")
    if len(value) > max_value:
        raise _too_long(max_value)
    return value


def _too_long(max_value: int) -> TooLong:
    return TooLong(f"a value has at most {max_value} bytes")


def number(word: bytes) -> int:
    """A whole number below 2^53.  Raises Usage."""
    if not _NUMBER(word) or (value := int(word)) >= MAX_NUMBER:
        raise Usage("a number is decimal digits, without sign and leading zeros, below 2^53")
    return value


def condition(word: bytes) -> bytes:
    """What `if=` takes: a revision or a position.  Raises Usage."""
    revision, at, store = word.partition(b"@")
    number(revision)
    if at and not _STORE_ID(store):
        raise Usage("if= takes a revision, or a position as the server gave it")
    return word


def position(word: bytes) -> Position:
    """A position as the server gave it.  Raises Usage."""
    revision, at, store = word.partition(b"@")
    if not at or not _STORE_ID(store):
        raise Usage("expected a position, whole, as the server gave it: REVISION@STORE")
    return Position(number(revision), store)


def milliseconds(word: bytes) -> int:
    """Seconds, as milliseconds.  Raises Usage."""
    match = _SECONDS(word)
    if match:
        whole, part = match.groups(b"")
        value = int(whole) * 1000 + int(part.ljust(3, b"0"))
        if 1 <= value <= MAX_SECONDS * 1000:
            return value
    raise Usage("seconds are 0.001 to 1000000000, a plain decimal with at most three digits after the point")


def client(word: bytes) -> ClientName:
    """What a connection is called, as CLIENTS gives it.  Raises Usage."""
    process, dash, own = word.partition(b"-")
    if not dash:
        raise Usage("expected the id of a connection, as CLIENTS gives it")
    return ClientName(number(process), number(own))


def integer(word: bytes) -> bytes:
    """INCR's amount.  Raises NotANumber, Overflow."""
    if not _INTEGER(word):
        raise NotANumber("n is a decimal integer, such as 5 or -5")
    # The length first: int() refuses thousands of digits in its own way.
    if len(word) > len(str(-MAX_INTEGER)) or abs(int(word)) > MAX_INTEGER:
        raise Overflow("n is beyond +-(2^63 - 1)")
    return word
