"""URLs of several servers, and --durability."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvd import settings
from kvd.credentials import checked_url, masked
from kvd.errors import StartError
from kvd.group_url import parse

THREE = "redis+sentinel://h:1,h:2,h:3/n"


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"--store": "redis+sentinel://h:1,h:2/n"}, "names 2 of the Sentinels"),
        ({"--store": "redis+sentinel://h:1,h:1,h:2/n"}, "names 2 of the Sentinels"),
        ({"--store": "rediss+sentinel://h:1/n"}, "names 1 of the Sentinels"),
        ({"--store": "redis+sentinel://h:1,h:2,h:3"}, "lacks the name"),
        ({"--store": "redis+sentinel://:pa/ss@h:1,h:2,h:3/n"}, "not the URL of a Redis"),
        ({"--store": "redis+sentinel://h:1,h:2,h:x/n"}, "ports cannot be read"),
        ({"--store": "redis+sentinel://h:1,,h:3/n"}, "hosts is missing"),
        ({"--store": f"{THREE}/x"}, "no number of a database"),
        ({"--store": f"{THREE}#x"}, "it has a '#'"),
        ({"--store": "redis+cluster://h:1/1"}, "no databases"),
        ({"--store": "redis+magic://h:1"}, "does not begin with"),
        ({"--data": THREE}, "expected a directory"),
        ({"--durability": "replica=1"}, "one Redis has no replicas"),
        ({"--durability": "async"}, "one Redis has no replicas"),
        ({"--store": "redis://127.0.0.1:1", "--durability": "replica=all"}, "one Redis has no replicas"),
        ({"--log-from": "replica"}, "--log-from replica: expected .* one Redis has no replicas$"),
        ({"--store": "unix:///x", "--log-from": "replica"}, "one Redis has no replicas"),
        ({"--follow": "127.0.0.1:1", "--log-from": "replica"}, "one Redis has no replicas"),
        ({"--store": THREE, "--log-from": "replicas"}, "expected one of primary, replica"),
        ({"--store": THREE, "--durability": "replica=0"}, "expected async, replica=N"),
        ({"--store": THREE, "--durability": "replica=100"}, "expected async, replica=N"),
        ({"--store": THREE, "--durability": "fsync=1"}, "expected async, replica=N"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_line(options: dict[str, str], why: str) -> None:
    with pytest.raises(StartError, match=why) as caught:
        settings.read(options, {})
    assert "\n" not in str(caught.value)
    assert "pa/ss" not in str(caught.value)


@pytest.mark.parametrize("durability", ["async", "replica=1", "replica=12", "replica=all"])
@pytest.mark.parametrize(
    "url", [THREE, "rediss+sentinel://u:p@h,i,j/n/2", "redis+cluster://h", "RediSS+Cluster://h:1,i:2/"]
)
def test_what_can_be_meant(url: str, durability: str) -> None:
    read = settings.read({"--store": url, "--durability": durability}, {})
    assert (read.store, read.durability) == (url, durability)


def test_a_url_is_taken_apart() -> None:
    url = parse("rediss+sentinel://u:p%40@a:1,b,[::1]:3/n/2?ssl_ca_certs=x&sentinel_username=s&sentinel_password=%2Fw")
    assert url.nodes == (("a", 1), ("b", 26379), ("::1", 3))
    assert url.of_data("::2", 4) == "rediss://u:p%40@[::2]:4/2?ssl_ca_certs=x"
    assert url.of_witness("b", 5) == "rediss://s:%2Fw@b:5/?ssl_ca_certs=x"
    assert url.of_witness("b", 5, as_data=True) == "rediss://u:p%40@b:5/?ssl_ca_certs=x"
    assert parse("redis+cluster://:p@a,b:2").of_witness("a", 6379) == "redis://:p@a:6379/"


@given(
    st.sampled_from(["redis+sentinel://", "rediss+cluster://", f"{THREE}/"]), st.text("@:/?#[]%,+aü1 =&", max_size=16)
)
def test_any_other_text_is_refused_and_raises_nothing_else(begin: str, text: str) -> None:
    with suppress(StartError):
        checked_url(begin + text, "--store")


def test_passwords_are_not_shown() -> None:
    url = "redis+sentinel://user:zebra1@h:1,h:2,h:3/n?sentinel_password=zebra2"
    settings.read({"--store": url}, {})
    assert "zebra" not in masked(f"cannot use {url}: zebra1, zebra2")
