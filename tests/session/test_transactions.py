"""BEGIN, COMMIT and ABORT: all or nothing, in one piece."""

import threading

import pytest

from tests.support.peers import Peer
from tests.support.processes import Daemon


def transact(peer: Peer, *requests: str) -> str:
    """The reply to COMMIT; everything before it must be queued."""
    peer.send("BEGIN\n" + "".join(f"{request}\n" for request in requests) + "COMMIT\n")
    assert peer.line() == "OK"
    assert peer.lines(len(requests)) == ["OK queued"] * len(requests)
    return peer.line()


def test_all_is_done_with_consecutive_revisions(daemon: Daemon) -> None:
    with daemon.connect() as peer, daemon.connect() as watcher:
        watcher.ask("WATCH")
        assert peer.ask("SET old 1") == "OK 1"
        assert transact(peer, "SET a 1", "INCR a 41", "DEL old", "DEL nope", "PUT t ttl=60 base64 = AAEC") == "OK 5"
        assert [line.split(" ", 1)[1].split("@")[0] for line in watcher.lines(5)] == ["1", "2", "3", "4", "5"]
        assert peer.ask("GET a") == "OK 42"
        assert peer.ask("GET t") == "OK64 AAEC"
        assert peer.ask("TTL t") != "OK -"
        assert peer.ask("GET old") == "NONE"


def test_conditions_are_of_the_state_before_the_transactions_own_writes(daemon: Daemon) -> None:
    with daemon.connect() as peer:
        assert transact(peer, "PUT a if=0 = 1", "PUT a if=0 = 2", "DEL b if=0") == "OK 2"
        assert transact(peer, "SET a 3", "PUT a if=2 = 4") == "OK 4"
        assert transact(peer, "SET c 1", "PUT a if=1 = 5", "PUT b if=7 = x") == "CONFLICT 4 a"
        assert transact(peer, "SET c 1", "DEL k:1 if=9") == "CONFLICT 0 k:1"
        assert peer.ask("GET c") == "NONE"
        assert peer.ask("GETS a") == "OK 4 4"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("requests", "reply"),
    [
        (["SET a x", "SET big y", "INCR a"], "ERR not-a-number "),
        (["SET a 9223372036854775807", "DEL keep", "INCR a"], "ERR overflow "),
        (["DEL keep", "SET keep 5", "INCR keep", "INCR text"], "ERR not-a-number "),
    ],
)
def test_a_number_that_cannot_be_undoes_everything(daemon: Daemon, requests: list[str], reply: str) -> None:
    with daemon.connect() as peer:
        assert peer.ask("SET keep 1") == "OK 1"
        assert peer.ask("SET text x") == "OK 2"
        assert peer.ask(f"SET big {'x' * 5000}") == "OK 3"
        assert transact(peer, *requests).startswith(reply)
        assert peer.ask("COUNT") == "OK 3"
        assert peer.ask("GETS keep") == "OK 1 1"
        assert peer.ask("GETS big") == f"OK 3 {'x' * 5000}"
        assert peer.ask("SET next 1") == "OK 4"


def test_a_refused_request_refuses_the_commit(daemon: Daemon) -> None:
    with daemon.connect() as peer:
        for wrong, code in [
            ("GET a", "usage"), ("BEGIN", "usage"), ("TTL a", "usage"), ("WATCH", "usage"),
            ("", "unknown-verb"), ("FROB", "unknown-verb"), ("SET a*b 1", "bad-key"), ("SET a \x1b", "bad-value"),
        ]:  # fmt: skip
            peer.send(f"BEGIN\nSET a 1\n{wrong}\nSET a 2\nCOMMIT\n")
            assert peer.lines(2) == ["OK", "OK queued"]
            assert peer.line().startswith(f"ERR {code} ")
            assert peer.line() == "OK queued"
            assert peer.line().startswith("ERR aborted ")
        assert peer.ask("COUNT") == "OK 0"
        assert peer.ask("COMMIT").startswith("ERR usage ")
        assert peer.ask("ABORT").startswith("ERR usage ")


@pytest.mark.slow
def test_abort_quit_and_a_disconnect_do_nothing(daemon: Daemon) -> None:
    with daemon.connect() as peer:
        peer.send("BEGIN\nSET a 1\nABORT\nBEGIN\nSET b 1\n")
        assert peer.lines(5) == ["OK", "OK queued", "OK", "OK", "OK queued"]
    with daemon.connect() as peer:
        peer.send("BEGIN\nSET c 1\nQUIT\n")
        assert peer.rest()[-1].startswith("OK")
    with daemon.connect() as peer:
        assert peer.ask("COUNT") == "OK 0"
        assert transact(peer) == "OK 0"


@pytest.mark.slow
def test_its_limits_are_kept_while_queueing(daemon: Daemon) -> None:
    with daemon.connect() as peer:
        assert transact(peer, *(f"SET k{number} v" for number in range(128))) == "OK 128"
        peer.send("BEGIN\n" + "SET k v\n" * 129 + "COMMIT\n")
        lines = peer.lines(131)
        assert lines[-2].startswith("ERR too-long ")
        assert lines[-1].startswith("ERR aborted ")
        value = "x" * 500_000
        peer.send(f"BEGIN\nSET a {value}\nSET b {value}\nSET c {value}\nCOMMIT\n")
        lines = peer.lines(5)
        assert [line.split()[0] for line in lines] == ["OK", "OK", "OK", "ERR", "ERR"]
        assert transact(peer, f"SET a {value}", f"SET b {value}") == "OK 130"


@pytest.mark.slow
def test_a_watcher_gets_it_in_one_piece_with_nothing_between(daemon: Daemon) -> None:
    """A watcher that also asks, under load, live or catching up, and with progress lines."""
    stopping = threading.Event()

    def write(name: str) -> None:
        with daemon.connect() as peer:
            number = 0
            while not stopping.is_set():
                number += 1
                assert transact(peer, *(f"SET {name}.{number}.{part} x" for part in range(5))).startswith("OK")

    threads = [threading.Thread(target=write, args=[name]) for name in ("a", "b")]
    with daemon.connect() as watcher, daemon.connect() as late:
        start = watcher.ask("WATCH")[3:]
        assert watcher.ask("PROGRESS 0.001") == "OK"
        for thread in threads:
            thread.start()
        try:
            for _ in range(200):
                watcher.send("PING\n" * 10)
                check_pieces(watcher.lines(60))
            late.send("PROGRESS 0.001\n")
            assert late.line() == "OK"
            assert late.ask(f"RESUME {start}") == f"OK {start}"
            check_pieces(late.lines(5000))
        finally:
            stopping.set()
            for thread in threads:
                thread.join()


def check_pieces(lines: list[str]) -> None:
    """Every transaction that begins is complete before any other line; the cut at either end is not looked at."""
    part: tuple[str, str, int] | None = None
    for line in lines:
        key = line.split(" ")[3] if line.startswith("CHANGE") else ""
        if part is not None and part[2] < 4:
            assert key == f"{part[0]}.{part[1]}.{part[2] + 1}", line
        if key:
            name, number, index = key.split(".")
            part = (name, number, int(index))
        else:
            part = None
