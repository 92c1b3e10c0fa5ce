"""Ranges of keys in pages of any size: bounds, both directions, and folding, against a naive listing."""

from collections.abc import AsyncIterator

import pytest

from kvd.requests import KeyRange, SimpleSets
from kvd.store.redis import listing
from kvd.store.redis.store import Store
from tests.support.processes import Redis
from tests.support.stores import eventually, put, running, stop_the_sweep, write

KEYS = sorted(
    key.encode()
    for key in [
        "a",
        "a/",
        "a//b",
        "a/b",
        "a/b/c",
        "a/b/d",
        "a0",
        "ab/c",
        "ab/c/d",
        "b",
        "é/1",
        "é/2",
        "éa",
        "鍵/鍵",
        "z",
    ]
)
EXPIRED = [b"a/expired", b"gone/1", b"gone/2", b"zz"]
PATTERNS = [b"*", b"a*", b"a/*", b"a/b", b"ab*", "é*".encode(), b"gone*"]
BOUNDS = [b"", b"a", b"a/", b"a/b", b"a/zzz", "é/".encode(), b"zzzz"]


@pytest.fixture
async def store(redis: Redis) -> AsyncIterator[Store]:
    async with running(redis.unix_url) as store:
        await store.write(SimpleSets(KEYS, b"".join(b"%b v\n" % key for key in KEYS)), 0)
        # Over, but not swept.
        stop_the_sweep(redis)
        await write(store, *(put(key, ttl=1) for key in EXPIRED))

        async def is_over() -> bool:
            return await store.count(b"*") == len(KEYS)

        await eventually(is_over)
        yield store


def expected(wanted: KeyRange) -> list[bytes]:
    """What protocol.txt says."""
    prefix = wanted.pattern.removesuffix(b"*")
    found: list[bytes] = []
    for key in KEYS:
        if not (key.startswith(prefix) if wanted.pattern.endswith(b"*") else key == wanted.pattern):
            continue
        if (wanted.after and key <= wanted.after) or (wanted.before and key >= wanted.before):
            continue
        name = key
        if wanted.fold and (place := key.find(wanted.fold, len(prefix))) >= 0:
            name = key[: place + len(wanted.fold)]
            if name == wanted.after:
                continue
        if name not in found:
            found.append(name)
    if wanted.reverse:
        found.reverse()
    return found[: wanted.limit or None]


@pytest.mark.parametrize("fold", [b"", b"/", b"/b", "é/".encode()])
@pytest.mark.parametrize("reverse", [False, True])
async def test_a_range_is_what_is_in_it(
    store: Store, monkeypatch: pytest.MonkeyPatch, reverse: bool, fold: bytes
) -> None:
    for size in (1, 2, 100):
        monkeypatch.setattr(listing, "PAGE_KEYS", size)
        for pattern in PATTERNS:
            for after in BOUNDS:
                for before in (b"", b"a/b", "éa".encode()):
                    for limit in (0, 1, 3):
                        wanted = KeyRange(pattern, after, limit, before, reverse, fold)
                        for records in (False, True):
                            found = [key async for _, items in store.pages(wanted, records=records) for key, _ in items]
                            assert found == expected(wanted), wanted


async def test_a_folded_listing_costs_what_it_returns(store: Store, redis: Redis) -> None:
    for first in range(0, 20_000, 1000):
        keys = [b"many/%05d" % number for number in range(first, first + 1000)]
        await store.write(SimpleSets(keys, b"".join(b"%b v\n" % key for key in keys)), 0)
    redis.cli("CONFIG", "RESETSTAT")
    wanted = KeyRange(b"*", fold=b"/")
    assert b"many/" in [key async for _, items in store.pages(wanted, records=False) for key, _ in items]
    (line,) = [line for line in redis.cli("INFO", "commandstats").splitlines() if "zrangebylex" in line]
    assert int(line.split("calls=")[1].split(",")[0]) < 30


async def test_who_reads_pages_knows_the_clock_of_their_moment(redis: Redis) -> None:
    """Else a copy would tell that keys live longer than they do, where another daemon has the later clock."""
    store = Store(redis.unix_url)
    # Not run: nothing else looks at the clock.
    await store.start()
    try:
        begin = store.now()
        redis.cli("HSET", "{kvd}:meta", "clock", str(begin + 1_000_000))
        await store.page(b"*", b"")
        assert begin + 1_000_000 <= store.now() < begin + 1_500_000
        redis.cli("HSET", "{kvd}:meta", "clock", str(begin + 2_000_000))
        await store.records([b"k"])
        assert begin + 2_000_000 <= store.now() < begin + 2_500_000
    finally:
        await store.close()
