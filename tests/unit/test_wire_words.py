"""kvd.wire.words: keys, patterns, values and numbers; nothing but refusals is raised."""

import base64
import string
import unicodedata
from collections.abc import Callable, Iterable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kvd.errors import BadKey, BadValue, NotANumber, Overflow, Refusal, TooLong, Usage
from kvd.model import BYTES, TEXT
from kvd.wire import words
from kvd.wire.replies import seconds
from tests.support.text import FORBIDDEN

MAX_VALUE = 1000

# ---- keys and patterns

KEYS = [
    "a",
    "A",
    "~",
    "!",
    "a/b:c.d-e_f",
    "0",
    "=",
    "if=0",
    "-",
    "{kvd}:x",
    "\\",
    '"',
    "é",
    "鍵",
    "🔑",
    "a\u200bb",
    "\ufeff",
]
NO_KEYS = [
    "", "*", "a*", "a*b", " ", "a b", "a\tb", "a\nb", "a\r", "\x00", "a\x7f", "a\x1b", "\x80", "\x85", "\x9f", "\xa0",
    "\u1680", "\u2000", "\u2028", "\u2029", "\u202f", "\u205f", "\u3000",
]  # fmt: skip


@pytest.mark.parametrize("word", KEYS)
def test_a_key_is_taken(word: str) -> None:
    assert words.key(word.encode()) == word.encode()


@pytest.mark.parametrize("word", NO_KEYS)
def test_what_is_no_key_is_refused(word: str) -> None:
    with pytest.raises(BadKey):
        words.key(word.encode())


@pytest.mark.parametrize("raw", [b"\xff", b"a\x80", b"\xc3", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf4\x90\x80\x80"])
def test_invalid_utf8_is_no_key(raw: bytes) -> None:
    with pytest.raises(BadKey):
        words.key(raw)
    with pytest.raises(BadKey):
        words.pattern(raw + b"*")


@pytest.mark.parametrize("letter", ["a", "é", "鍵"])
def test_a_key_has_512_bytes_at_the_most(letter: str) -> None:
    size = len(letter.encode())
    longest = letter * (512 // size)
    assert words.key(longest.encode())
    assert words.pattern(longest.encode() + b"*")
    too_long = longest + "a" * (513 - len(longest.encode()))
    with pytest.raises(BadKey):
        words.key(too_long.encode())
    with pytest.raises(BadKey):
        words.pattern(too_long.encode() + b"*")


@given(st.characters(codec="utf-8"))
def test_white_space_and_control_characters_are_in_no_key(character: str) -> None:
    is_bad = character.isspace() or unicodedata.category(character) == "Cc" or character == "*"
    assert raises(BadKey, words.key, character.encode()) == is_bad


@pytest.mark.parametrize("word", [*KEYS, *(key + "*" for key in KEYS), "*"])
def test_a_pattern_is_taken(word: str) -> None:
    assert words.pattern(word.encode()) == word.encode()


@pytest.mark.parametrize("word", ["", "**", "a**", "*a", "a*b", "a*b*", "a b*", " *", "\x00*", "\x85*"])
def test_what_is_no_pattern_is_refused(word: str) -> None:
    with pytest.raises(BadKey):
        words.pattern(word.encode())


# ---- values


@given(st.binary() | st.text().map(lambda text: text.encode(errors="surrogatepass")))
def test_the_kind_is_text_if_a_line_may_carry_it(value: bytes) -> None:
    try:
        is_text = not any(ord(character) in FORBIDDEN for character in value.decode())
    except UnicodeDecodeError:
        is_text = False
    assert words.kind_of(value) == (TEXT if is_text else BYTES)
    # Long ones are looked at in another way.
    assert words.kind_of(value + b"x" * words.LONG) == words.kind_of(value)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("points", "beside"),
    [([*range(0xD800), *range(0xE000, 0x110000)], b""), (range(0x2100), b"x" * words.LONG)],
    ids=["all, alone", "the first, in long values"],
)
def test_the_kind_of_every_character(points: Iterable[int], beside: bytes) -> None:
    for point in points:
        assert words.kind_of(beside + chr(point).encode()) == (BYTES if point in FORBIDDEN else TEXT), hex(point)


@given(st.binary(max_size=MAX_VALUE) | st.text(max_size=250).map(str.encode))
def test_a_text_value_is_itself_and_any_other_is_refused(value: bytes) -> None:
    if words.kind_of(value) == TEXT:
        assert words.text_value(value, MAX_VALUE) == value
    else:
        with pytest.raises(BadValue):
            words.text_value(value, MAX_VALUE)


@given(st.binary(max_size=MAX_VALUE))
def test_base64_gives_the_value(value: bytes) -> None:
    encoded = base64.b64encode(value)
    assert words.base64_value(encoded, MAX_VALUE, None) == value
    assert words.base64_value(encoded, MAX_VALUE, len(value)) == value


@given(st.binary(max_size=99), st.integers(0, 99))
def test_base64_of_another_length_than_announced_is_refused(value: bytes, length: int) -> None:
    assert raises(BadValue, words.base64_value, base64.b64encode(value), MAX_VALUE, length) == (length != len(value))


@given(
    st.binary(max_size=12) | st.text(st.sampled_from(string.ascii_letters + "+/=-_ \r\n"), max_size=9).map(str.encode)
)
def test_only_what_an_encoder_makes_is_base64(raw: bytes) -> None:
    try:
        # Lenient, so as to compare with what an encoder makes of it, but for bits beyond the last byte.
        value = base64.b64decode(raw)
    except ValueError:
        value = None
    made = base64.b64encode(value) if value is not None else None
    is_base64 = made is not None and len(made) == len(raw) and made.rstrip(b"=")[:-1] == raw.rstrip(b"=")[:-1]
    assert raises(BadValue, words.base64_value, raw, MAX_VALUE, None) == (not is_base64)


@pytest.mark.parametrize(
    "raw",
    [
        "YWJj=",
        "YWJj==",
        "YWJj====",
        "=",
        "====",
        "YQ",
        "YQ=",
        "YQ===",
        "Y===",
        "YWJj YWJj",
        "YWJj\r",
        "YQ==YQ==",
        "_-8=",
    ],
)
def test_base64_is_padded_as_it_must_be_and_nothing_else(raw: str) -> None:
    with pytest.raises(BadValue):
        words.base64_value(raw.encode(), MAX_VALUE, None)


def test_the_value_limit_is_the_same_in_both_forms() -> None:
    longest = b"x" * MAX_VALUE
    assert words.text_value(longest, MAX_VALUE) == longest
    assert words.base64_value(base64.b64encode(longest), MAX_VALUE, None) == longest
    with pytest.raises(TooLong):
        words.text_value(longest + b"x", MAX_VALUE)
    with pytest.raises(TooLong):
        words.base64_value(base64.b64encode(longest + b"x"), MAX_VALUE, None)


# ---- numbers


@given(st.integers(0, 2**54))
@example(2**53 - 1)
@example(2**53)
def test_a_number_is_below_2_to_the_53(value: int) -> None:
    if value < 2**53:
        assert words.number(b"%d" % value) == value
    else:
        with pytest.raises(Usage):
            words.number(b"%d" % value)


NO_NUMBERS = [
    "", "-1", "+1", "-0", "00", "01", " 1", "1 ", "1.0", "1.", ".5", "1e3", "0x10", "1_000", "nan", "inf", "\u0661",
    "\uff11", "1\n", "1\x00", "9" * 400, "9" * 5000,
]  # fmt: skip


@pytest.mark.parametrize("word", [*NO_NUMBERS, "9007199254740992"])
def test_what_is_no_number_is_refused(word: str) -> None:
    with pytest.raises(Usage):
        words.number(word.encode())


@given(st.integers(1, 10**12))
def test_seconds_are_kept_to_the_millisecond(milliseconds: int) -> None:
    assert words.milliseconds(seconds(milliseconds)) == milliseconds


@pytest.mark.parametrize(
    ("word", "milliseconds"),
    [("0.001", 1), ("0.1", 100), ("0.10", 100), ("1", 1000), ("1.000", 1000), ("90.5", 90500), ("1000000000", 10**12),
     ("1000000000.000", 10**12), ("999999999.999", 10**12 - 1)],
)  # fmt: skip
def test_seconds(word: str, milliseconds: int) -> None:
    assert words.milliseconds(word.encode()) == milliseconds


@pytest.mark.parametrize(
    "word",
    [
        *sorted(set(NO_NUMBERS) - {"1.0"}),
        "0",
        "0.0",
        "0.000",
        "0.0005",
        "1.0000",
        "1000000000.001",
        "1000000001",
        "-",
        "1,5",
    ],
)
def test_what_are_no_seconds_is_refused(word: str) -> None:
    with pytest.raises(Usage):
        words.milliseconds(word.encode())


@given(st.integers(-(2**64), 2**64) | st.integers(-(10**400), 10**400))
@example(2**63 - 1)
@example(2**63)
@example(-(2**63) + 1)
@example(-(2**63))
def test_an_integer_is_within_64_bits_without_the_odd_one(value: int) -> None:
    word = b"%d" % value
    if abs(value) < 2**63:
        assert words.integer(word) == word
    else:
        with pytest.raises(Overflow):
            words.integer(word)


@pytest.mark.parametrize(
    "word", [*sorted({*NO_NUMBERS} - {"-1", "-0", "9" * 400, "9" * 5000}), "--1", "-", "-01", "- 1"]
)
def test_what_is_no_integer_is_refused(word: str) -> None:
    with pytest.raises(NotANumber):
        words.integer(word.encode())


@pytest.mark.parametrize("word", ["0", "1", "9007199254740991", "0@a", "7@c3d1a7f0", "7@" + "s" * 64, "7@@", "7@1@2"])
def test_a_condition_is_a_revision_or_a_position(word: str) -> None:
    assert words.condition(word.encode()) == word.encode()


@pytest.mark.parametrize(
    "word", [*NO_NUMBERS, "@", "@a", "1@", "01@a", "1@a*", "1@é", "1@\x00", "1@" + "s" * 65, "1@a b"]
)
def test_what_is_no_condition_is_refused(word: str) -> None:
    with pytest.raises(Usage):
        words.condition(word.encode())


# ---- anything

FUNCTIONS: list[Callable[[bytes], object]] = [
    words.key, words.pattern, words.number, words.condition, words.milliseconds, words.integer, words.kind_of,
    lambda raw: words.text_value(raw, MAX_VALUE), lambda raw: words.base64_value(raw, MAX_VALUE, None),
    lambda raw: words.base64_value(raw, MAX_VALUE, 5),
]  # fmt: skip


@given(
    st.binary()
    | st.text().map(lambda text: text.encode(errors="surrogatepass"))
    | st.integers().map(lambda n: b"%d" % n)
)
def test_nothing_but_refusals_is_raised(raw: bytes) -> None:
    for function in FUNCTIONS:
        raises(Refusal, function, raw)


def raises(kind: type[Refusal], function: Callable[..., object], *arguments: object) -> bool:
    """Whether a call raises that error; any other passes through."""
    try:
        function(*arguments)
    except kind:
        return True
    return False
