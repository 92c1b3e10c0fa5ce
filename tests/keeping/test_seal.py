"""A byte of the append-only file that has changed at rest, or an end that is gone, is noticed and never served."""

import asyncio
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from kvd.embedded import server as embedded
from kvd.embedded.aof import AppendOnlyFile
from kvd.embedded.reading import why_damaged
from kvd.embedded.seal import Seal
from tests.support.checking import ask_engine, check, is_well
from tests.support.daemons import one_line_error, run_kvd
from tests.support.processes import PATIENCE, Daemon, wait_for

LARGE = "L" * 5000
TRANSACTION = b"*1\r\n$5\r\nMULTI\r\n"


def put(daemon: Daemon, *lines: str) -> None:
    with daemon.connect() as peer:
        for line in lines:
            assert peer.ask(line).startswith("OK")


def fill(daemon: Daemon) -> None:
    put(daemon, "SET one first", f"PUT large = {LARGE}", "PUT timed ttl=900 = second", "SET one third")


def flip(path: Path, at: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 1]))


def refusal(daemon: Daemon) -> str:
    return one_line_error(run_kvd("--data", str(daemon.data)))


def stop_hard(daemon: Daemon) -> bytes:
    daemon.crash()
    return daemon.append_only_file.read_bytes()


def test_wherever_a_byte_has_changed_it_is_refused_after_an_end_in_order(daemon: Daemon) -> None:
    fill(daemon)
    with daemon.connect() as peer:
        position = peer.ask("WATCH").removeprefix("OK ")
    daemon.stop()
    file = daemon.append_only_file
    assert why_damaged(daemon.data) == ""
    whole = file.read_bytes()
    for at in range(0, len(whole), 7):
        flip(file, at)
        assert "was changed where it is kept" in why_damaged(daemon.data)
        flip(file, at)
    at = whole.index(b" 0 t first") + 5
    flip(file, at)
    said = refusal(daemon)
    assert "was changed where it is kept" in said
    assert "kvd check --repair" in said
    assert said == refusal(daemon)
    done = check(daemon.data)
    assert done.returncode == 1
    assert "was changed where it is kept" in done.stdout
    assert is_well(daemon.data, "--repair")
    daemon.start()
    with daemon.connect() as peer:
        assert peer.ask(f"RESUME {position}").startswith("ERR store ")
        assert peer.ask("GET one") == "OK third"


def truncate(path: Path, size: int) -> None:
    os.truncate(path, size)


def replace(path: Path, size: int) -> None:
    new = path.with_name("new")
    new.write_bytes(path.read_bytes()[:size])
    new.chmod(0o600)
    new.replace(path)


@pytest.mark.parametrize("shorten", [truncate, replace])
def test_an_end_that_is_lost_is_noticed_after_an_end_in_order(
    daemon: Daemon, shorten: Callable[[Path, int], None]
) -> None:
    fill(daemon)
    daemon.stop()
    file = daemon.append_only_file
    whole = file.read_bytes()
    shorten(file, len(whole) - 3)
    assert "has lost its end, 3 bytes" in refusal(daemon)
    shorten(file, whole.rindex(TRANSACTION))
    assert "has lost its end" in check(daemon.data).stdout
    # It is whole, as an older copy is: it is taken, and is another history.
    daemon.start()
    assert "that were written and synced, or an older copy of it was put back" in daemon.log
    with daemon.connect() as peer:
        assert peer.ask("GET one") == "OK first"
        assert int(peer.ask("SET one again").removeprefix("OK ")) > 4 * 10**9


def test_after_a_kill_what_was_noted_is_checked_and_the_rest_by_the_change_log(daemon: Daemon) -> None:
    fill(daemon)
    daemon.stop()
    daemon.start()
    put(daemon, "SET two fourth", "SET three fifth", f"PUT large = {LARGE}M", "TOUCH one ttl=500")
    whole = stop_hard(daemon)
    file = daemon.append_only_file
    for text, said in (
        (b"first", "was changed where it is kept"),
        (b"two fourth\n", "its digest is another one"),
        (b"0 t fourth", "two is not as the change log has it"),
        (b"\r\n5 0", "two is not as the change log has it"),
        (b"\r\n5 0 t", "two is not as the change log has it"),
        (b"\r\n0\r\n$5\r\nthree", "three is not in the index"),
        (LARGE.encode() + b"M", "its digest is another one"),
    ):
        flip(file, whole.index(text) + len(text) - 2)
        assert said in refusal(daemon)
        file.write_bytes(whole)
    daemon.start()
    put(daemon, "GET two")
    with daemon.connect() as peer:
        assert peer.ask("GETS two") == "OK 5 fourth"  # the same history
    assert "another" not in daemon.log


def test_a_large_value_that_may_be_damaged_is_named_and_not_said_to_be_mended(daemon: Daemon) -> None:
    """Nothing else has it: the record and the change log refer to the same bytes."""
    fill(daemon)
    put(daemon, f"PUT large = {LARGE}again", f"PUT other = {LARGE}")
    stop_hard(daemon)
    file = daemon.append_only_file
    flip(file, file.read_bytes().index(f"{LARGE}again".encode()) + 50)
    doubt = "the value of large (revision 5) may be damaged"
    done = check(daemon.data)
    assert (done.returncode, done.stdout.count("may be damaged")) == (1, 1), done
    assert f"{doubt}, as its entry in the change log is; --repair: cannot mend that: restore a backup" in done.stdout
    assert "is damaged: the change log is damaged at revision 5" in refusal(daemon)
    done = check(daemon.data, "--repair")
    assert (done.returncode, done.stdout.count("may be damaged")) == (1, 1), done
    assert doubt in done.stdout
    assert done.stdout.endswith(": 1 thing is wrong\n")
    daemon.start()
    put(daemon, "GET large", f"PUT large = {LARGE}again")
    assert is_well(daemon.data)


def test_a_large_value_that_was_replaced_since_is_not_in_doubt(daemon: Daemon) -> None:
    fill(daemon)
    put(daemon, f"PUT large = {LARGE}again", "SET large small")
    stop_hard(daemon)
    file = daemon.append_only_file
    flip(file, file.read_bytes().index(f"{LARGE}again".encode()) + 50)
    done = check(daemon.data)
    assert "the change log is damaged at revision 5" in done.stdout
    assert "may be damaged" not in done.stdout
    assert is_well(daemon.data, "--repair")


def test_without_any_note_the_change_log_tells(daemon: Daemon) -> None:
    fill(daemon)
    whole = stop_hard(daemon)
    # There is one if all that took longer than until the daemon's first look.
    (daemon.data / "sums").unlink(missing_ok=True)
    flip(daemon.append_only_file, whole.index(b"0 t third") + 5)
    assert "one is not as the change log has it" in refusal(daemon)


def test_a_copy_is_looked_at_as_well(daemon: Daemon, tmp_path: Path) -> None:
    fill(daemon)
    daemon.stop()
    copy = Daemon(tmp_path / "copy")
    shutil.copytree(daemon.data, copy.data)
    at = copy.append_only_file.read_bytes().index(b"second")
    flip(copy.append_only_file, at)
    assert "was changed where it is kept" in refusal(copy)
    flip(copy.append_only_file, at)
    copy.start()
    copy.stop()
    assert "it is a copy" in copy.log


def write_anew(daemon: Daemon) -> None:
    """Have the engine write its file anew."""
    file = daemon.append_only_file
    before = file.stat().st_ino
    ask_engine(daemon.data, "BGREWRITEAOF")
    wait_for("a new file", lambda: daemon.append_only_file != file or file.stat().st_ino != before)


def test_a_file_that_was_written_anew_is_none_that_has_changed(daemon: Daemon) -> None:
    fill(daemon)
    daemon.stop()
    daemon.start()
    write_anew(daemon)
    put(daemon, "SET two 2")
    stop_hard(daemon)
    daemon.start()
    put(daemon, "SET two 3")
    daemon.stop()
    assert why_damaged(daemon.data) == ""
    daemon.start()


def test_a_version_that_makes_no_notes_may_have_run_meanwhile(daemon: Daemon) -> None:
    fill(daemon)
    daemon.stop()
    note = (daemon.data / "sums").read_bytes()
    daemon.start()
    write_anew(daemon)
    put(daemon, "SET two 2")
    daemon.stop()
    (daemon.data / "sums").write_bytes(note)
    daemon.start()
    put(daemon, "GET two")
    daemon.stop()
    (daemon.data / "sums").write_bytes(note[:20] + b"x" + note[21:])
    daemon.start()
    put(daemon, "GET two")


def test_what_a_person_has_mended_is_taken_also_after_a_kill(daemon: Daemon) -> None:
    fill(daemon)
    daemon.stop()
    file = daemon.append_only_file
    truncate(file, file.read_bytes().rindex(TRANSACTION))
    (daemon.data / "life").unlink()
    daemon.start()
    stop_hard(daemon)
    daemon.start()
    put(daemon, "GET one")


@pytest.fixture
def seal(tmp_path: Path) -> Seal:
    return Seal(tmp_path, AppendOnlyFile(tmp_path), os.open(tmp_path, os.O_RDONLY))


def test_only_what_was_there_for_a_while_is_noted(seal: Seal, tmp_path: Path) -> None:
    file = tmp_path / "appendonly.aof"
    file.write_bytes(b"a" * 10)
    seal.extend()
    assert seal.unsealed() == 10
    file.write_bytes(b"b" * 20)  # what could not be written whole was taken back
    seal.extend()
    assert seal.unsealed() == 10
    seal.extend()
    assert seal.unsealed() == 0
    assert not seal.has_grown()
    again = Seal(tmp_path, AppendOnlyFile(tmp_path))
    assert again.why_wrong(any_file=False) == ""
    file.write_bytes(b"b" * 19 + b"c")
    assert "another checksum" in again.why_wrong(any_file=False)
    file.write_bytes(b"b" * 19)
    assert "end, 1 bytes" in again.why_wrong(any_file=False)
    seal.extend(is_last=True)
    assert Seal(tmp_path, AppendOnlyFile(tmp_path)).why_wrong(any_file=True) == ""
    seal.forget()
    assert seal.unsealed() == 19
    assert not (tmp_path / "sums").exists()


async def test_what_runs_notes_what_it_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "SEAL_PAUSE", 0.02)
    server = embedded.EmbeddedServer(tmp_path / "data")
    await server.start()
    server.use()
    keeping = asyncio.create_task(server.keep_sealed())
    try:
        await asyncio.to_thread(ask_engine, server.path, "HSET", "{kvd}:data", "one", "1 0 t first")
        async with asyncio.timeout(PATIENCE):
            while server.unsealed:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    finally:
        keeping.cancel()
        await server.stop()
    assert why_damaged(server.path) == ""
    flip(server.aof.tail(), server.aof.tail().read_bytes().index(b"first"))
    assert "was changed where it is kept" in why_damaged(server.path)
