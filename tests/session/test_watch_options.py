"""Watches that carry less or more, against real daemons."""

import base64
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import chain, product
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.peers import Peer
from tests.support.processes import PATIENCE, Daemon, Redis, StartDaemon, wait_for

LARGE = "x" * 100_000
"""A value that the store keeps apart."""


def where(peer: Peer) -> tuple[int, str]:
    """The store's revision and id, as a connection without a watch is told."""
    revision, store = peer.ask("UNWATCH").removeprefix("OK ").split("@")
    return int(revision), store


def reply(peer: Peer, request: str) -> list[str]:
    """The lines of a reply, of which there may be many."""
    peer.send(f"{request}\n")
    lines = [peer.line()]
    while lines[-1].split(" ")[0] not in ("OK", "ERR"):
        lines.append(peer.line())
    return lines


def revision_of(line: str) -> int:
    return int(line.split(" ")[1].partition("@")[0])


# ---- fan-out


def test_each_watcher_gets_its_own_form_of_the_same_changes(shared_daemon: Daemon) -> None:
    forms = {
        "": ["SET fan/a 1", "SET64 fan/b AAE=", "DEL fan/a"],
        "*keys": ["SIZE fan/a 1", "SIZE fan/b 2", "DEL fan/a"],
        "*only=SET": ["SET fan/a 1", "SET64 fan/b AAE="],
        "*only=DEL": ["DEL fan/a"],
        "*keys *only=SET,EXPIRE": ["SIZE fan/a 1", "SIZE fan/b 2"],
        "*only=EXPIRE": [],
    }
    with ExitStack() as stack:
        peer = stack.enter_context(shared_daemon.connect())
        watchers = []
        for pattern in ("fan/*", "fan/a fan/b fan/c", "fan/a* fan/*"):
            for form in (*forms, *forms):
                watchers.append((form, stack.enter_context(shared_daemon.connect())))
                assert watchers[-1][1].ask(f"WATCH {form} {pattern}".replace("  ", " ")).startswith("OK ")
        everything = stack.enter_context(shared_daemon.connect())
        assert everything.ask("WATCH fan/*").startswith("OK ")
        revision, store = where(peer)
        requests = ("SET fan/a 1", "PUT fan/b base64 = AAE=", "DEL fan/a")
        assert [peer.ask(request) for request in requests] == [f"OK {revision + 1 + i}" for i in range(3)]
        # An UNWATCH waits for no change that was not published yet, and what is published all watchers have at once.
        assert revision_of(everything.lines(3)[-1]) == revision + 3
        for form, watcher in watchers:
            lines = reply(watcher, "UNWATCH")
            assert [line.split(" ", 2)[2] for line in lines[:-1]] == forms[form]
            assert {revision_of(line) for line in lines[:-1]} <= {revision + 1, revision + 2, revision + 3}
            assert lines[-1] == f"OK {revision + 3}@{store}"


def test_no_line_of_the_old_form_follows_the_ok_of_the_new_one(shared_daemon: Daemon) -> None:
    with shared_daemon.connect() as watcher, shared_daemon.connect() as peer:
        for _ in range(20):
            for form, verb in (("*keys", "SIZE"), ("*only=SET", "SET"), ("*keys *only=DEL,SET", "SIZE"), ("", "SET")):
                peer.send("SET turn/a 1\n" * 5)
                reply(watcher, f"WATCH {form} turn/*".replace("  ", " "))
                peer.lines(5)
                peer.send("SET turn/a 2\n")
                peer.line()
                last = watcher.line()
                while not last.endswith((" 2", " turn/a 1")) or last.split(" ")[2] != verb:
                    assert last.split(" ")[2] == verb
                    last = watcher.line()


# ---- what is filtered out counts for positions


def test_progress_goes_on_where_nothing_is_sent(shared_daemon: Daemon) -> None:
    with shared_daemon.connect() as watcher, shared_daemon.connect() as peer:
        assert watcher.ask("PROGRESS 0.05") == "OK"
        assert watcher.ask("WATCH *only=DEL quiet/*").startswith("OK ")
        peer.send("".join(f"SET quiet/{number} v\n" for number in range(500)))
        last = int(peer.lines(500)[-1].removeprefix("OK "))
        line = watcher.line()
        while revision_of(line) < last:
            assert line.startswith("PROGRESS ")
            line = watcher.line()
        assert line.startswith("PROGRESS ")
        position = line.split(" ")[1]
        deleted = int(peer.ask("DEL quiet/3").removeprefix("OK "))
        with shared_daemon.connect() as back:
            assert back.ask(f"RESUME {position} *only=DEL quiet/*") == f"OK {position}"
            assert back.line() == f"CHANGE {deleted}@{position.split('@')[1]} DEL quiet/3"


def test_a_watch_that_catches_up_is_sent_only_what_it_asked_for(shared_daemon: Daemon) -> None:
    with shared_daemon.connect() as peer:
        begin, store = where(peer)
        peer.send("".join(f"SET past/{number % 7} {number}\nDEL past/{number % 7}\n" for number in range(1500)))
        last = int(peer.lines(3000)[-1].removeprefix("OK "))
        forms = {
            "*only=DEL": range(begin + 2, last + 1, 2),
            "*keys *only=SET": range(begin + 1, last + 1, 2),
            "*only=EXPIRE": range(0),
        }
        for form, wanted in forms.items():
            with shared_daemon.connect() as back:
                assert back.ask(f"RESUME {begin}@{store} {form} past/*") == f"OK {begin}@{store}"
                assert [revision_of(back.line()) for _ in wanted] == list(wanted)
                assert back.ask("PROGRESS 0.05") == "OK"
                while (line := back.line()) != f"PROGRESS {last}@{store}":
                    assert line.startswith("PROGRESS ")


# ---- large values


@contextmanager
def monitored(redis: Redis, path: Path) -> Iterator[Callable[[], list[str]]]:
    """Gives, when asked, what has read values that are kept apart."""
    command = ["redis-cli", "-s", f"{redis.directory}/redis.sock", "--no-auth-warning", "-a", redis.password, "MONITOR"]
    with path.open("w") as file, subprocess.Popen(command, stdout=file) as monitor:
        wait_for("the monitor", lambda: path.read_text().startswith("OK"))

        def reads() -> list[str]:
            redis.cli("ECHO", "up to here")
            wait_for("all that was done", lambda: '"up to here"' in path.read_text())
            lines = path.read_text().splitlines()
            return [line[:200] for line in lines if '"{kvd}:big"' in line and ('"HGET"' in line or '"HMGET"' in line)]

        try:
            yield reads
        finally:
            monitor.terminate()


def test_large_values_are_not_read_for_those_who_want_none(
    start_daemon: StartDaemon, redis: Redis, tmp_path: Path
) -> None:
    writer = start_daemon("--store", redis.unix_url)
    reader = start_daemon("--store", redis.unix_url, data=tmp_path / "second")
    with writer.connect() as peer, reader.connect() as live, reader.connect() as deletes:
        store = live.ask("WATCH *keys big/*").split("@")[1]
        deletes.ask("WATCH *only=DEL,EXPIRE big/*")
        with monitored(redis, tmp_path / "monitor") as reads:
            peer.send("".join(f"SET big/{number} {LARGE}\n" for number in range(5)) + "DEL big/4\n")
            peer.lines(6)
            sizes = [f"{number + 1}@{store} SIZE big/{number} {len(LARGE)}" for number in range(5)]
            every = [*sizes, f"6@{store} DEL big/4"]
            assert live.lines(6) == [f"CHANGE {line}" for line in every]
            assert deletes.line() == f"CHANGE 6@{store} DEL big/4"
            copy = [f"SIZE {number + 1} big/{number} {len(LARGE)}" for number in range(4)]
            with reader.connect() as other, writer.connect() as fresh:
                assert reply(other, "SYNC *keys")[:-1] == copy
                assert reply(other, "FOLLOW - *keys big/*")[1:-1] == copy
                for one in (other, fresh):
                    # The writer's process has followed nothing so far.
                    assert one.ask(f"RESUME 0@{store} *keys") == f"OK 0@{store}"
                    assert one.lines(6) == [f"CHANGE {line}" for line in every]
                    assert one.ask(f"RESUME 0@{store} *only=DEL") == f"OK 0@{store}"
                    assert one.line() == f"CHANGE 6@{store} DEL big/4"
                    assert reply(one, f"CHANGES 0@{store} *keys")[:-1] == [f"CHANGED {line}" for line in every]
                    assert reply(one, f"CHANGES 0@{store} *only=DEL")[:-1] == [f"CHANGED 6@{store} DEL big/4"]
            assert reads() == []


def test_who_wants_values_gets_those_that_were_not_read_before(start_daemon: StartDaemon) -> None:
    """A change comes into the daemon's memory without its value, if nobody wants that."""
    daemon = start_daemon()
    with ExitStack() as stack:
        peer, sizes, late, joined = (stack.enter_context(daemon.connect()) for _ in range(4))
        store = sizes.ask("WATCH *keys").split("@")[1]
        values = [f"{number}{LARGE}" for number in range(20)]
        for number, value in enumerate(values[:10], 1):
            assert peer.ask(f"SET k {value}") == f"OK {number}"
            assert sizes.line() == f"CHANGE {number}@{store} SIZE k {len(value)}"
        assert late.ask(f"RESUME 2@{store} k") == f"OK 2@{store}"
        assert late.lines(8) == [f"CHANGE {n}@{store} SET k {values[n - 1]}" for n in range(3, 11)]
        assert reply(joined, "SYNC k")[:-1] == [f"PAIR 10 k {values[9]}"]
        # From now on somebody wants them, and who does not is sent sizes all the same.
        for number, value in enumerate(values[10:], 11):
            assert peer.ask(f"SET k {value}") == f"OK {number}"
            for one in (late, joined):
                assert one.line() == f"CHANGE {number}@{store} SET k {value}"
            assert sizes.line() == f"CHANGE {number}@{store} SIZE k {len(value)}"


def test_a_watch_for_values_may_begin_at_any_moment(start_daemon: StartDaemon) -> None:
    """Also while changes are read for those who want none."""
    daemon = start_daemon()
    with ExitStack() as stack:
        peer, sizes = (stack.enter_context(daemon.connect()) for _ in range(2))
        store = sizes.ask("WATCH *keys").split("@")[1]
        peer.send("".join(f"SET k {number}{LARGE}\n" for number in range(100)))
        for _ in range(10):
            comes = stack.enter_context(daemon.connect())
            begin = revision_of(comes.ask("WATCH k"))
            for number in range(begin, 100):
                assert comes.line() == f"CHANGE {number + 1}@{store} SET k {number}{LARGE}"
                if number == begin + 8:
                    break
        assert sizes.lines(100)[-1] == f"CHANGE 100@{store} SIZE k {2 + len(LARGE)}"


# ---- transactions and times


class Told(NamedTuple):
    """A change as one who wants all of it sees it.

    last: of what was done at once with it.  together: whether that was a transaction of several changes.
    """

    revision: int
    last: int
    together: bool
    time: str
    change: str


def transact(peer: Peer, *requests: str) -> int:
    """The last revision."""
    peer.send("".join(f"{line}\n" for line in ("BEGIN", *requests, "COMMIT")))
    return int(peer.lines(len(requests) + 2)[-1].removeprefix("OK "))


def write_transactions(peer: Peer, watcher: Peer) -> tuple[list[Told], str]:
    """What was done, one after the other; and the store's id."""
    begin = watcher.ask("WATCH *time batch/*").removeprefix("OK ")
    first, store = int(begin.split("@")[0]), begin.split("@")[1]
    several = [
        ["SET batch/a 1", "SET batch/b 2", "DEL batch/a", "SET batch/c/1 3"], ["SET batch/a 1"],
        [f"SET batch/b {LARGE}", "PUT batch/c/2 base64 = AAE=", "DEL batch/c/1"],
        ["SET batch/a 2", "SET batch/a 3"], ["DEL batch/b"],
        [f"SET batch/{key} {number}" for number, key in enumerate(["a", "b", "c/1", "c/2"] * 30)],
    ]  # fmt: skip
    told: list[Told] = []
    for requests in several:
        last = transact(peer, *requests) if len(requests) > 1 else int(peer.ask(requests[0]).removeprefix("OK "))
        moment = watcher.line()
        assert moment.startswith("TIME ")
        for revision in range(first + len(told) + 1, last + 1):
            change = watcher.line().removeprefix(f"CHANGE {revision}@{store} ")
            told.append(Told(revision, last, len(requests) > 1, moment, change))
    return told, store


def expected(told: list[Told], form: str, patterns: str, store: str, word: str) -> list[str]:
    """The lines that a watch of some patterns gets, by protocol.txt."""
    match = re.compile("|".join(re.escape(one).replace(r"\*", ".*") for one in patterns.split(" "))).fullmatch
    only = re.search(r"\*only=(\S+)", form)
    sent = [
        one
        for one in told
        if match(one.change.split(" ")[1])
        and (not only or one.change.split(" ")[0].removesuffix("64") in only[1].split(","))
    ]
    lines = []
    last = 0
    for one in sent:
        if one.last != last and "*time" in form:
            lines.append(one.time)
        if one.last != last and "*batches" in form and one.together:
            lines.append(f"BATCH {sum(other.last == one.last for other in sent)}")
        last = one.last
        verb, key, *value = one.change.split(" ", 2)
        if "*keys" in form and value:
            size = len(base64.b64decode(value[0]) if verb == "SET64" else value[0])
            lines.append(f"{word} {one.revision}@{store} SIZE {key} {size}")
        else:
            lines.append(f"{word} {one.revision}@{store} {one.change}")
    return lines


FORMS = ["*batches", "*time", "*batches *time *keys", "*only=DEL *batches", "*time *only=SET *batches", "*keys *time"]
PATTERNS = ["batch/*", "batch/a batch/c/*", "batch/b", "batch/c/2 batch/b batch/d*"]


def test_watchers_are_told_of_transactions_and_times(start_daemon: StartDaemon, redis: Redis, tmp_path: Path) -> None:
    daemon = start_daemon("--store", redis.unix_url)
    fresh = start_daemon("--store", redis.unix_url, data=tmp_path / "second")
    with ExitStack() as stack:
        peer, watcher = (stack.enter_context(daemon.connect()) for _ in range(2))
        live = [(form, patterns, stack.enter_context(daemon.connect())) for form in FORMS for patterns in PATTERNS]
        for form, patterns, one in live:
            assert one.ask(f"WATCH {form} {patterns}").startswith("OK ")
        told, store = write_transactions(peer, watcher)
        for form, patterns, one in live:
            assert reply(one, "UNWATCH")[:-1] == expected(told, form, patterns, store, "CHANGE")
        times = [int(one.time.removeprefix("TIME ")) for one in told]
        assert times == sorted(times)
        assert abs(times[-1] / 1000 - time.time()) < PATIENCE
        # From any place, also inside of a transaction, be it in a daemon's memory or not.
        middle = (told[0].revision + told[-1].revision) // 2
        places = [told[0].revision - 1, *(one.revision for one in told[:13]), middle, told[-2].revision]
        for place, form, one in product(places, FORMS, (peer, stack.enter_context(fresh.connect()))):
            rest = [line for line in told if line.revision > place]
            patterns = PATTERNS[place % len(PATTERNS)]
            assert one.ask(f"RESUME {place}@{store} {form} {patterns}") == f"OK {place}@{store}"
            wanted = expected(rest, form, patterns, store, "CHANGE")
            assert [one.line() for _ in wanted] == wanted
            wanted = expected(rest, form, patterns, store, "CHANGED")
            lines = reply(one, f"CHANGES {place}@{store} {form} {patterns}")
            assert lines == [*wanted, f"OK {told[-1].revision}@{store}"]


def test_changes_may_end_inside_of_a_transaction(start_daemon: StartDaemon) -> None:
    daemon = start_daemon()
    with daemon.connect() as peer, daemon.connect() as watcher:
        told, store = write_transactions(peer, watcher)
        for form, limit in product(FORMS, (1, 2, 7)):
            place, rest = f"0@{store}", told
            while place != f"{told[-1].revision}@{store}":
                lines = reply(peer, f"CHANGES {place} *limit={limit} {form} batch/*")
                place = lines[-1].removeprefix("OK ")
                part = [one for one in rest if one.revision <= revision_of(lines[-1])]
                assert lines[:-1] == expected(part, form, "batch/*", store, "CHANGED")
                rest = rest[len(part) :]
            assert rest == []


# ---- times to live


def left(line: str, key: str) -> float:
    """The seconds of a TTL line."""
    word, seconds, name = line.split(" ")
    assert (word, name) == ("TTL", key)
    assert re.fullmatch(r"\d+(\.\d{0,2}[1-9])?", seconds)
    return float(seconds)


def test_watchers_are_told_how_long_keys_live(start_daemon: StartDaemon, redis: Redis, tmp_path: Path) -> None:
    daemon = start_daemon("--store", redis.unix_url)
    fresh = start_daemon("--store", redis.unix_url, data=tmp_path / "second")
    with ExitStack() as stack:
        peer, live, sizes, plain = (stack.enter_context(daemon.connect()) for _ in range(4))
        store = live.ask("WATCH *ttl").split("@")[1]
        sizes.ask("WATCH *keys *ttl *batches m*")
        plain.ask("WATCH *keys")
        begin = time.monotonic()
        assert peer.ask("PUT m1 ttl=1000 = 1") == "OK 1"
        assert peer.ask(f"PUT m2 ttl=2000.5 = {LARGE}") == "OK 2"
        assert peer.ask("SET lasts 3") == "OK 3"
        assert transact(peer, "PUT m3 ttl=3000 = 4", "INCR m1 5", "DEL m2") == 6
        first = [("SET m1 1", 1000), (f"SET m2 {LARGE}", 2000.5), ("SET lasts 3", 0)]
        begun = [*first, ("SET m3 4", 3000), ("SET m1 6", 1000)]
        elsewhere = stack.enter_context(fresh.connect())
        # Also for one who comes later, from memory or not, and in the reply of CHANGES.
        elsewhere.ask(f"RESUME 0@{store} *ttl")
        again = stack.enter_context(daemon.connect())
        again.ask(f"RESUME 0@{store} *ttl")
        asked = iter(reply(stack.enter_context(fresh.connect()), f"CHANGES 0@{store} *ttl"))
        takes = [(live.line, "CHANGE"), (elsewhere.line, "CHANGE"), (again.line, "CHANGE"), (asked.__next__, "CHANGED")]
        for take, word in takes:
            for revision, (change, life) in enumerate(begun, 1):
                assert take() == f"{word} {revision}@{store} {change}"
                if life:
                    told = left(take(), change.split(" ")[1])
                    assert life - (time.monotonic() - begin) - 0.01 <= told <= life
            assert take() == f"{word} 6@{store} DEL m2"
        assert sizes.line() == f"CHANGE 1@{store} SIZE m1 1"
        assert 900 < left(sizes.line(), "m1") <= 1000
        assert sizes.line() == f"CHANGE 2@{store} SIZE m2 {len(LARGE)}"
        assert 1900 < left(sizes.line(), "m2") <= 2000.5
        assert sizes.lines(2) == ["BATCH 3", f"CHANGE 4@{store} SIZE m3 1"]
        assert 2900 < left(sizes.line(), "m3") <= 3000
        assert sizes.line() == f"CHANGE 5@{store} SIZE m1 1"
        assert 900 < left(sizes.line(), "m1") <= 1000
        assert sizes.line() == f"CHANGE 6@{store} DEL m2"
        assert [line.split(" ")[0] for line in plain.lines(6)] == ["CHANGE"] * 6


def test_a_copy_tells_how_long_its_keys_live_now(shared_daemon: Daemon) -> None:
    with shared_daemon.connect() as peer, shared_daemon.connect() as copier:
        peer.send("SET life/a 1\nPUT life/b ttl=1000 = 2\nPUT life/c base64 ttl=1000 = AAE=\nPUT life/d ttl=1000 = 4\n")
        peer.lines(4)
        for form in ("", "*keys "):
            # TOUCH is no change, but a copy shows what it has done.
            assert [peer.ask(f"TOUCH life/{key}") for key in ("c ttl=-", "d ttl=5000", "a ttl=7000")] == ["OK"] * 3
            for _ in range(2):
                lines = reply(copier, f"SYNC {form}*ttl life/*")
                words = [line.split(" ")[0] for line in lines[:-1]]
                first, other = ("SIZE", "SIZE") if form else ("PAIR", "PAIR64")
                assert words == [first, "TTL", first, "TTL", other, first, "TTL"]
                assert 6900 < left(lines[1], "life/a") <= 7000
                assert 900 < left(lines[3], "life/b") <= 1000
                assert 4900 < left(lines[6], "life/d") <= 5000
            lines = reply(copier, f"FOLLOW - *ttl {form}life/b")
            assert 900 < left(lines[2], "life/b") <= 1000


def test_a_copy_tells_what_a_touch_has_done_beside_another_copy(shared_daemon: Daemon) -> None:
    with shared_daemon.connect() as peer, shared_daemon.connect() as slow, shared_daemon.connect() as copier:
        keys = [f"beside/{number:04}" for number in range(2000)]
        peer.send("".join(f"PUT {key} ttl=1000 = {'x' * 4000}\n" for key in keys))
        peer.lines(len(keys))
        # It does not read, so that its copy goes on, and what it has read is kept for others.
        slow.send("SYNC *ttl beside/*\n")
        for ttl in (500, 2000) * 5:
            reply(copier, "SYNC *ttl beside/0000*")
            assert peer.ask(f"TOUCH beside/0000 ttl={ttl}") == "OK"
            assert ttl - 100 < left(reply(copier, "SYNC *ttl beside/0000*")[1], "beside/0000") <= ttl


def test_what_lives_with_another_key_is_told_with_which(shared_daemon: Daemon) -> None:
    with shared_daemon.connect() as peer, shared_daemon.connect() as watcher, shared_daemon.connect() as copier:
        begin, store = where(peer)
        watcher.ask("WATCH *ttl *batches owner*")
        assert peer.ask("PUT owner;1 ttl=1000 = here") == f"OK {begin + 1}"
        assert peer.ask("PUT owner/a with=owner;1 = 1") == f"OK {begin + 2}"
        assert peer.ask(f"PUT owner/b with=owner;1 = {LARGE}") == f"OK {begin + 3}"
        assert peer.ask("INCR owner/a") == "OK 2"
        copy = reply(copier, "SYNC *keys *ttl *batches *only=DEL owner*")
        assert copy[:2] == [f"SIZE {begin + 4} owner/a 1", "WITH owner;1 owner/a"]
        assert copy[2:4] == [f"SIZE {begin + 3} owner/b {len(LARGE)}", "WITH owner;1 owner/b"]
        assert copy[4] == f"SIZE {begin + 1} owner;1 4"
        assert 900 < left(copy[5], "owner;1") <= 1000
        assert peer.ask("DEL owner;1") == f"OK {begin + 7}"
        changes = [
            f"{begin + 2}@{store} SET owner/a 1", "WITH owner;1 owner/a", f"{begin + 3}@{store} SET owner/b {LARGE}",
            "WITH owner;1 owner/b", f"{begin + 4}@{store} SET owner/a 2", "WITH owner;1 owner/a",
        ]  # fmt: skip
        gone = [f"CHANGE {begin + number}@{store} DEL owner" for number in (5, 6, 7)]
        assert watcher.lines(2)[0] == f"CHANGE {begin + 1}@{store} SET owner;1 here"
        assert watcher.lines(6) == [line if line.startswith("WITH") else f"CHANGE {line}" for line in changes]
        # What goes with an owner goes at once, as in a transaction.
        assert watcher.line() == "BATCH 3"
        dead = watcher.lines(3)
        assert sorted(dead) == sorted(f"{line}{key}" for line, key in zip(gone, by_revision(dead), strict=True))
        assert copier.lines(4) == ["BATCH 3", *dead]
        told = reply(peer, f"CHANGES {begin + 1}@{store} *ttl *batches owner*")[:-1]
        assert told[:6] == [line if line.startswith("WITH") else f"CHANGED {line}" for line in changes]
        assert told[6:] == ["BATCH 3", *(line.replace("CHANGE ", "CHANGED ") for line in dead)]


def by_revision(lines: list[str]) -> list[str]:
    """What comes after `owner` in each."""
    return [line.rpartition("owner")[2] for line in sorted(lines, key=revision_of)]


def test_what_a_watch_is_told_of_a_life_that_is_over(shared_daemon: Daemon) -> None:
    """At least the shortest that there is."""
    with shared_daemon.connect() as peer, shared_daemon.connect() as watcher:
        begin, store = where(peer)
        watcher.ask("WATCH over")
        assert peer.ask("PUT over ttl=0.02 = x") == f"OK {begin + 1}"
        assert watcher.line() == f"CHANGE {begin + 1}@{store} SET over x"
        assert watcher.line() == f"CHANGE {begin + 2}@{store} EXPIRE over"
        with shared_daemon.connect() as back:
            back.ask(f"RESUME {begin}@{store} *ttl over")
            assert back.lines(3) == [
                f"CHANGE {begin + 1}@{store} SET over x", "TTL 0.001 over", f"CHANGE {begin + 2}@{store} EXPIRE over",
            ]  # fmt: skip


# ---- slow watchers


@pytest.mark.slow
def test_a_slow_watcher_with_options_misses_nothing(start_daemon: StartDaemon) -> None:
    daemon = start_daemon()
    with daemon.connect() as stalled, daemon.connect() as quick, daemon.connect() as peer:
        store = stalled.ask("WATCH *only=SET *batches *time").split("@")[1]
        quick.ask("WATCH *keys *batches")
        for number in range(100):
            pairs = [(f"SET k{number}/{part} {LARGE}", f"DEL k{number}/{part}") for part in range(4)]
            last = transact(peer, *chain(*pairs))
            assert last == 8 * (number + 1)
            assert quick.line() == "BATCH 8"
            assert revision_of(quick.lines(8)[-1]) == last
        for number in range(100):
            assert stalled.line().startswith("TIME ")
            assert stalled.line() == "BATCH 4"
            for part in range(4):
                revision = 8 * number + 2 * part + 1
                assert stalled.line() == f"CHANGE {revision}@{store} SET k{number}/{part} {LARGE}"
        assert peer.ask("SET live 1") == "OK 801"
        assert stalled.lines(2)[1] == f"CHANGE 801@{store} SET live 1"


# ---- several processes


def test_options_are_of_a_connection_whichever_process_serves_it(start_daemon: StartDaemon) -> None:
    daemon = start_daemon("--workers", "2")
    forms = {"": f"SET k {LARGE}", "*keys": f"SIZE k {len(LARGE)}", "*only=SET": f"SET k {LARGE}"}
    with ExitStack() as stack:
        peer = stack.enter_context(daemon.connect())
        watchers = [(form, stack.enter_context(daemon.connect())) for form in (*forms, *forms, *forms, *forms)]
        for form, watcher in watchers:
            store = watcher.ask(f"WATCH {form} k".replace("  ", " ")).split("@")[1]
        for number in (1, 2, 3):
            assert peer.ask(f"SET k {LARGE}") == f"OK {number}"
            for form, watcher in watchers:
                assert watcher.line() == f"CHANGE {number}@{store} {forms[form]}"
