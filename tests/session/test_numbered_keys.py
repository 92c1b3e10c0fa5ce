"""PUT of a prefix and `*`: keys that have their revision in them, each once and in the order of their making."""

import threading

import pytest

from tests.support.peers import Peer
from tests.support.processes import Daemon, StartDaemon

WRITERS, EACH = 8, 250


def keys(peer: Peer, pattern: str) -> list[str]:
    peer.send(f"KEYS {pattern}\n")
    found = []
    while (line := peer.line()).startswith("KEY "):
        found.append(line.removeprefix("KEY "))
    return found


def transact(peer: Peer, *requests: str) -> str:
    """The reply to COMMIT."""
    peer.send("\n".join(["BEGIN", *requests, "COMMIT\n"]))
    return peer.lines(len(requests) + 2)[-1]


def numbered(prefix: str, revision: int) -> str:
    return f"{prefix}{revision:016}"


@pytest.mark.parametrize("options", [(), ("--workers", "2")], ids=["one process", "two workers"])
def test_they_are_unique_and_ordered_under_eight_writers(start_daemon: StartDaemon, options: tuple[str, ...]) -> None:
    """Alone, pipelined, and in transactions; beside writes of other keys."""
    daemon = start_daemon("--fsync", "no", *options)
    made: list[list[int]] = [[] for _ in range(WRITERS)]

    def write(number: int) -> None:
        with daemon.connect() as peer:
            for _ in range(EACH // 5):
                made[number].append(int(peer.ask(f"PUT queue/* = {number}").removeprefix("OK ")))
                peer.send(f"PUT queue/* = {number}\nSET other/{number} x\nPUT queue/* ttl=1000 = {number}\n")
                first, _, third = (int(line.removeprefix("OK ")) for line in peer.lines(3))
                last = transact(peer, f"PUT queue/* = {number}", f"INCR n/{number}", f"PUT queue/* = {number}")
                end = int(last.removeprefix("OK "))
                made[number] += [first, third, end - 2, end]
                assert peer.ask(f"GETS {numbered('queue/', end)}") == f"OK {end} {number}"

    threads = [threading.Thread(target=write, args=[number]) for number in range(WRITERS)]
    with daemon.connect() as watcher, daemon.connect() as peer:
        watcher.ask("WATCH queue/*")
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for revisions in made:
            assert len(revisions) == EACH
            assert revisions == sorted(revisions)
        everything = sorted(revision for revisions in made for revision in revisions)
        assert len(set(everything)) == WRITERS * EACH
        assert keys(peer, "queue/*") == [numbered("queue/", revision) for revision in everything]
        # The revision of each is its number, and watchers get them in this order.
        writer = {revision: number for number, revisions in enumerate(made) for revision in revisions}
        for line, revision in zip(watcher.lines(len(everything)), everything, strict=True):
            _, position, *change = line.split(" ")
            assert position.startswith(f"{revision}@")
            assert change == ["SET", numbered("queue/", revision), str(writer[revision])]


def test_a_queue_gives_each_piece_of_work_to_one(daemon: Daemon) -> None:
    """What is put by some is taken by others, first come first served, each once."""
    count = 200
    taken: list[list[str]] = [[] for _ in range(4)]
    with daemon.connect() as peer:
        peer.send("".join(f"PUT work/* = {number}\n" for number in range(count)))
        peer.lines(count)

        def take(number: int) -> None:
            with daemon.connect() as consumer:
                while found := keys(consumer, "work/* limit=1"):
                    value = consumer.ask(f"GET {found[0]}")
                    if consumer.ask(f"DEL {found[0]} if={int(found[0].removeprefix('work/'))}").startswith("OK "):
                        taken[number].append(value.removeprefix("OK "))

        threads = [threading.Thread(target=take, args=[number]) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(int(value) for values in taken for value in values) == list(range(count))
    assert all(values == sorted(values, key=int) for values in taken)


def test_one_that_was_written_by_its_name_stays(daemon: Daemon) -> None:
    """Also in a cache, also when others of the same batch or transaction move it away."""
    with daemon.connect() as peer:
        assert peer.ask(f"SET {numbered('q/', 2)} by name") == "OK 1"
        assert peer.ask(f"GET {numbered('q/', 2)}") == "OK by name"
        assert peer.ask("PUT q/* = x") == "CONFLICT 1"
        assert transact(peer, "SET a 1", "PUT q/* = y") == "OK 3"
        assert peer.ask(f"GET {numbered('q/', 2)}") == "OK by name"
        assert peer.ask(f"GET {numbered('q/', 3)}") == "OK y"
        # One piece, and so one batch: the number of the second is taken by the first.
        peer.send(f"SET {numbered('q/', 5)} first\nPUT q/* = x\nDEL {numbered('q/', 5)}\nPUT q/* = z\n")
        assert peer.lines(4) == ["OK 4", "CONFLICT 4", "OK 5", "OK 6"]
        assert transact(peer, "DEL a", f"SET {numbered('q/', 9)} x", "PUT q/* = y") == f"CONFLICT 8 {numbered('q/', 9)}"
        assert peer.ask("GET a") == "OK 1"
        assert peer.ask("PUT q/* = on") == "OK 7"


def test_one_whose_time_is_over_ends_first_and_is_not_the_one(daemon: Daemon) -> None:
    with daemon.connect() as peer, daemon.connect() as watcher:
        watcher.ask("WATCH q/*")
        for number in range(2, 60, 3):
            assert peer.ask(f"PUT {numbered('q/', number)} ttl=0.001 = x") == f"OK {number - 1}"
            while peer.ask(f"GET {numbered('q/', number)}") != "NONE":
                pass
            # Its end takes the revision that was its number, be it the sweep that finds it or the PUT.
            assert peer.ask("PUT q/* = y") == f"OK {number + 1}"
            assert peer.ask(f"GETS {numbered('q/', number + 1)}") == f"OK {number + 1} y"
            assert watcher.lines(3)[1].endswith(f" EXPIRE {numbered('q/', number)}")


def test_a_transaction_that_is_undone_leaves_none(daemon: Daemon) -> None:
    with daemon.connect() as peer:
        assert peer.ask("SET text x") == "OK 1"
        assert transact(peer, "PUT q/* = 1", "PUT q/* = 2", "INCR text").startswith("ERR not-a-number ")
        # In one batch with what comes after it.
        peer.send("BEGIN\nPUT q/* = 1\nINCR text\nCOMMIT\nPUT q/* = 2\n")
        assert peer.lines(5)[-1] == "OK 2"
        assert keys(peer, "*") == [numbered("q/", 2), "text"]
        assert peer.ask(f"GETS {numbered('q/', 2)}") == "OK 2 2"


def test_large_values_and_restarts(start_daemon: StartDaemon) -> None:
    daemon = start_daemon()
    value = "v" * 5000
    with daemon.connect() as peer:
        assert peer.ask(f"PUT q/* = {value}") == "OK 1"
        assert peer.ask("PUT q/* ttl=1000 = b") == "OK 2"
    daemon.kill()
    daemon.wait()
    daemon.start()
    with daemon.connect() as peer:
        assert peer.ask(f"GET {numbered('q/', 1)}") == f"OK {value}"
        assert peer.ask("PUT q/* = c") == "OK 3"
        assert keys(peer, "q/*") == [numbered("q/", number) for number in (1, 2, 3)]
