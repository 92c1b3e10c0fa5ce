"""kvd.access.ranges: what a user may read of a range is what would be listed if there were nothing else."""

from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from kvd.access.ranges import parts, rest_of
from kvd.access.rights import Right, Rights
from kvd.requests import KeyRange
from kvd.store.redis.listing import _within

WORDS = [bytes(word) for size in range(1, 5) for word in product(b"a/b", repeat=size)]
KEYS = st.lists(st.sampled_from(WORDS), max_size=12, unique=True)
PATTERNS = [*WORDS, *(word + b"*" for word in WORDS), b"*"]
BOUND = st.sampled_from([b"", *WORDS])


def listed(keys: list[bytes], wanted: KeyRange) -> list[bytes]:
    """As the store lists a range: `_within` is its own."""
    least, most = _within(wanted)
    found: list[bytes] = []
    for key in sorted(keys, reverse=wanted.reverse):
        above = key > least[1:] or (least[:1] == b"[" and key == least[1:])
        below = key < most[1:] or (most[:1] == b"[" and key == most[1:])
        if not (above and below):
            continue
        place = key.find(wanted.fold, len(wanted.pattern.removesuffix(b"*"))) if wanted.fold else -1
        line = key if place < 0 else key[: place + len(wanted.fold)]
        if line not in found:
            found.append(line)
    return found[: wanted.limit] if wanted.limit else found


def listed_in_parts(keys: list[bytes], wanted: KeyRange, allowed: tuple[bytes, ...]) -> list[bytes]:
    found: list[bytes] = []
    for one in parts(wanted, allowed):
        left = wanted.limit - len(found) if wanted.limit else 0
        part = rest_of(one, found[-1] if found else b"", left)
        if part:
            found += listed(keys, part)
        if wanted.limit and len(found) >= wanted.limit:
            break
    return found


@given(
    KEYS, st.lists(st.sampled_from(PATTERNS), min_size=1, max_size=4), st.sampled_from(PATTERNS), BOUND, BOUND,
    st.integers(0, 4), st.booleans(), st.sampled_from([b"", b"/", b"b"]),
)  # fmt: skip
def test_the_parts_together_list_what_may_be_read(
    keys: list[bytes], rules: list[bytes], pattern: bytes, after: bytes, before: bytes, limit: int, reverse: bool,
    fold: bytes,
) -> None:  # fmt: skip
    rights = Rights((one, frozenset({Right.READ})) for one in rules)
    wanted = KeyRange(pattern, after, limit, before, reverse, fold)
    allowed = rights.allowed(Right.READ, pattern)
    readable = [key for key in keys if rights.may_read(key)]
    if allowed:
        assert listed_in_parts(keys, wanted, allowed) == listed(readable, wanted)


def test_one_that_may_read_all_lists_as_anybody() -> None:
    wanted = KeyRange(b"a*", b"ab", 5)
    assert parts(wanted, [b"a*"]) == [wanted]
    assert rest_of(wanted, b"", 5) == wanted
