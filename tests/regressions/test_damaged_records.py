"""A record that cannot be read is refused to who reads it, and to nobody else: the daemon goes on."""

from pathlib import Path

import pytest

from tests.support.access import PASSWORD, users_text
from tests.support.checking import ask_engine
from tests.support.peers import Peer
from tests.support.processes import Daemon, StartDaemon

DATA = "{kvd}:data"
LARGE = "L" * 5000
RAWS = [b"what", b"2 0(t 2", b"2 x t 2", b"x 0 t 2", b"2 0", b"2 0 t", b"", b"2  t 5", b"2 5x t 1"]
DAMAGED = "ERR unavailable the store is damaged: a record cannot be read"


def test_who_reads_a_damaged_record_is_refused_alone(daemon: Daemon) -> None:
    with daemon.connect() as peer, daemon.connect() as other, daemon.connect() as watcher:
        peer.send(f"SET before 1\nSET bad 2\nPUT large = {LARGE}\n")
        assert [line[:2] for line in peer.lines(3)] == ["OK"] * 3
        assert watcher.ask("WATCH *").startswith("OK ")
        for raw in (b"what", b"2 0(t 2", b"2 x t 2", b"x 0 t 2", b"2 0 T x", b"2 0"):
            ask_engine(daemon.data, "HSET", DATA, "bad", raw)
            peer.send("GET bad\nGETS bad\nTTL bad\n")
            other.send("GET before\nGET large\n")
            assert other.lines(2) == ["OK 1", f"OK {LARGE}"]
            refused = peer.lines(3)
            assert [line[:39] for line in refused] == ["ERR unavailable the store is damaged: a"] * 3
            lines = [peer.ask("LIST b*")]
            while not lines[-1].startswith("ERR"):
                lines.append(peer.line())
            assert lines[-1].startswith("ERR unavailable the store is damaged")
        assert peer.ask("SET after 3").startswith("OK ")
        assert watcher.line().endswith(" SET after 3")


def test_a_large_value_whose_record_is_damaged_meanwhile_is_refused(daemon: Daemon) -> None:
    with daemon.connect() as peer:
        assert peer.ask(f"PUT large = {LARGE}").startswith("OK ")
        ask_engine(daemon.data, "HSET", DATA, "large", b"1 0 T;")
        assert peer.ask("GET large").startswith("ERR unavailable the store is damaged")
        assert peer.ask("PING") == "OK"


def damage(daemon: Daemon, key: str, raw: bytes) -> None:
    ask_engine(daemon.data, "HSET", DATA, key, raw)
    ask_engine(daemon.data, "ZADD", "{kvd}:index", 0, key)


@pytest.mark.parametrize("raw", RAWS)
def test_a_write_that_depends_on_a_damaged_record_is_refused_alone(daemon: Daemon, raw: bytes) -> None:
    """The engine's words about a script were the reply, also to those whose writes were in the same batch."""
    with daemon.connect() as peer:
        assert peer.ask("PUT timed ttl=1000 = 1").startswith("OK ")
        damage(daemon, "bad", raw)
        depending = [
            "INCR bad", "DEL bad", "DEL bad if=2", "TOUCH bad ttl=5", "PUT bad if=2 = v", "PUT bad if=0 = v",
            "PUT x with=bad = 1", "PUT bad with=timed = 1",
        ]  # fmt: skip
        for line in depending:
            peer.send(f"SET before {line}\n{line}\nSET after {line}\n")
            before, refused, after = peer.lines(3)
            assert (before[:3], refused[: len(DAMAGED)], after[:3]) == ("OK ", DAMAGED, "OK ")
            if line.startswith(("PUT x", "PUT bad with")):
                continue
            peer.send(f"BEGIN\nSET whole {line}\n{line}\nCOMMIT\n")
            assert peer.lines(4)[-1].startswith(DAMAGED)
        peer.send("BEGIN\nCHECK bad\nSET whole 1\nCOMMIT\nBEGIN\nCHECK b* if=0\nSET whole 1\nCOMMIT\n")
        assert [line.startswith(DAMAGED) for line in peer.lines(8)] == [False, False, False, True] * 2
        assert peer.ask("GET whole") == "NONE"
        assert ask_engine(daemon.data, "HGET", DATA, "bad") == raw


@pytest.mark.parametrize("others", ["", "PUT timed ttl=1000 = 1\n", f"SET large {LARGE}\n"])
@pytest.mark.parametrize("line", ["SET bad {}", "PUT bad = {}", "PUT bad ttl=1000 = {}", "BEGIN\nSET bad {}\nCOMMIT"])
def test_what_takes_no_notice_of_a_record_replaces_a_damaged_one(daemon: Daemon, line: str, others: str) -> None:
    """Whatever else there is in the store; and nothing of the old one is left, such as its deadline."""
    with daemon.connect() as peer, daemon.connect() as watcher:
        assert watcher.ask("WATCH bad").startswith("OK ")
        for number, raw in enumerate(RAWS):
            peer.send(f"{others}SET first 1\n")
            peer.lines(others.count("\n") + 1)
            damage(daemon, "bad", raw)
            peer.send(f"{line.format(number)}\nGET bad\nTTL bad\n")
            *_, written, value, ttl = peer.lines(line.count("\n") + 3)
            assert (written[:3], value) == ("OK ", f"OK {number}")
            assert (ttl == "OK -") == ("ttl=" not in line)
            assert watcher.line().endswith(f" SET bad {number}")


def test_the_end_of_a_damaged_record_that_had_one_is_not_that_of_the_new_one(daemon: Daemon) -> None:
    with daemon.connect() as peer:
        assert peer.ask("PUT bad ttl=0.5 = 1").startswith("OK ")
        damage(daemon, "bad", b"what")
        assert peer.ask("SET bad 2").startswith("OK ")
        assert ask_engine(daemon.data, "ZSCORE", "{kvd}:ttl", "bad") is None
        assert peer.ask("TTL bad") == "OK -"


def damage_what_expires(daemon: Daemon, peer: Peer, key: str) -> int:
    """Write a key with a time to live, and damage its record before that is over; how often it was written for that."""
    for tries, ttl in enumerate((1, 8, 32), 1):
        assert peer.ask(f"PUT {key} ttl={ttl} = 1").startswith("OK ")
        damage(daemon, key, b"what")
        if ask_engine(daemon.data, "ZSCORE", "{kvd}:ttl", key) is not None:
            return tries
        # It was over before.
        ask_engine(daemon.data, "HDEL", DATA, key)
        ask_engine(daemon.data, "ZREM", "{kvd}:index", key)
    raise AssertionError("never in time")


def test_damaged_records_that_are_counted_or_expire_do_not_end_all_writing(
    start_daemon: StartDaemon, tmp_path: Path
) -> None:
    """A script that fails amid its effects leaves a change log that is ahead, and every write after it is refused."""
    file = tmp_path / "users.toml"
    file.write_text(users_text({"ada": {"a/*": "read,watch,write,max-keys=60"}}))
    daemon = start_daemon("--users", str(file))

    def login(peer: Peer) -> None:
        assert peer.ask(f"AUTH ada {PASSWORD}") == "OK"

    with daemon.connect() as peer, daemon.connect() as watcher:
        login(peer)
        login(watcher)
        damage(daemon, "a/first", b"what")
        assert peer.ask("SET a/1 1").startswith("OK ")
        assert watcher.ask("WATCH a/*").startswith("OK ")
        changes = ["SET a/expires 1", "EXPIRE a/expires"] * damage_what_expires(daemon, peer, "a/expires")
        assert [watcher.line().partition(" ")[2].partition(" ")[2] for _ in changes] == changes
        assert peer.ask("SET a/2 1").startswith("OK ")
        assert peer.ask("SET a/first 1").startswith(DAMAGED)
        assert peer.ask("COUNT a/*") == "OK 3"


def test_damaged_records_of_owners_and_of_what_lives_with_them(daemon: Daemon) -> None:
    with daemon.connect() as peer:
        peer.send("PUT o ttl=1000 = 1\nPUT a with=o = 1\nPUT b with=o = 1\nSET c 1\n")
        assert [line[:3] for line in peer.lines(4)] == ["OK "] * 4
        damage(daemon, "a", b"what")
        # It may live with another, and that is not known.
        assert peer.ask("SET a 2").startswith(DAMAGED)
        assert peer.ask("SET c 2").startswith("OK ")
        assert peer.ask("DEL o").startswith("OK ")
        assert peer.ask("KEYS *") == "KEY c"
        assert peer.line() == "OK 1"
        peer.send("PUT o ttl=1000 = 1\nPUT a with=o = 1\n")
        assert [line[:3] for line in peer.lines(2)] == ["OK "] * 2
        damage(daemon, "o", b"2 0")
        assert peer.ask("DEL o").startswith(DAMAGED)
        assert peer.ask("PUT z with=o = 1").startswith(DAMAGED)
        assert peer.ask("DEL a").startswith("OK ")


@pytest.mark.parametrize("raw", RAWS)
def test_a_damaged_record_of_the_key_that_a_number_makes(daemon: Daemon, raw: bytes) -> None:
    """In a transaction its refusal had the key in it, for which there is no reply: the connection just ended."""
    with daemon.connect() as peer:
        revision = int(peer.ask("SET n 1").removeprefix("OK "))
        damage(daemon, f"p/{revision + 1:016}", raw)
        assert peer.ask("PUT p/* = v").startswith(DAMAGED)
        peer.send("BEGIN\nPUT p/* = v\nSET whole 1\nCOMMIT\n")
        assert peer.lines(4)[-1].startswith(DAMAGED)
        assert peer.ask("GET whole") == "NONE"
        # Another revision makes another key.
        assert peer.ask("SET n 2") == f"OK {revision + 1}"
        peer.send("BEGIN\nPUT p/* = v\nCOMMIT\n")
        assert peer.lines(3)[-1] == f"OK {revision + 2}"
