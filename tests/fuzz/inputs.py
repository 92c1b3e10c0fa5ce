"""Input for a server: from noise to sessions that are almost right.  Each follows from the seed and its number."""

import base64
import random
from collections.abc import Sequence

VALUE_LIMIT = 4096
"""The value limit to fuzz with: small, so that input can be over it."""
STORE = b"0badcafe"
"""Stands for the id of the store; who knows that puts it in."""
OVER_LONG = b"x" * (3 * VALUE_LIMIT)

KEYS = [b"a", b"b/c", "schl\u00fcssel".encode(), b"k" * 512, b"k" * 513, b"", b"a*b", b"x\x00y", "\u2028".encode()]
PATTERNS = [b"*", b"a*", b"b/*", b"a", b"**", b"*a", b"\xff*"]
NUMBERS = [
    b"0",
    b"1",
    b"-1",
    b"00",
    b"+1",
    b"9007199254740991",
    b"9007199254740992",
    b"9" * 30,
    b"1e3",
    "\u0661".encode(),
]
INTEGERS = [b"9223372036854775807", b"-9223372036854775807", b"9223372036854775808", b"-0", b"5", b"-5", b"1" * 5000]
SECONDS = [b"0.001", b"1", b"0", b"0.0001", b"1000000000", b"1000000001", b"-", b".5", b"5.", b"0x1", b"nan", b"1000.5"]
VALUES = [
    b"", b" ", b"value", b"  two  spaces ", b"tab\tin it", "\u20ac".encode(), "\u2029".encode(), b"\x7f", b"\xc2\x85",
    b"\xed\xa0\x80", b"\xc0\x80", b"12", b"9223372036854775807", b"v" * VALUE_LIMIT, b"v" * (VALUE_LIMIT + 1),
]  # fmt: skip
BASE64 = [b"", b"AAEC", b"aGVsbG8=", b"aGVsbG8", b"aGVs=bG8", b"====", b"AAECAA==", b"AAECAAB=", b"A A=", b"-_-_"]
POSITIONS = [b"0@x", b"1@00000000", b"1", b"@", b"1@", b"9007199254740992@x", b"1@" + b"y" * 100]
SEPARATORS = [b" ", b" ", b" ", b" ", b"  ", b"\t", b"", b"\xc2\xa0"]
ENDS = [b"\n", b"\n", b"\n", b"\n", b"\r\n", b"\r\n", b"\r\r\n", b"\r", b"\n\n", b""]
VERBS = (
    b"GET GETS TTL SET PUT DEL TOUCH INCR BEGIN CHECK COMMIT ABORT KEYS LIST COUNT WATCH RESUME SYNC "
    b"FOLLOW CHANGES PROGRESS UNWATCH PING INFO HELP QUIT AUTH HELLO NOPE get pUt".split()
)
STRANGERS = [
    b"POST / HTTP/1.1",
    b"PROXY TCP4 1 2 3 4",
    b"Host: x",
    b"hOsT: y",
    b"GET / HTTP/1.1",
    b"\x16\x03\x01\xff\xf4",
]
NOISE = [
    b"\x00",
    b"\xff",
    b"\x1b[2J",
    b"\r",
    b"\n",
    "\u2028".encode(),
    "\U0001f600".encode(),
    b"\xfe",
    b"=",
    b"if=",
    b"*",
]


def make(seed: str, number: int) -> bytes:
    """Input number such and such."""
    chance = random.Random(f"{seed} {number}")
    return chance.choices([noise, words, session, broken], [1, 2, 2, 5])[0](chance)


def cut(data: bytes, chance: random.Random) -> list[bytes]:
    """The same bytes in pieces, as a network may bring them."""
    ends = sorted(chance.randrange(len(data) + 1) for _ in range(chance.choice((0, 1, 1, 3, 8))))
    return [data[begin:end] for begin, end in zip([0, *ends], [*ends, len(data)], strict=True)]


def noise(chance: random.Random) -> bytes:
    """Anything."""
    return chance.randbytes(chance.choice((0, 1, 3, 20, 200)))


def words(chance: random.Random) -> bytes:
    """Lines of words that mean something elsewhere."""
    pools = [KEYS, PATTERNS, NUMBERS, INTEGERS, SECONDS, VALUES, BASE64, POSITIONS, NOISE, STRANGERS]
    line = b""
    for _ in range(chance.randint(1, 4)):
        line += chance.choice(VERBS)
        for _ in range(chance.randint(0, 5)):
            name = chance.choice((b"", b"", b"ttl=", b"with=", b"if=", b"base64=", b"after=", b"limit=", b"= "))
            line += chance.choice(SEPARATORS) + name + chance.choice(chance.choice(pools))
        line += chance.choice(ENDS)
    return line


def session(chance: random.Random) -> bytes:
    """Requests as a client sends them, but at the edges of what is allowed."""
    return b"".join(_request(chance) + b"\n" for _ in range(chance.randint(1, 8)))


def broken(chance: random.Random) -> bytes:
    """The same, with mistakes."""
    data = session(chance)
    for _ in range(chance.choice((1, 1, 2, 5))):
        data = chance.choice(MISTAKES)(data, chance)
    return data


# ---- requests

SOME_KEYS = [b"a", b"b", b"b/c", b"n", b"n/1", b"k" * 512, "schl\u00fcssel".encode()]
SOME_PATTERNS = [b"*", b"b*", b"b/*", b"n", b"zzz*", b"k" * 512 + b"*"]
FORMS = [
    b"",
    b"",
    b" *keys",
    b" *only=SET",
    b" *only=DEL,EXPIRE",
    b" *keys *only=SET,EXPIRE,DEL",
    b" *keys=",
    b" *none",
    b" *batches *time *ttl",
    b" *ttl",
    b" *time *keys *only=SET",
]
WRITES = [
    ([b"SET "], SOME_KEYS, [b" "], [b"", b"12", b"x", b"9223372036854775806"]),
    ([b"DEL "], [b"zzz*", b"zzz* limit=1", b"*"]),
    ([b"DEL "], SOME_KEYS, [b"", b"", b" if=0", b" if=5"]),
    ([b"INCR "], SOME_KEYS, [b"", b" 5", b" -7", b" 0", *(b" " + integer for integer in INTEGERS)]),
    ([b"TOUCH "], SOME_KEYS, [b" ttl="], [b"-", b"5", b"0.01"], [b"", b" if=0", b" if=5"]),
    ([b"CHECK "], SOME_KEYS, [b"", b" if=0", b" if=5", b" if=3@" + STORE]),
    ([b"CHECK "], SOME_PATTERNS, [b"", b" if=0", b" if=5"]),
    ([b"CHECK "], SOME_PATTERNS + SOME_KEYS, [b" since=0@", b" since=9@"], [STORE, STORE, b"another"]),
]
OTHERS = [
    ([b"GET ", b"GETS ", b"TTL "], SOME_KEYS),
    ([b"KEYS", b"LIST", b"COUNT"],),
    ([b"KEYS ", b"LIST "], SOME_PATTERNS, [b"", b" limit=1", b" after=a", b" reverse before=n", b" fold=/"]),
    ([b"KEYS ", b"LIST "], SOME_PATTERNS, [b" with="], SOME_KEYS, [b"", b" reverse limit=2", b" fold=/"]),
    ([b"COUNT "], SOME_PATTERNS),
    ([b"WATCH", b"SYNC", b"WATCH a b*", b"SYNC n* b", b"UNWATCH"],),
    ([b"WATCH", b"SYNC"], FORMS, [b"", b" b* n"]),
    ([b"RESUME "], [b"0", b"1", b"9007199254740991"], [b"@"], [STORE, b"another"], FORMS, [b"", b" b* n"]),
    ([b"FOLLOW "], [b"-", b"0@" + STORE, b"7@another"], FORMS, [b"", b" b* n"]),
    (
        [b"CHANGES "],
        [b"0", b"7007199254740991"],
        [b"@" + STORE, b"@another"],
        FORMS,
        [b"", b" *limit=2"],
        FORMS,
        [b"", b" b* n"],
    ),
    ([b"PROGRESS "], [b"0", b"0.001", b"5"]),
    ([b"BEGIN", b"COMMIT", b"ABORT"],),
    ([b"PING", b"PING ", b"PING hello", b"INFO", b"HELP", b"HELP put", b"HELP nope"],),
]


def _request(chance: random.Random) -> bytes:
    kind = chance.random()
    if kind < 0.1:
        writes = b"".join(_write(chance) + b"\n" for _ in range(chance.randint(0, 5)))
        return b"BEGIN\n" + writes + b"COMMIT"
    return _write(chance) if kind < 0.4 else _filled(chance.choice(OTHERS), chance)


def _write(chance: random.Random) -> bytes:
    return _put(chance) if chance.random() < 0.5 else _filled(chance.choice(WRITES), chance)


def _filled(template: Sequence[Sequence[bytes]], chance: random.Random) -> bytes:
    return b"".join(chance.choice(part) for part in template)


def _put(chance: random.Random) -> bytes:
    line = b"PUT " + chance.choice([*SOME_KEYS, b"*", b"b/*", b"k" * 496 + b"*"])
    if chance.random() < 0.3:
        line += b" ttl=" + chance.choice((b"0.001", b"0.05", b"1", b"1000000000", b"12.345"))
    elif chance.random() < 0.3:
        line += b" with=" + chance.choice(SOME_KEYS)
    if chance.random() < 0.3:
        line += b" if=" + chance.choice((b"0", b"1", b"7", b"9007199254740991", b"3@" + STORE))
    if chance.random() < 0.5:
        value = chance.randbytes(chance.choice((0, 1, 2, 3, 100, VALUE_LIMIT)))
        length = b"=%d" % len(value) if chance.random() < 0.5 else b""
        return line + b" base64" + length + b" = " + base64.b64encode(value)
    return line + chance.choice((b" =", b" = ", b" = value", b" = = =", b" = -17", b" = " + b"v" * VALUE_LIMIT))


# ---- mistakes


def _place(data: bytes, chance: random.Random) -> int:
    return chance.randrange(len(data) + 1)


def _flip(data: bytes, chance: random.Random) -> bytes:
    at = _place(data, chance)
    return data[:at] + bytes([chance.randrange(256)]) + data[at + 1 :]


def _insert(data: bytes, chance: random.Random) -> bytes:
    at = _place(data, chance)
    return data[:at] + chance.choice(chance.choice((NOISE, STRANGERS, NUMBERS, ENDS, SEPARATORS))) + data[at:]


def _remove(data: bytes, chance: random.Random) -> bytes:
    at = _place(data, chance)
    return data[:at] + data[at + chance.choice((1, 1, 2, 10)) :]


def _repeat(data: bytes, chance: random.Random) -> bytes:
    begin, end = sorted((_place(data, chance), _place(data, chance)))
    return data[:end] + data[begin:end] + data[end:]


def _swell(data: bytes, chance: random.Random) -> bytes:
    at = _place(data, chance)
    return data[:at] + OVER_LONG[: chance.choice((600, VALUE_LIMIT, len(OVER_LONG)))] + data[at:]


def _end(data: bytes, chance: random.Random) -> bytes:
    return data[: _place(data, chance)]


MISTAKES = [_flip, _flip, _insert, _insert, _remove, _repeat, _swell, _end]
