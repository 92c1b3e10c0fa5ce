"""What users of other systems complain about, and does not happen here.

The numbers are those of a list of twelve: late expiry (1), lost events (2), changes without their value (3), an
expiry that looks like a delete (4), a slow watcher that hurts everyone (5), an idle watcher that cannot resume (6),
progress that overtakes changes or never comes (7), a resume inside a transaction that loses its siblings (8), a
restore that rewinds revisions silently (9), snapshots that race or never end (10), watches without deltas or filters
(11), a protocol that loses its place (12).  5, 6, 7, 9 and 10 are in test_watching.py, for they need its tools.
"""

import pytest

from tests.support.peers import Peer
from tests.support.processes import Daemon

pytestmark = pytest.mark.slow


def revisions(lines: list[str]) -> list[int]:
    return [int(line.split()[1].split("@")[0]) for line in lines]


def test_complaint_1_expiry_is_not_late_among_many_keys_that_do_not_expire_yet(daemon: Daemon) -> None:
    """Redis's own events lag the more, the more keys have a time to live, and come in any order."""
    with daemon.connect() as peer, daemon.connect() as watcher:
        others = 60_000
        for start in range(0, others, 1000):
            peer.send("".join(f"PUT other{start + i} ttl=3600 = x\n" for i in range(1000)))
            peer.lines(1000)
        assert watcher.ask("WATCH due*").startswith("OK ")
        peer.send("".join(f"PUT due{i} ttl=0.{i % 400 + 100} = x\n" for i in range(400)))
        peer.lines(400)
        lines = watcher.lines(800)
        ends = [line.split()[3] for line in lines if line.split()[2] == "EXPIRE"]
        assert sorted(ends) == sorted({line.split()[3] for line in lines})
        # In the order of their deadlines, but for the keys of one sweep and of one request.
        order = [int(key[3:]) for key in ends]
        assert all(abs(place - number) <= 100 for place, number in enumerate(order))
        assert peer.ask("COUNT") == f"OK {others}"


def test_complaint_2_what_happens_while_a_watcher_is_away_is_not_lost(daemon: Daemon) -> None:
    with daemon.connect() as peer:
        with daemon.connect() as watcher:
            position = watcher.ask("WATCH")[3:]
            peer.ask("SET a 1")
            position = watcher.line().split()[1]
        peer.send("".join(f"SET a {number}\n" for number in range(500)))
        peer.lines(500)
        with daemon.connect() as back:
            assert back.ask(f"RESUME {position}") == f"OK {position}"
            assert revisions(back.lines(500)) == list(range(2, 502))


def test_complaint_3_a_change_carries_its_value(daemon: Daemon) -> None:
    with daemon.connect() as peer, daemon.connect() as watcher:
        watcher.ask("WATCH")
        peer.send('SET a {"x": 1}\nPUT b base64 = AAEC\nINCR c 7\n')
        peer.lines(3)
        assert [line.split(" ", 2)[2] for line in watcher.lines(3)] == ['SET a {"x": 1}', "SET64 b AAEC", "SET c 7"]


def test_complaint_4_an_expiry_is_no_delete(daemon: Daemon) -> None:
    with daemon.connect() as peer, daemon.connect() as watcher:
        watcher.ask("WATCH")
        peer.send("PUT a ttl=0.001 = x\nSET b x\nDEL b\n")
        peer.lines(3)
        verbs = {tuple(line.split()[2:4]) for line in watcher.lines(4)}
        assert verbs == {("SET", "a"), ("EXPIRE", "a"), ("SET", "b"), ("DEL", "b")}


def test_complaint_8_a_resume_inside_a_transaction_loses_none_of_it(daemon: Daemon) -> None:
    with daemon.connect() as peer, daemon.connect() as watcher:
        watcher.ask("WATCH")
        peer.send("BEGIN\n" + "".join(f"SET k{number} x\n" for number in range(10)) + "COMMIT\n")
        assert peer.lines(12)[-1] == "OK 10"
        lines = watcher.lines(10)
        for number, line in enumerate(lines):
            with daemon.connect() as back:
                assert back.ask(f"RESUME {line.split()[1]}").startswith("OK ")
                assert back.lines(9 - number) == lines[number + 1 :]


def test_complaint_11_a_watch_tells_which_key_and_what_and_only_of_what_was_asked(daemon: Daemon) -> None:
    with daemon.connect() as peer, daemon.connect() as watcher:
        watcher.ask("WATCH config/* lock/db")
        for value in ("1", "2", "3"):
            peer.send(f"SET config/a {value}\nSET lock/db {value}\nSET lock/other {value}\nSET conf {value}\n")
            peer.lines(4)
        assert [line.split(" ", 2)[2] for line in watcher.lines(6)] == [
            "SET config/a 1", "SET lock/db 1", "SET config/a 2", "SET lock/db 2", "SET config/a 3", "SET lock/db 3",
        ]  # fmt: skip


def test_complaint_12_no_line_makes_the_next_one_be_misunderstood(daemon: Daemon) -> None:
    """Bad requests of every sort, each with one error, between good ones."""
    bad = [
        "PUT k base64=3 = AAEC\r", "PUT k base64=9 = AAEC", "SET k", "PUT k =v", "FROB", "", " ", "SET k \x00",
        "PUT k ttl=1 ttl=2 = SET x 1", "x" * 2_000_000, "GET k\tk", "RESUME 1", "SET k \rx", "PUT k base64 = AA\x0bEC",
    ]  # fmt: skip
    with daemon.connect() as peer:
        for number, line in enumerate(bad):
            peer.send(f"{line}\nPING {number}\n")
            first = peer.line()
            assert first.startswith("ERR ") or (number == 0 and first == "OK 1"), (line[:80], first)
            assert peer.line() == f"OK {number}"
        assert peer.ask("COUNT") == "OK 1"


def test_complaint_12_a_client_that_counts_lines_never_loses_its_place(daemon: Daemon) -> None:
    def ask_many(peer: Peer) -> list[str]:
        peer.send("SET a 1\nFROB\nLIST\nGET a\nSET b*d x\nGETS a\nDEL a\nPING end\n")
        return peer.lines(9)

    with daemon.connect() as peer:
        words = [line.split()[0] for line in ask_many(peer)]
    assert words == ["OK", "ERR", "PAIR", "OK", "OK", "ERR", "OK", "OK", "OK"]
