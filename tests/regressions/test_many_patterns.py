"""Reported: 100 RESUMEs with 1,024 patterns each took 11 s of a core, for every change was asked of every pattern; and
with 400 watchers of 512 nested prefixes (a/, a/a/, a/a/a/ ...) each, one SET held up all others for 73 ms.
"""

from contextlib import ExitStack

import pytest

from kvd.wire.words import MAX_KEY, MAX_PATTERNS
from tests.support.daemons import processor_time
from tests.support.peers import Peer
from tests.support.processes import Daemon

pytestmark = pytest.mark.slow

NESTED = " ".join("a/" * depth + "*" for depth in range(1, MAX_KEY // 2))


def fill(peer: Peer, count: int) -> None:
    for start in range(0, count, 1000):
        peer.send("".join(f"SET key/of/some/length/{number} v\n" for number in range(start, start + 1000)))
        peer.lines(1000)


def test_many_patterns_are_not_asked_of_every_change(daemon: Daemon) -> None:
    with daemon.connect() as peer:
        far = peer.ask("UNWATCH")[3:]
        fill(peer, 20_000)
        near = peer.ask("UNWATCH")[3:]
        peer.ask("SET end 1")
    patterns = " ".join(f"nothing/{number:05}/*" for number in range(MAX_PATTERNS - 1))

    def cost(position: str) -> float:
        """Of 30 RESUMEs, each up to its only change that matches, the last."""
        before = processor_time(daemon.pid)
        with ExitStack() as stack:
            peers = [stack.enter_context(daemon.connect()) for _ in range(30)]
            for peer in peers:
                peer.send(f"RESUME {position} end {patterns}\n")
            for peer in peers:
                assert peer.line() == f"OK {position}"
            for peer in peers:
                assert peer.line().endswith(" SET end 1")
        return processor_time(daemon.pid) - before

    # A hundred took 11 s of a core, from far, when each change was asked of each pattern.
    assert min(cost(far) for _ in range(3)) < 2 * min(cost(near) for _ in range(3))


def test_nested_prefixes_cost_as_much_as_the_one_that_covers_them(daemon: Daemon) -> None:
    deepest = "a/" * (MAX_KEY // 2)

    def cost(patterns: str) -> float:
        with ExitStack() as stack:
            peers = [stack.enter_context(daemon.connect()) for _ in range(100)]
            for peer in peers:
                assert peer.ask(f"WATCH {patterns}").startswith("OK ")
            writer = stack.enter_context(daemon.connect())
            before = processor_time(daemon.pid)
            replies = [writer.ask(f"SET {deepest} {number}") for number in range(200)]
            for peer in peers:
                assert [line.split("@")[0] for line in peer.lines(200)] == [
                    reply.replace("OK", "CHANGE") for reply in replies
                ]
            return processor_time(daemon.pid) - before

    alone = cost("a/*")
    # It was 11 times as much.
    assert cost(NESTED) < 4 * alone


@pytest.mark.parametrize("request_", ["WATCH", "SYNC", "RESUME"])
def test_patterns_that_others_cover_change_nothing(daemon: Daemon, request_: str) -> None:
    with daemon.connect() as watcher, daemon.connect() as writer:
        position = writer.ask("UNWATCH")[3:]
        request = f"RESUME {position}" if request_ == "RESUME" else request_
        assert watcher.ask(f"{request} a/x* a/* a/ a/x/y a/* b b bb* bb") == f"OK {position}"
        matching = ["a/", "a/x", "a/x/y", "a/z", "b", "bb", "bbb"]
        for key in (*matching, "a", "ba", "c"):
            assert writer.ask(f"SET {key} v").startswith("OK ")
        assert [line.split()[3] for line in watcher.lines(len(matching))] == matching
        assert watcher.ask("PING") == "OK"
