"""kvd.access.rights: what rules allow."""

from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from kvd.access.rights import Right, Rights

READ, WRITE, WATCH = Right.READ, Right.WRITE, Right.WATCH
WORDS = [bytes(word) for size in range(4) for word in product(b"ab", repeat=size)]
KEYS = [word for word in WORDS if word]
PATTERNS = [*KEYS, *(word + b"*" for word in WORDS)]


def only_read(*patterns: bytes) -> Rights:
    return Rights((pattern, frozenset({READ})) for pattern in patterns)


def matches(pattern: bytes, key: bytes) -> bool:
    return key.startswith(pattern[:-1]) if pattern.endswith(b"*") else key == pattern


def test_a_right_is_for_what_its_rules_name_and_is_no_other_right() -> None:
    rights = Rights([(b"app/*", frozenset({READ, WATCH})), (b"app/x", frozenset({WRITE}))])
    assert rights.may_read(b"app/x")
    assert rights.may_write(b"app/x")
    assert not rights.may_write(b"app/xy")
    assert not rights.may_read(b"app")
    assert rights.allow(WATCH, b"app/*")
    assert rights.allow(WATCH, b"app/x*")
    assert not rights.allow(WATCH, b"app*")
    assert not rights.allow(WATCH, b"*")
    assert not rights.allow(WRITE, b"app/x*")
    assert not rights.allow(Right.ADMIN, b"app/x")


def test_who_has_no_rules_may_do_nothing() -> None:
    rights = Rights([])
    assert not rights.may_read(b"a")
    assert not rights.allow(READ, b"*")
    assert rights.allowed(READ, b"*") == ()


@given(st.lists(st.sampled_from(PATTERNS), max_size=4), st.sampled_from(PATTERNS))
def test_a_pattern_is_allowed_where_one_rule_has_all_of_it(rules: list[bytes], pattern: bytes) -> None:
    rights = only_read(*rules)
    whole = any(pattern == one or (one.endswith(b"*") and pattern.startswith(one[:-1])) for one in rules)
    assert rights.allow(READ, pattern) == whole


@given(st.lists(st.sampled_from(PATTERNS), max_size=4), st.sampled_from(PATTERNS))
def test_the_parts_that_are_allowed_are_what_both_match_and_each_once(rules: list[bytes], pattern: bytes) -> None:
    parts = only_read(*rules).allowed(READ, pattern)
    for key in KEYS:
        wanted = matches(pattern, key) and any(matches(one, key) for one in rules)
        assert [matches(part, key) for part in parts].count(True) == int(wanted)
