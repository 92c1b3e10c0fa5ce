"""A record that cannot be read is refused to who reads it, and to nobody else: the daemon goes on."""

from tests.support.checking import ask_engine
from tests.support.processes import Daemon

DATA = "{kvd}:data"
LARGE = "L" * 5000


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
