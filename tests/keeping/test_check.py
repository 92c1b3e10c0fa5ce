"""kvd check: what is wrong in a store is said and mended, whichever part of it; and nothing is written without that."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.checking import ask_engine, check, is_well
from tests.support.daemons import run_kvd
from tests.support.processes import Daemon, StartDaemon, needs, wait_for

LARGE = "x" * 5000
K = "{kvd}:"
Plants = dict[str, tuple[Callable[[Path], object], str]]


def fill(daemon: Daemon) -> None:
    """Of everything something."""
    lines = [
        "SET plain 1", f"PUT large = {LARGE}", f"PUT large = {LARGE}y", "PUT bytes base64 = AAEC",
        "PUT timed ttl=900 = 1",
        "PUT owner ttl=800 = 1", "PUT of/a with=owner = 1", f"PUT of/b with=owner = {LARGE}", "PUT still = 1",
        "PUT of/c with=still = 1", "SET gone 1", "DEL gone", "INCR n 5", "TOUCH plain ttl=700", "TOUCH plain ttl=-",
        "PUT free with=owner = 1", "SET free 1", "PUT queue/* = 1",
        "BEGIN", "SET one 1", f"PUT two = {LARGE}", "DEL bytes", "COMMIT",
        "TOUCH owner ttl=600", "PUT short ttl=0.001 = 1",
    ]  # fmt: skip
    with daemon.connect() as peer:
        peer.send("\n".join(lines) + "\n")
        assert all(line.startswith("OK") for line in peer.lines(len(lines)))
        wait_for("the end of one", lambda: peer.ask("UNWATCH").startswith("OK 21@"))


def revision_of(data: Path, key: str) -> bytes:
    return bytes(ask_engine(data, "HGET", f"{K}data", key).split(b" ")[0])


def record(data: Path, key: str, change: Callable[[bytes], bytes]) -> None:
    ask_engine(data, "HSET", f"{K}data", key, change(ask_engine(data, "HGET", f"{K}data", key)))


def unreadable_and_unlogged(data: Path, key: str) -> None:
    record(data, key, lambda _: b"what")
    ask_engine(data, "XTRIM", f"{K}log", "MAXLEN", 0)


PLANTED: Plants = {
    "not listed": (lambda d: ask_engine(d, "ZREM", f"{K}index", "plain"), "plain is not in the index"),
    "listed": (lambda d: ask_engine(d, "ZADD", f"{K}index", 0, "ghost"), "ghost is listed, and is not there"),
    "no time": (lambda d: ask_engine(d, "ZREM", f"{K}ttl", "timed"), "timed is to end at"),
    "wrong time": (lambda d: ask_engine(d, "ZADD", f"{K}ttl", 10**15, "owner"), "owner is to end at"),
    "own time": (lambda d: ask_engine(d, "ZADD", f"{K}ttl", 10**15, "of/a"), "of/a is to end at"),
    "extra time": (lambda d: ask_engine(d, "ZADD", f"{K}ttl", 10**15, "one"), "one is to end at 0"),
    "time of none": (lambda d: ask_engine(d, "ZADD", f"{K}ttl", 10**15, "ghost"), "ghost is to end, and is not"),
    "not owned": (lambda d: ask_engine(d, "ZREM", f"{K}owned", "owner of/a"), "of/a lives with owner, which is not"),
    "owned": (lambda d: ask_engine(d, "ZADD", f"{K}owned", 0, "owner plain"), "which is not so: owner plain"),
    "unmarked": (lambda d: record(d, "owner", lambda r: r.replace(b";w", b"")), "whose record does not say so"),
    "orphan": (lambda d: record(d, "of/c", lambda r: r.replace(b"still", b"nobody")), "lives with nobody, which"),
    "value extra": (lambda d: ask_engine(d, "HSET", f"{K}big", "7777", "x"), "large value of revision 7777"),
    "replaced extra": (lambda d: ask_engine(d, "ZADD", f"{K}replaced", 8888, "8888"), "8888 is noted as replaced"),
    "ahead": (lambda d: record(d, "one", lambda r: b"9" + r), "one has revision 9"),
}  # fmt: skip
"""What is done to a store, and what is said of it."""
RECORDS: Plants = {
    "changed record": (lambda d: record(d, "n", lambda r: r[:-1] + b"6"), "n is not as the change log has it"),
    "unreadable record": (lambda d: record(d, "one", lambda _: b"what"), "one is not as the change log has it"),
    "unreadable time": (lambda d: record(d, "still", lambda r: r.replace(b" 0 ", b" x ", 1)), "still is not as"),
    "older record": (lambda d: record(d, "free", lambda _: b"1 0 t 1"), "free is not as the change log has it"),
    "no record": (lambda d: ask_engine(d, "HDEL", f"{K}data", "queue/0000000000000016"), "is not as the change log"),
    "a record again": (lambda d: ask_engine(d, "HSET", f"{K}data", "gone", "9 0 t 1"), "gone is not as the change log"),
}  # fmt: skip
"""Records that are not as the change log has them."""
LOG: Plants = {
    "end of the log": (lambda d: ask_engine(d, "XTRIM", f"{K}log", "MAXLEN", 0), "it ends there"),
    "meta": (lambda d: ask_engine(d, "HINCRBY", f"{K}meta", "bytes", 1), "it ends there"),
}
"""Of each one the log alone is wrong."""
LOST: Plants = {
    "no value": (lambda d: ask_engine(d, "HDEL", f"{K}big", revision_of(d, "two")), "the value of two"),
    "unreadable": (lambda d: unreadable_and_unlogged(d, "plain"), "the record of plain cannot be read"),
}
"""What no repair brings back."""


def test_a_store_that_is_whole_is_said_to_be(daemon: Daemon) -> None:
    fill(daemon)
    assert is_well(daemon.data)
    daemon.stop()
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in daemon.data.rglob("*") if path.is_file()}
    assert is_well(daemon.data)
    after = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in daemon.data.rglob("*") if path.is_file()}
    assert after == before
    assert is_well(daemon.data, "--repair")
    daemon.start()
    with daemon.connect() as peer:
        assert peer.ask("UNWATCH").startswith("OK 21@")  # nothing was mended: its history is the same


def planted(daemon: Daemon, what: Plants) -> list[str]:
    fill(daemon)
    for plant, _ in what.values():
        plant(daemon.data)
    return [said for _, said in what.values()]


def assert_says(done: subprocess.CompletedProcess[str], wanted: list[str]) -> None:
    assert done.returncode == 1
    assert [text for text in wanted if text not in done.stdout] == [], done.stdout


def test_what_is_wrong_is_said_and_mended(daemon: Daemon) -> None:
    wanted = planted(daemon, PLANTED)
    assert_says(check(daemon.data), wanted)
    done = check(daemon.data, "--repair")
    assert done.returncode == 1
    assert "stop it before" in done.stderr
    daemon.stop()
    before = daemon.append_only_file.read_bytes()
    assert_says(check(daemon.data), wanted)
    assert daemon.append_only_file.read_bytes() == before
    done = check(daemon.data, "--repair")
    assert done.returncode == 0, done
    assert " things were mended; the history is a new one" in done.stdout
    assert is_well(daemon.data)
    daemon.start()
    with daemon.connect() as peer:
        assert [peer.ask(f"GET {key}") for key in ("plain", "large", "of/a")] == ["OK 1", f"OK {LARGE}y", "OK 1"]
        assert peer.ask("KEYS plain") == "KEY plain"
        assert peer.line() == "OK 1"
        assert 500 < float(peer.ask("TTL of/a").removeprefix("OK ")) <= 600
        assert peer.ask("TTL of/c") == "OK -"
        assert int(peer.ask("SET one 2").removeprefix("OK ")) > 4 * 10**9
        assert peer.ask("DEL owner").startswith("OK ")
        assert peer.ask("GET of/a") == "NONE"


def test_records_are_mended_from_the_change_log(daemon: Daemon) -> None:
    wanted = planted(daemon, RECORDS)
    daemon.stop()
    assert_says(check(daemon.data), wanted)
    done = check(daemon.data, "--repair")
    assert done.returncode == 0, done
    daemon.start()
    with daemon.connect() as peer:
        assert peer.ask("GET n") == "OK 5"
        assert peer.ask("GETS free") == "OK 15 1"
        assert peer.ask("GET queue/0000000000000016") == "OK 1"
        assert peer.ask("GET one") == "OK 1"
        assert peer.ask("GET gone") == "NONE"


@pytest.mark.parametrize("name", LOG)
def test_a_log_that_is_not_whole_is_begun_anew(daemon: Daemon, name: str) -> None:
    wanted = planted(daemon, {name: LOG[name]})
    assert_says(check(daemon.data), wanted)
    daemon.stop()
    done = check(daemon.data, "--repair")
    assert done.returncode == 0, done
    assert is_well(daemon.data)


def test_what_is_lost_is_said_to_be(daemon: Daemon) -> None:
    wanted = planted(daemon, LOST)
    daemon.stop()
    assert_says(check(daemon.data), wanted)
    done = check(daemon.data, "--repair")
    assert_says(done, wanted[1:])
    assert "cannot mend that" in done.stdout


def test_a_key_whose_name_was_damaged_is_not_taken_for_one_that_was_written(daemon: Daemon) -> None:
    """It is listed by --repair, and told a last time: where its revision alone is damaged, its value is right."""
    fill(daemon)
    phantom = ask_engine(daemon.data, "HGET", f"{K}data", "one")
    ask_engine(daemon.data, "HSET", f"{K}data", "ome", phantom)
    wanted = ["ome has revision 17, at which the change log has no such key"]
    assert_says(check(daemon.data), wanted)
    daemon.stop()
    assert_says(check(daemon.data), wanted)
    assert_says(check(daemon.data, "--repair"), wanted)
    daemon.start()
    with daemon.connect() as peer:
        assert peer.ask("DEL ome").startswith("OK ")
    assert is_well(daemon.data)


def test_a_running_store_that_is_written_to_is_found_whole(daemon: Daemon) -> None:
    fill(daemon)
    with daemon.connect() as peer:
        for _ in range(3):
            peer.send("".join(f"SET a{n} 1\nPUT l{n % 7} = {LARGE}{n}\nDEL a{n - 1}\n" for n in range(1000)))
            assert is_well(daemon.data)
            peer.lines(3000)


def test_directories_without_a_store_and_ends_that_a_crash_left(start_daemon: StartDaemon, tmp_path: Path) -> None:
    assert "there is no directory" in check(tmp_path / "none").stderr
    (tmp_path / "empty").mkdir()
    assert "there is no store" in check(tmp_path / "empty").stderr
    assert list((tmp_path / "empty").iterdir()) == []
    daemon = start_daemon()
    fill(daemon)
    daemon.crash()
    whole = daemon.append_only_file.read_bytes()
    daemon.append_only_file.write_bytes(whole[:-7])
    done = check(daemon.data)
    assert done.returncode == 1
    assert "are no whole transaction, as a crash leaves them" in done.stderr
    assert daemon.append_only_file.read_bytes() == whole[:-7]
    daemon.append_only_file.write_bytes(whole.replace(b"HSET", b"HXET", 1))
    assert "is damaged" in check(daemon.data).stderr


def test_an_end_that_is_lost_after_an_end_in_order_is_for_the_repair(daemon: Daemon) -> None:
    with daemon.connect() as peer:
        assert [peer.ask(f"SET a{n} 1") for n in range(3)] == ["OK 1", "OK 2", "OK 3"]
        ask_engine(daemon.data, "ZREM", f"{K}index", "a0")
    daemon.stop()
    aof = daemon.append_only_file
    whole = aof.read_bytes()
    os.truncate(aof, len(whole) - 7)
    said = check(daemon.data).stderr
    assert "no whole transaction" in said
    assert "--repair cuts" in said
    assert "next start" not in said
    assert "kvd check --repair" in run_kvd("--data", str(daemon.data)).stderr
    aof.write_bytes(whole)
    assert "1 thing is wrong" in check(daemon.data).stdout
    assert "1 thing was mended" in check(daemon.data, "--repair").stdout
    # In the middle: the start, a look and the repair say the same.
    middle = len(whole) // 2
    aof.write_bytes(whole[:middle] + b"\r\n#\r\n" + whole[middle + 5 :])
    starts, looks, mends = (
        done.stderr.splitlines()[-1]
        for done in (run_kvd("--data", str(daemon.data)), check(daemon.data), check(daemon.data, "--repair"))
    )
    assert starts == looks == mends
    assert "which --repair does not mend" in mends


def test_what_a_restore_left_and_a_directory_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "appendonly.aof").touch()
    (tmp_path / "restoring").touch()
    for options in ((), ("--repair",)):
        assert "is not whole: a backup was being restored into it; remove it" in check(tmp_path, *options).stderr


@pytest.fixture
def read_only(daemon: Daemon) -> Iterator[Path]:
    """Data on a file system that cannot be written."""
    needs("mount")
    with daemon.connect() as peer:
        assert peer.ask("SET a 1") == "OK 1"
    daemon.stop()
    data = str(daemon.data)
    if subprocess.run(["mount", "--bind", data, data], check=False, capture_output=True).returncode:
        pytest.skip("only root can mount")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", data], check=True)
        yield daemon.data
    finally:
        subprocess.run(["umount", "-l", data], check=True)


def test_data_that_cannot_be_written_are_looked_at(read_only: Path) -> None:
    assert is_well(read_only)


def held(path: Path) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in path.rglob("*") if file.is_file()}


@pytest.mark.parametrize("what", ["nothing", "a foreign file", "an append-only file of another"])
def test_nothing_is_written_where_there_is_no_store(tmp_path: Path, what: str) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o755)
    if what == "a foreign file":
        (data / "notes.txt").write_text("mine")
    elif what != "nothing":
        (data / "appendonly.aof").write_bytes(b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n")
    before = held(data)
    for options in ((), ("--repair",)):
        done = check(data, *options)
        assert done.returncode == 1
        assert "there is no store" in done.stderr
        assert (held(data), data.stat().st_mode & 0o777) == (before, 0o755)


def words(*parts: str) -> bytes:
    return f"*{len(parts)}\r\n".encode() + b"".join(f"${len(part)}\r\n{part}\r\n".encode() for part in parts)


def test_a_store_that_begins_in_the_torn_end_is_not_cut_off(tmp_path: Path) -> None:
    aof = tmp_path / "appendonly.aof"
    keys = b"".join(words("HSET", f"{K}data", f"key{n}", "1 0 t 1") for n in range(100))
    torn = words("MULTI") + words("HSET", f"{K}meta", "layout", "5")
    aof.write_bytes(words("SELECT", "0") + keys + torn)
    (tmp_path / "life").write_text("there was a store")
    before = aof.read_bytes()
    for options in ((), ("--repair",)):
        said = check(tmp_path, *options).stderr
        assert f"its last {len(torn)} bytes are no whole transaction" in said
        assert "cannot be mended" in said
    said = run_kvd("--data", str(tmp_path)).stderr
    assert "cannot be mended" in said
    aof.write_bytes(before[: -len(torn)])
    said = run_kvd("--data", str(tmp_path)).stderr
    assert "held a store" in said
    # To begin anew costs what is left of it: a backup comes first.
    assert "is empty" not in said
    assert 0 < said.index("restore ") < said.index("to begin anew")
    assert aof.read_bytes() == before[: -len(torn)]
