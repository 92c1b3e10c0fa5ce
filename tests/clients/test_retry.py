"""The time at which the daemon asks a client to come back: an attribute of the error, and no part of its text."""

import pytest

from kvd.client import Unreachable, Watch, WatchEnded, connect
from kvd.errors import Refusal, Unavailable
from tests.support.kvctl import run, scripted
from tests.support.scripted import Peer, answering, serving, talking

TIMES = [("retry=1.25 the text", 1.25, "the text"), ("retry=0.001 t", 0.001, "t"), ("retry=7 t", 7, "t"),
         ("retry=60.5 t", 60, "t"), ("retry=1000000000 t", 60, "t"), ("retry=3", 3, "")]  # fmt: skip
NONE = ["the text", "text retry=1", " retry=1 t", "retry=", "retry= t", "retry=0 t", "retry=-1 t", "retry=1e3 t",
        "retry=.5 t", "retry=1.2345 t", "retry=01 t", "retry=inf t", "retry t", "Retry=1 t", "retry=1s t"]  # fmt: skip
"""Texts that are nothing but that."""


@pytest.mark.parametrize(("said", "retry", "text"), [*TIMES, *((text, None, text) for text in NONE)])
async def test_a_refusal_tells_it(said: str, retry: float | None, text: str) -> None:
    async with talking(answering("GET a", f"ERR unavailable {said}")) as kv:
        with pytest.raises(Unavailable) as caught:
            await kv.get("a")
        assert (caught.value.retry, str(caught.value)) == (retry, text)


@pytest.mark.parametrize("code", ["uncertain", "compacted", "store", "usage", "limit"])
async def test_no_other_refusal_has_one(code: str) -> None:
    async with talking(answering("GET a", f"ERR {code} retry=1.25 the text")) as kv:
        with pytest.raises(Refusal) as caught:
            await kv.get("a")
        assert (caught.value.retry, str(caught.value)) == (None, "retry=1.25 the text")


async def end_of_watch(end: str) -> WatchEnded:
    async def script(peer: Peer) -> None:
        await peer.expect("WATCH a")
        peer.say("OK 7@s", f"END 9@s {end}")

    async with serving(script) as address, Watch(address, "a") as changes:
        with pytest.raises(WatchEnded) as caught:
            await anext(changes)
    return caught.value


@pytest.mark.parametrize("code", ["shutdown", "compacted"])
async def test_the_end_of_a_watch_tells_it(code: str) -> None:
    ended = await end_of_watch(f"{code} retry=2.5 the text")
    assert (ended.position, ended.code, ended.text, ended.retry) == ("9@s", code, "the text", 2.5)
    assert str(ended) == f"the watch ended at 9@s ({code}): the text"
    ended = await end_of_watch(f"{code} the text")
    assert (ended.text, ended.retry) == ("the text", None)


@pytest.mark.parametrize("code", ["store", "moved"])
async def test_no_other_end_has_one(code: str) -> None:
    ended = await end_of_watch(f"{code} retry=2.5 the text")
    assert (ended.code, ended.text, ended.retry) == (code, "retry=2.5 the text", None)


async def test_who_is_refused_at_the_door_learns_it() -> None:
    async def script(_: Peer) -> None:
        pass

    async with serving(script, "ERR unavailable retry=3.5 there are too many") as address:
        with pytest.raises(Unavailable, match=r"^there are too many$") as caught:
            await connect(address)
    assert caught.value.retry == 3.5


async def test_other_errors_have_none() -> None:
    with pytest.raises(Unreachable) as caught:
        await connect("127.0.0.1:1")
    assert caught.value.retry is None


def test_kvctl_does_not_show_it_and_comes_back_no_sooner() -> None:
    with scripted(b"OK 7@s\nEND 9@s shutdown retry=1.5 it stops\n") as address:
        result = run("--addr", address, "watch", "--for", "1")
    assert result.returncode == 8
    assert result.stderr.decode().splitlines()[1:] == [
        "kvctl: the watch ended at 9@s (shutdown): it stops; trying again",
        "kvctl: the watch has ended after 1 s, as --for says",
    ]
