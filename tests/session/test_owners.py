"""PUT with=: keys that live as long as another one, and go in one piece with it."""

import os
import signal
import threading
import time

import pytest

from tests.support.peers import Peer
from tests.support.processes import Daemon, Redis, StartDaemon
from tests.support.text import without_retry

COUNT = 100


def transact(peer: Peer, *requests: str) -> str:
    """The reply to COMMIT; everything before it must be queued."""
    peer.send("BEGIN\n" + "".join(f"{request}\n" for request in requests) + "COMMIT\n")
    assert peer.line() == "OK"
    assert peer.lines(len(requests)) == ["OK queued"] * len(requests)
    return peer.line()


def family(peer: Peer, owner: str = "o", count: int = COUNT, ttl: str = "") -> int:
    """An owner and what lives with it; the last revision."""
    assert peer.ask(f"PUT {owner}{ttl} = v").startswith("OK ")
    peer.send("".join(f"PUT {owner}/{number:03} with={owner} = {number}\n" for number in range(count)))
    last = peer.lines(count)
    assert all(line.startswith("OK ") for line in last), last
    return int(last[-1].split(" ")[1])


def items(peer: Peer, request: str) -> list[str]:
    peer.send(f"{request}\n")
    lines = [peer.line()]
    while lines[-1].split(" ")[0] not in ("OK", "ERR"):
        lines.append(peer.line())
    return lines


def position_of(line: str) -> str:
    return line.split(" ")[1]


def revision_of(line: str) -> int:
    return int(position_of(line).partition("@")[0])


def test_it_lives_as_long_as_its_owner(daemon: Daemon) -> None:
    with daemon.connect() as peer, daemon.connect() as watcher:
        watcher.ask("WATCH")
        assert peer.ask("PUT o ttl=1000 = v") == "OK 1"
        assert peer.ask("PUT k with=o = 5") == "OK 2"
        assert peer.ask("PUT b base64 with=o if=0 = AAE=") == "OK 3"
        assert peer.ask("GETS k") == "OK 2 5"
        assert peer.ask("GET b") == "OK64 AAE="
        assert 900 < float(peer.ask("TTL k").split(" ")[1]) <= 1000
        assert peer.ask("INCR k") == "OK 6"
        assert items(peer, "KEYS * with=o") == ["KEY b", "KEY k", "OK 2"]
        assert items(peer, "LIST k* with=o limit=5") == ["PAIR 4 k 6", "OK 4@" + position_of(watcher.line())[2:]]
        assert items(peer, "KEYS * with=o after=b") == ["KEY k", "OK 1"]
        assert items(peer, "KEYS * with=o reverse limit=1") == ["KEY k", "OK 1"]
        assert items(peer, "KEYS b with=o") == ["KEY b", "OK 1"]
        assert items(peer, "KEYS * with=k") == ["OK 0"]
        assert peer.ask("TOUCH o ttl=10000") == "OK"
        assert 9900 < float(peer.ask("TTL k").split(" ")[1]) <= 10000
        assert peer.ask("TOUCH o ttl=-") == "OK"
        assert peer.ask("TTL k") == "OK -"
        assert peer.ask("PUT o ttl=5000 = again") == "OK 5"
        assert 4900 < float(peer.ask("TTL b").split(" ")[1]) <= 5000
        assert peer.ask("SET o again") == "OK 6"
        assert peer.ask("TTL b") == "OK -"
        assert peer.ask("DEL o") == "OK 9"
        assert [line.split(" ", 2)[2] for line in watcher.lines(8)][-3:] == ["DEL b", "DEL k", "DEL o"]
        assert [peer.ask(f"GET {key}") for key in "bko"] == ["NONE"] * 3
        assert peer.ask("COUNT") == "OK 0"


def test_what_frees_it_and_what_does_not(daemon: Daemon) -> None:
    with daemon.connect() as peer:
        family(peer, count=8, ttl=" ttl=100")
        for request in ("SET o/000 v", "PUT o/001 = v", "PUT o/002 ttl=1000 = v", "DEL o/003", "PUT o/004 with=p = v"):
            peer.ask("SET p v")
            assert peer.ask(request).startswith("OK ")
        assert peer.ask("INCR o/005").startswith("OK ")
        assert peer.ask("PUT o/006 with=o = v").startswith("OK ")
        assert items(peer, "KEYS * with=o") == ["KEY o/005", "KEY o/006", "KEY o/007", "OK 3"]
        assert peer.ask("TTL o/000") == peer.ask("TTL o/001") == peer.ask("TTL o/004") == "OK -"
        assert peer.ask("DEL o").startswith("OK ")
        assert items(peer, "KEYS *") == [f"KEY {key}" for key in ("o/000", "o/001", "o/002", "o/004", "p")] + ["OK 5"]
        assert peer.ask("SET o/005 v").startswith("OK ")
        assert peer.ask("DEL p").startswith("OK ")
        assert peer.ask("GET o/004") == "NONE"


def test_what_is_refused(start_daemon: StartDaemon) -> None:
    daemon = start_daemon("--owner-keys", "3")
    with daemon.connect() as peer:
        assert peer.ask("PUT k with=o:a = v") == "CONFLICT 0 o:a"
        assert transact(peer, "SET x 1", "PUT k with=o:a = v") == "CONFLICT 0 o:a"
        assert peer.ask("COUNT") == "OK 0"
        assert peer.ask("SET o v") == "OK 1"
        assert peer.ask("PUT k if=7 with=o = v") == "CONFLICT 0"
        assert peer.ask("PUT k with=o = v") == "OK 2"
        for request in ("PUT k ttl=5 with=o = v", "PUT k with=k = v", "PUT k with=o with=o = v", "PUT k with= = v",
                        "TOUCH k ttl=5", "TOUCH k ttl=-", "PUT j with=k = v", "PUT o with=x = v",
                        "KEYS * with=", "COUNT * with=o", "DEL k* with=o", "SET k with=o"):  # fmt: skip
            if request.endswith("=x = v"):
                assert peer.ask("SET x v") == "OK 3"
            reply = peer.ask(request)
            assert reply.startswith("ERR usage ") or request.startswith("SET "), (request, reply)
        assert peer.ask("PUT k with=a*b = v").startswith("ERR bad-key ")
        assert peer.ask("PUT k with=o = v") == "OK 5"
        assert [peer.ask(f"PUT {key} with=o = v") for key in "ab"] == ["OK 6", "OK 7"]
        assert peer.ask("PUT c with=o = v").startswith("ERR too-long ")
        assert peer.ask("PUT a with=o = again") == "OK 8"
        assert transact(peer, "SET y 1", "PUT c with=o = v").startswith("ERR too-long ")
        assert transact(peer, "DEL a", "PUT c with=o = v") == "OK 10"
        assert transact(peer, "SET y 1", "PUT z with=c = v").startswith("ERR usage ")
        assert transact(peer, "SET y 1", "TOUCH c ttl=9").startswith("ERR usage ")
        assert peer.ask("GET y") == "NONE"
        assert peer.ask("SET y v") == "OK 11"


def test_a_transaction_may_make_an_owner_and_what_lives_with_it(daemon: Daemon) -> None:
    with daemon.connect() as peer, daemon.connect() as watcher:
        watcher.ask("WATCH")
        assert transact(peer, "PUT o ttl=60 = v", "PUT a with=o = 1", "PUT q/* with=o = 2", "INCR a") == "OK 4"
        assert items(peer, "KEYS * with=o") == ["KEY a", "KEY q/0000000000000003", "OK 2"]
        # What goes along comes before the transaction's own changes; what it has written goes where its owner does.
        assert transact(peer, "SET x 1", "PUT b with=o = 3", "DEL o", "SET y 2") == "OK 11"
        assert [line.split(" ", 2)[2] for line in watcher.lines(11)][4:] == [
            "DEL a", "DEL q/0000000000000003", "SET x 1", "SET b 3", "DEL b", "DEL o", "SET y 2"
        ]  # fmt: skip
        assert transact(peer, "SET o v", "PUT a with=o = 1", "DEL o", "SET o v", "PUT c with=o = 5") == "OK 17"
        assert items(peer, "KEYS * with=o") == ["KEY c", "OK 1"]


def test_a_transaction_that_fails_changes_no_owner(daemon: Daemon) -> None:
    with daemon.connect() as peer:
        last = family(peer, count=5, ttl=" ttl=100")
        before = items(peer, "LIST *")
        fails = "PUT o/004 with=o = x", "INCR o/004"
        for requests in (["DEL o"], ["DEL o", "SET o v", "PUT o/000 with=o = v"], ["SET o/001 v", "PUT n with=o = v"],
                         ["SET o v"], ["DEL o/000", "DEL o", "SET p v", "PUT z with=p = v"]):  # fmt: skip
            if "DEL o" in requests and "SET o v" not in requests:
                assert transact(peer, *requests, *fails[:1]) == "CONFLICT 0 o"
            else:
                assert transact(peer, *requests, *fails).startswith("ERR not-a-number ")
            assert items(peer, "LIST *") == before
            assert items(peer, "KEYS * with=o")[-1] == "OK 5"
            assert peer.ask("TTL o/003") != "OK -"
        assert peer.ask("DEL o") == f"OK {last + 6}"
        assert peer.ask("COUNT") == "OK 0"


def test_a_transaction_takes_no_more_along_than_fits(start_daemon: StartDaemon) -> None:
    daemon = start_daemon("--owner-keys", "1000")
    with daemon.connect() as peer:
        family(peer, "a", 999)
        last = family(peer, "b", 2)
        assert transact(peer, "SET x 1", "DEL a", "DEL b").startswith("ERR too-long ")
        assert transact(peer, "SET x 1", "PUT a ttl=50 = v", "PUT b ttl=50 = v").startswith("ERR too-long ")
        assert peer.ask("TTL a/000") == "OK -"
        assert peer.ask("COUNT") == "OK 1003"
        assert transact(peer, "DEL a", "SET x 1", "DEL x") == f"OK {last + 1002}"
        assert peer.ask("COUNT") == "OK 3"


@pytest.mark.parametrize("expires", [False, True])
def test_a_reader_sees_all_or_none_and_watchers_get_one_piece(start_daemon: StartDaemon, expires: bool) -> None:
    """Beside readers on another daemon of the same store."""
    daemon = start_daemon()
    with daemon.connect() as peer, daemon.connect() as reader, daemon.connect() as watcher:
        last = family(peer)
        begin = watcher.ask("WATCH").removeprefix("OK ")
        assert begin.startswith(f"{last}@")
        seen: set[int] = set()
        reads = "".join(f"GET o/{number:03}\n" for number in range(COUNT)) + "COUNT o/*\n"
        over = threading.Event()

        def read() -> None:
            while not over.is_set():
                reader.send(reads)
                seen.add(sum(line != "NONE" for line in reader.lines(COUNT)))
                seen.add(int(reader.line().removeprefix("OK ")))

        thread = threading.Thread(target=read)
        thread.start()
        try:
            while not seen:
                time.sleep(0.001)
            assert peer.ask("TOUCH o ttl=0.2" if expires else "DEL o").startswith("OK")
            lines = watcher.lines(COUNT + 1)
        finally:
            over.set()
            thread.join()
        assert seen <= {0, COUNT}
        verb = "EXPIRE" if expires else "DEL"
        assert [line.split(" ", 2)[2] for line in lines] == [f"{verb} o/{n:03}" for n in range(COUNT)] + [f"{verb} o"]
        assert [revision_of(line) for line in lines] == list(range(last + 1, last + COUNT + 2))
        assert watcher.ask(f"RESUME {position_of(lines[40])}").startswith("OK ")
        assert watcher.lines(COUNT - 40) == lines[41:]


def test_a_due_owner_takes_all_along_before_it_is_written_again(start_daemon: StartDaemon, redis: Redis) -> None:
    daemon = start_daemon("--store", redis.unix_url)
    with daemon.connect() as peer:
        for request in ("PUT o ttl=1000 = new", "SET o new", "SET o/001 new", "INCR o/001 1", "PUT o/001 with=o = v",
                        "DEL o/002", "TOUCH o/002 ttl=9", "DEL o"):  # fmt: skip
            family(peer, count=3)
            begin = position_of(peer.ask("UNWATCH"))
            # The sweep of another daemon has its turn until then.
            redis.cli("HSET", "{kvd}:meta", "sweep", f"aaaaaaaa {2**52}")
            assert peer.ask("TOUCH o ttl=0.001") == "OK"
            while peer.ask("GET o/000") != "NONE":
                time.sleep(0.001)
            assert peer.ask("TTL o/001") == peer.ask("GETS o/002") == "NONE"
            assert items(peer, "KEYS *") == items(peer, "KEYS * with=o") == ["OK 0"]
            assert peer.ask("COUNT o/*") == "OK 0"
            reply = peer.ask(request)
            assert [line.split(" ", 2)[2] for line in items(peer, f"CHANGES {begin} *limit=4")[:-1]] == [
                "EXPIRE o/000", "EXPIRE o/001", "EXPIRE o/002", "EXPIRE o"
            ]  # fmt: skip
            if request.startswith(("DEL", "TOUCH")):
                assert reply == "NONE"
            elif "with=" in request:
                assert reply == "CONFLICT 0 o"
            else:
                assert reply.startswith("OK ")
                assert items(peer, "KEYS *")[-1] == "OK 1"
            redis.cli("HDEL", "{kvd}:meta", "sweep")
            peer.ask("DEL o* limit=9")


def test_del_of_a_prefix_counts_what_goes_along(daemon: Daemon) -> None:
    with daemon.connect() as peer:
        last = family(peer, "a", 60)
        peer.ask("PUT z with=a = v")
        last = family(peer, "b", 70)
        assert peer.ask("DEL a* limit=1") == f"OK {last + 62} 62"
        assert peer.ask("DEL b*") == f"OK {last + 62 + 71} 71"
        assert peer.ask("COUNT") == "OK 0"
        last = family(peer, "p/x", 30)
        assert peer.ask("DEL p/x/* limit=10") == f"OK {last + 10} 10"
        assert peer.ask("DEL *").startswith("ERR usage ")
        assert peer.ask("DEL p*") == f"OK {last + 31} 21"


def test_large_values_live_with_others_too(start_daemon: StartDaemon, redis: Redis) -> None:
    daemon = start_daemon("--store", redis.unix_url)
    large = "x" * 5000
    with daemon.connect() as peer:
        assert peer.ask("PUT o ttl=1000 = " + large) == "OK 1"
        assert peer.ask("PUT k with=o = " + large) == "OK 2"
        assert peer.ask("PUT j with=o = small") == "OK 3"
        assert peer.ask("GET k") == peer.ask("GET o") == f"OK {large}"
        peer.send("GET j\nGET k\nGETS k\nTTL k\n")
        assert peer.lines(3) == ["OK small", f"OK {large}", f"OK 2 {large}"]
        assert 900 < float(peer.line().removeprefix("OK ")) <= 1000
        assert items(peer, "LIST * with=o")[1] == f"PAIR 2 k {large}"
        assert items(peer, "SYNC k")[0] == f"PAIR 2 k {large}"
        peer.ask("UNWATCH")
        assert peer.ask("DEL o") == "OK 6"
        assert peer.ask("GET k") == "NONE"
        assert redis.cli("ZRANGE", "{kvd}:replaced", "0", "-1").split() == ["1", "2"]
        assert redis.cli("EXISTS", "{kvd}:owned", "{kvd}:ttl", "{kvd}:data", "{kvd}:index") == "0"


@pytest.mark.slow
@pytest.mark.parametrize("kill", ["daemon", "store"])
def test_owners_survive_kill_9(start_daemon: StartDaemon, kill: str) -> None:
    daemon = start_daemon()
    with daemon.connect() as peer:
        last = family(peer)
        begin = peer.ask("WATCH").removeprefix("OK ")
        assert peer.ask("TOUCH o ttl=2") == "OK"
    if kill == "store":
        os.kill(daemon.redis_pid(), signal.SIGKILL)
    else:
        daemon.kill()
        daemon.wait()
        daemon.start()
    with daemon.connect() as peer:
        while (reply := peer.ask(f"RESUME {begin}")).startswith("ERR unavailable"):
            time.sleep(0.05)
        assert reply == f"OK {begin}", without_retry(reply)
        lines = peer.lines(COUNT + 1)
        assert [revision_of(line) for line in lines] == list(range(last + 1, last + COUNT + 2))
        assert lines[-1].endswith(" EXPIRE o")
        assert peer.ask("COUNT") == "OK 0"


def test_what_lives_with_an_owner_is_listed_as_all_else_is(daemon: Daemon) -> None:
    """In pages, both ways, between bounds, one level at a time."""
    with daemon.connect() as peer:
        for key in ("o", "p", "a", "z"):
            peer.ask(f"SET {key} v")
        keys = sorted(f"{first}/{second}{third}" for first in "ab" for second in "xyz" for third in "/12345")
        for number, key in enumerate(keys):
            peer.ask(f"PUT {key} with={'o' if number % 2 else 'p'} = {key}")
        mine = keys[1::2]

        def listed(options: str) -> list[str]:
            return [line.partition(" ")[2] for line in items(peer, f"KEYS {options} with=o")[:-1]]

        assert listed("*") == mine
        assert listed("* reverse") == mine[::-1]
        assert listed("b/* after=b/x2 before=b/z1") == [key for key in mine if "b/x2" < key < "b/z1"]
        assert listed("* fold=/") == ["a/", "b/"]
        assert listed("* fold=/ reverse") == ["b/", "a/"]
        assert listed("a/* fold=/") == [key for key in mine if key.startswith("a/")]
        after, pages = "", []
        while page := listed(f"*{after} limit=4"):
            pages += page
            after = f" after={page[-1]}"
        assert pages == mine
        assert [line.split(" ")[2] for line in items(peer, "LIST * with=p")[:-1]] == keys[::2]


def test_two_daemons_see_all_or_none(start_daemon: StartDaemon, redis: Redis) -> None:
    one, two = (start_daemon("--store", redis.unix_url) for _ in range(2))
    with one.connect() as peer, two.connect() as reader, two.connect() as watcher:
        watcher.ask("WATCH")
        last = family(peer)
        watcher.lines(last)
        seen = set()
        assert peer.ask("TOUCH o ttl=0.2") == "OK"
        reads = "".join(f"GET o/{number:03}\n" for number in range(COUNT))
        while 0 not in seen:
            reader.send(reads)
            seen.add(sum(line != "NONE" for line in reader.lines(COUNT)))
        assert seen <= {0, COUNT}
        lines = watcher.lines(COUNT + 1)
        assert lines[-1].endswith(" EXPIRE o")
        assert [revision_of(line) for line in lines] == list(range(last + 1, last + COUNT + 2))
