"""What a crash of the machine, a copy or a slip leaves of the append-only file: cut, refused, or another history.

Reported of Redis and Valkey (redis#5177, valkey#1148) and seen with kvd: zeros at the end of the file stopped the
start; an end that was cut off kept the store's id, so that revisions were used twice; a length that was damaged in the
middle cut off all that followed it; a file that was gone was an empty store.
"""

import os
import shutil
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from kvd.embedded.aof import AppendOnlyFile
from kvd.embedded.repair import KEPT_CUTS
from kvd.embedded.server import EmbeddedServer
from kvd.store.redis.connection import META
from tests.support.checking import ask_engine
from tests.support.daemons import fill, one_line_error, run_kvd, worker_of
from tests.support.peers import Peer
from tests.support.processes import Daemon, StartDaemon, needs, wait_for

ENDS: dict[str, Callable[[bytes], bytes]] = {
    "seven bytes lost": lambda whole: whole[:-7],
    "a page of zeros": lambda whole: whole + bytes(4096),
    "seven bytes lost and zeros": lambda whole: whole[:-7] + bytes(4096),
    "one zero": lambda whole: whole + b"\0",
    "one stray byte": lambda whole: whole + b"x",
    "a stray line feed": lambda whole: whole + b"\n",
    "a stray byte and zeros": lambda whole: whole + b"x" + bytes(511),
    "half of it lost within a value": lambda whole: whole[: whole.rindex(b"value25") + 3],
    "a header that is begun": lambda whole: whole + b"*",
}


def position(daemon: Daemon) -> str:
    """The store's present one."""
    with daemon.connect() as peer:
        return peer.ask("WATCH").removeprefix("OK ")


def history_of(peer: Peer, at: str) -> str:
    """The reply to RESUME, once the store can be asked: for that there is a connection of its own, which comes back."""
    replies = [""]

    def is_told() -> bool:
        replies.append(peer.ask(f"RESUME {at}"))
        return not replies[-1].startswith("ERR unavailable ")

    wait_for("the history", is_told)
    return replies[-1]


def fill_one_by_one(daemon: Daemon, count: int) -> None:
    """Each its own batch."""
    with daemon.connect() as peer:
        for number in range(count):
            assert peer.ask(f"SET key{number} value{number}").startswith("OK ")


def stop_hard(daemon: Daemon) -> Path:
    """As a power cut does; the file that was written last."""
    daemon.crash()
    return daemon.append_only_file


@pytest.mark.slow
@pytest.mark.parametrize("change", ENDS.values(), ids=ENDS)
def test_an_end_that_is_cut_off_makes_another_history(daemon: Daemon, change: Callable[[bytes], bytes]) -> None:
    fill_one_by_one(daemon, 50)
    before = position(daemon)
    aof = stop_hard(daemon)
    aof.write_bytes(change(aof.read_bytes()))
    daemon.start()
    with daemon.connect() as peer:
        assert peer.ask("GET key24") == "OK value24"
        assert peer.ask(f"RESUME {before}").startswith("ERR store ")
        # None of the revisions that may have been seen is used again.
        assert int(peer.ask("SET key1 again").removeprefix("OK ")) > 10**9
    assert daemon.says("is taken for another")
    assert "nobody was told" not in daemon.log
    aof = stop_hard(daemon)
    daemon.start()
    with daemon.connect() as peer:
        assert peer.ask("GET key1") == "OK again"


@pytest.mark.slow
@pytest.mark.parametrize("digits", [b"9", b"99", b"999", b"9999"])
def test_a_length_in_the_middle_of_a_small_file_is_no_end(daemon: Daemon, digits: bytes) -> None:
    fill_one_by_one(daemon, 20)
    aof = stop_hard(daemon)
    whole = aof.read_bytes()
    at = whole.index(b"$4\r\nHSET\r\n", len(whole) // 3) + 1
    aof.write_bytes(whole[:at] + b"4" + digits + whole[at + 1 :])
    assert "is damaged, and not as a crash leaves it" in one_line_error(run_kvd("--data", str(daemon.data)))
    aof.write_bytes(whole)
    daemon.start()
    with daemon.connect() as peer:
        assert peer.ask("COUNT") == "OK 20"


def test_a_value_that_looks_like_padding_is_none(daemon: Daemon) -> None:
    with daemon.connect() as peer:
        assert peer.ask("PUT zeros base64 = " + "A" * 4096) == "OK 1"
    stop_hard(daemon)
    daemon.start()
    with daemon.connect() as peer:
        assert peer.ask("GET zeros") == "OK64 " + "A" * 4096
    assert "cut off" not in daemon.log


BEGUN = b"*1\r\n$5\r\nMULTI\r\n*3\r\n$4\r\nHSET\r\n$6\r\n{kv"
"""What a store may leave at the end of its file that is killed while it writes."""


def end_store_with(daemon: Daemon, change: Callable[[bytes], bytes], *others: int) -> None:
    """End the store, and other processes, and change its file before the daemon sees that."""
    store = daemon.redis_pid()
    daemon.kill(signal.SIGSTOP)
    # One that still ran might see the end.
    threads = [psutil.Process(thread.id) for thread in psutil.Process(daemon.pid).threads()]
    wait_for("the stop", lambda: all(thread.status() == psutil.STATUS_STOPPED for thread in threads))
    for pid in (*others, store):
        os.kill(pid, signal.SIGKILL)
    wait_for("the store's end", lambda: psutil.Process(store).status() == psutil.STATUS_ZOMBIE)
    aof = daemon.append_only_file
    aof.write_bytes(change(aof.read_bytes()))
    daemon.kill(signal.SIGCONT)


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "renewed"), [("1", False), ("2", False), ("2", True)])
def test_an_end_that_is_cut_off_while_the_daemon_runs_loses_no_write_unnoticed(
    start_daemon: StartDaemon, workers: str, *, renewed: bool
) -> None:
    """Nobody is left who knows the last write where the workers are gone as well.

    renewed: whether another process has come between two writes of one that is there.
    """
    daemon = start_daemon("--workers", workers)
    with daemon.connect() as peer:
        for number in range(5):
            if renewed and number == 4:
                (other,) = set(daemon.worker_pids()) - {worker_of(daemon, peer)}
                os.kill(other, signal.SIGKILL)
                wait_for("another worker", lambda: daemon.says("was started again"))
            assert peer.ask(f"SET key{number} value{number}").startswith("OK ")
    before = position(daemon)
    end_store_with(daemon, lambda whole: whole[: whole.rindex(b"key4")], *daemon.worker_pids())

    def refused() -> bool:
        with suppress(OSError, AssertionError), daemon.connect() as peer:
            return peer.ask(f"RESUME {before}").startswith("ERR store ")
        return False

    wait_for("another history", refused)
    with daemon.connect() as peer:
        wait_for("the store", lambda: peer.ask("SET key4 again").startswith("OK "))
        assert int(peer.ask("SET key4 more").removeprefix("OK ")) > 10**9


async def test_an_end_that_is_cut_off_is_noted_before_the_engine_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked for afterwards, it came too late for a worker that was started again faster."""
    server = EmbeddedServer(tmp_path / "data", "always")
    await server.start()
    server.use()
    try:
        ask_engine(tmp_path / "data", "HSET", META, "run", "before", "synced", "1")
        assert server._process
        server._process.kill()
        await server._wait()
        aof = AppendOnlyFile(tmp_path / "data").end()
        aof.write_bytes(aof.read_bytes() + BEGUN)
        seen = list[object]()
        spawn = server._spawn

        async def answering() -> bool:
            answers = await spawn()
            if answers:
                seen.extend(ask_engine(tmp_path / "data", "HMGET", META, "run", "synced"))
            return answers

        monkeypatch.setattr(server, "_spawn", answering)
        await server.launch()
        assert seen == [b"", b"0"]
    finally:
        await server.stop()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("write", [True, False])
def test_what_earlier_daemons_wrote_is_settled_when_an_end_is_cut_off(
    daemon: Daemon, number: signal.Signals, *, write: bool
) -> None:
    """They wrote a moment ago and are gone; what they wrote was found when the living one came."""
    fill_one_by_one(daemon, 5)
    before = position(daemon)
    daemon.kill(number)
    daemon.wait()
    daemon.start()
    with daemon.connect() as peer:
        if write:
            assert peer.ask("SET key4 again") == "OK 6"
        assert peer.ask("WATCH key4").startswith("OK ")
        end_store_with(daemon, lambda whole: whole + BEGUN)
        with daemon.connect() as other:
            wait_for("the store", lambda: other.ask("SET key4 more").startswith("OK "))
            assert history_of(other, before).startswith("OK ")
        assert " SET key4 more" in peer.line()
    assert daemon.says(f"its last {len(BEGUN)} bytes were moved")


def test_an_end_before_a_part_that_was_just_begun_is_one(start_daemon: StartDaemon) -> None:
    """A rewrite begins with an empty part; what was written before it may not be on disk yet (fsync everysec)."""
    needs("redis-server")
    daemon = start_daemon("--engine", "redis-server", "--fsync", "everysec")
    fill_one_by_one(daemon, 5)
    aof = stop_hard(daemon)
    aof.write_bytes(aof.read_bytes()[:-7])
    begun = aof.with_name("appendonly.aof.2.incr.aof")
    begun.touch()
    manifest = AppendOnlyFile(daemon.data).manifest
    manifest.write_text(f"{manifest.read_text()}file {begun.name} seq 2 type i\n")
    daemon.start()
    with daemon.connect() as peer:
        assert peer.ask("COUNT") == "OK 4"
        assert int(peer.ask("SET key4 again").removeprefix("OK ")) > 10**9


def test_parts_that_are_gone_are_named_with_how_to_begin_anew(start_daemon: StartDaemon) -> None:
    needs("redis-server")
    engine = ("--engine", "redis-server")
    daemon = start_daemon(*engine)
    fill(daemon, 5)
    stop_hard(daemon)
    manifest = AppendOnlyFile(daemon.data).manifest
    manifest.unlink()
    assert f"{manifest} is missing" in (message := one_line_error(run_kvd("--data", str(daemon.data), *engine)))
    assert "to begin anew with an empty store, remove all files there" in message
    shutil.rmtree(manifest.parent)
    message = one_line_error(run_kvd("--data", str(daemon.data), *engine))
    assert f"is missing ({daemon.data}/appendonly.aof or {manifest.parent}/)" in message


@pytest.mark.slow
def test_few_of_the_ends_that_were_cut_off_are_kept(daemon: Daemon) -> None:
    fill(daemon, 5)
    for number in range(KEPT_CUTS + 2):
        aof = stop_hard(daemon)
        aof.write_bytes(aof.read_bytes() + b"*%d" % number)
        daemon.start()
    kept = sorted(aof.parent.glob("*.cut-*"))
    assert [file.read_bytes() for file in kept] == [b"*%d" % number for number in range(2, KEPT_CUTS + 2)]


def remove(daemon: Daemon) -> None:
    """All of the append-only file, in either form."""
    for file in daemon.data.glob("appendonly*"):
        if file.is_dir():
            shutil.rmtree(file)
        else:
            file.unlink()


def empty(daemon: Daemon) -> None:
    """The file that grows."""
    daemon.append_only_file.write_bytes(b"")


@pytest.mark.slow
@pytest.mark.parametrize("lose", [remove, empty])
@pytest.mark.parametrize("end", [Daemon.stop, stop_hard])
@pytest.mark.parametrize("also", ["", "life", "mark"])
def test_a_file_that_is_gone_is_no_empty_store(
    daemon: Daemon, lose: Callable[[Daemon], None], end: Callable[[Daemon], object], also: str
) -> None:
    fill(daemon, 5)
    end(daemon)
    lose(daemon)
    if also:
        (daemon.data / also).unlink()
    for _ in range(2):
        message = one_line_error(run_kvd("--data", str(daemon.data)))
        assert "held a store" in message
        assert "to begin anew" in message
    shutil.rmtree(daemon.data)
    daemon.start()
    with daemon.connect() as peer:
        assert peer.ask("SET a 1") == "OK 1"


def test_a_file_that_is_gone_when_the_store_ends_is_no_empty_store(daemon: Daemon) -> None:
    """Until it is back nothing is read and nothing written."""
    fill(daemon, 5)
    file = daemon.append_only_file
    away = file.with_name("away")
    file.rename(away)
    os.kill(daemon.redis_pid(), signal.SIGKILL)
    assert daemon.says("missing")
    with daemon.connect() as peer:
        assert peer.ask("GET key1").startswith("ERR unavailable ")
        away.rename(file)
        wait_for("the store", lambda: peer.ask("GET key1") == "OK value1")
        # Reads and writes have connections of their own, which come back one after the other.
        wait_for("its writes", lambda: peer.ask("SET key1 x") == "OK 6")


def test_a_directory_that_is_gone_is_named_to_who_writes(daemon: Daemon) -> None:
    fill(daemon, 5)
    away = daemon.data.with_name("away")
    daemon.data.rename(away)
    with daemon.connect() as peer:
        assert "or the data directory is gone; nothing was done" in peer.ask("SET key1 x")
        assert peer.ask("GET key1") == "OK value1"
        away.rename(daemon.data)
        assert peer.ask("SET key1 x") == "OK 6"


def test_where_nothing_tells_what_was_there_no_old_revision_is_used_again(daemon: Daemon) -> None:
    fill(daemon, 5)
    before = position(daemon)
    daemon.stop()
    remove(daemon)
    for name in ("life", "mark"):
        (daemon.data / name).unlink()
    daemon.start()
    with daemon.connect() as peer:
        assert peer.ask("PUT key1 if=1 = x") == "CONFLICT 0"
        assert peer.ask(f"RESUME {before}").startswith("ERR store ")
        assert int(peer.ask("SET key1 x").removeprefix("OK ")) > 10**9
    assert daemon.says("is taken for another")


def test_a_start_that_was_killed_before_there_was_a_store_is_no_loss(daemon: Daemon) -> None:
    """Its note stands there, and nothing else."""
    note = (daemon.data / "life").read_text()
    daemon.stop()
    remove(daemon)
    (daemon.data / "life").write_text(note.replace('"used": true', '"used": false'))
    daemon.start()
    with daemon.connect() as peer:
        assert peer.ask("SET a 1") == "OK 1"
